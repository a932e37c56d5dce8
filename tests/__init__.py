"""Tests in the folders of the package. `builders` make inputs, `references` are slow versions."""
