"""What is the network made of, and which channels fall together?"""
