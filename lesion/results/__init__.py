"""What does the study say of each layer?"""
