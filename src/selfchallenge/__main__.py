"""`python -m selfchallenge` is the command."""

from selfchallenge.cli import main

main()
