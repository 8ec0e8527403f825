"""Dagster: thin shells over the rooms. Only this room imports dagster."""
