"""What is cut, and which channels go first?"""
