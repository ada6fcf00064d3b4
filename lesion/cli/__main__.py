"""`python -m lesion.cli`."""

from lesion.cli import main

main()
