"""The visual relationships of OpenImages."""
