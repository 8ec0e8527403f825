"""Evaluators as data, and how each kind judges."""
