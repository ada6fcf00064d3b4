"""What is known so far?"""
