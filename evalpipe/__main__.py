"""`python -m evalpipe` is the `evalpipe` command."""

from evalpipe.cli import main

main()
