"""What operations do to labels.  One module a kind of operation, with its rules by name in RULES.

A rule is given the walk, the call and its value.  It gives the value's labels, and notes in
`walk.out` what the call says of its operands' labels.
"""
