"""The evaluation protocols.

`protocol` is their contract, and `registry` is their list. `recall`, `openimages` and `confusion` are the
protocols; `average_precision` is the common part of the two protocols of OpenImages.
"""
