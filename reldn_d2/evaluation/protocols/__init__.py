"""The named protocols. `protocol` is their contract; those of recall share a file, those of average precision a base class."""
