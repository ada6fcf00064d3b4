"""What is measured next, and where?"""
