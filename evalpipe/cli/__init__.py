"""The command line. Each file holds the commands of one step; rendering is in show.py; no logic is here."""

from evalpipe.cli.app import main

__all__ = ["main"]
