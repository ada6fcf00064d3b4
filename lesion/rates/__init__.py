"""Which rates meet a budget?"""
