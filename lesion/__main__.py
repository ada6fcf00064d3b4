"""`python -m lesion`."""

from lesion.cli import main

main()
