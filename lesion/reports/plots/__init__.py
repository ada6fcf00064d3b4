"""The pictures of a study: each a table function and a drawing function.

Every drawing function takes `ax=None` and gives the Axes back; none touches matplotlib's settings
or shows a window. Colours are Okabe and Ito's, and each difference that colour shows is shown by
line, marker or hatch as well, so that the figures survive a black-and-white printer.
"""
