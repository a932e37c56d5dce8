"""Weights of the authors' code, converted to this package's names and conventions."""
