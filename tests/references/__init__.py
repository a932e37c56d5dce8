"""Slow versions of formulas, written from the definitions, for tests and benchmarks."""
