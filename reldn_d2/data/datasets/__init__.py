"""Loaders: pure functions from files to dataset dicts, and their registration."""
