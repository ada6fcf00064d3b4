"""What does the cut network answer?"""
