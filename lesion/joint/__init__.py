"""What do rates lose together?"""
