"""Trials: what is killed, damaged or hostile loses nothing and runs nothing."""
