"""The recipes of docs/ci, run as their CI systems run them."""
