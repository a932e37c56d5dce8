"""Slow versions of formulas, written from the definitions: for tests, and as the measure of benchmarks."""
