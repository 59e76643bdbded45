"""`python -m keystead.cli`."""

from keystead.cli import main

main()
