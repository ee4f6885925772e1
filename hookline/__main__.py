"""`python -m hookline`: the command line without its script."""

from hookline.cli import main

main()
