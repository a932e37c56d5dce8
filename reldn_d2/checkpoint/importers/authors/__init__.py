"""Checkpoints of the paper's authors, converted to this package's names and conventions.

`architecture` finds out which model a checkpoint contains, `key_map` lists which of its tensors becomes which
of ours, `layers` has the changes of single tensors, and `conversion` puts them together.
"""
