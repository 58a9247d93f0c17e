"""`python -m spanloop` is the console script."""

from spanloop.cli import main

main()
