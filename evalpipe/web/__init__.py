"""The HTTP side of evalpipe."""
