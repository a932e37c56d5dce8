"""Runs the tables of the paper with several seeds, and writes them beside the paper's numbers."""
