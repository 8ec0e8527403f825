"""Benchmarks of the gate, run by hand."""
