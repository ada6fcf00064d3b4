"""Who takes the rates, and in which form?"""
