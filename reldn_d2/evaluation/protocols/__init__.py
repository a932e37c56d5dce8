"""The evaluation protocols.

`protocol` is their contract and `registry` their list. `recall`, `openimages` and `confusion` are the
protocols; `average_precision` is what the two protocols of OpenImages share.
"""
