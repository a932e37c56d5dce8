"""Tests: a mirror of the package; `builders` make inputs, `references` are slow versions of what is tested."""
