"""The parser of the command `reldn`.

It needs nothing but Python, so `reldn --help` and usage errors are fast. The commands themselves are in
`reldn_d2.cli`, which imports PyTorch.
"""
