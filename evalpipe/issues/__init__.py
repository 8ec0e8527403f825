"""Failure modes as issues with a lifecycle."""
