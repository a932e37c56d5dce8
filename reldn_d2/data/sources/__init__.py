"""The images of a large input, which workers read in parts: files, addresses, tables and archives."""

from .remote import MissingPackageError
from .source import InputReader, Source, open_source
from .units import InputRow, Unit

__all__ = ["InputReader", "InputRow", "MissingPackageError", "Source", "Unit", "open_source"]
