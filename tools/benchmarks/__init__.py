"""Benchmarks: `python -m tools.benchmarks`."""
