"""The demo: trains and compares models on the built-in scenes, and writes a report."""
