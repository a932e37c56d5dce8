"""Commands, and benchmarks for maintainers."""
