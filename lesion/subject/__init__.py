"""What is measured: a network, images, scores?"""
