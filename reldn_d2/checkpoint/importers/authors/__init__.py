"""Checkpoints of the paper's authors, converted to this package's names and conventions.

`architecture` finds out which model a checkpoint contains, `key_map` maps the names of its tensors to ours,
`layers` changes single tensors, and `conversion` puts them together.
"""
