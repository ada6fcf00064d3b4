"""What may come in from callers, texts and files?"""
