"""Packages that are not always installed: their import, and what their readers say about a damaged file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from .plain_text import is_unicode
from .system_errors import explained, is_of_the_system


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """A module of a package that is not always installed.

    Args:
        module: its name; it begins with that of the package.
        extra: the extra of this package that installs it.
        purpose: what needs it, for the message: "to ...".

    Raises:
        ValueError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise ValueError(
            f"{purpose}, install the package {package}: pip install 'reldn-d2[{extra}]', or pip install "
            f"{package}"
        ) from error


def arrow_source(path: str | os.PathLike[str]) -> Any:
    """What pyarrow opens for a local file: its path, or its content if the path is no text in UTF-8.

    Raises:
        OSError: the file can't be read.
        ValueError: it is empty.
    """
    text = os.fspath(path)
    if is_unicode(text):
        return text
    with Path(text).open("rb") as file:
        return import_module("pyarrow").BufferReader(mmap(file.fileno(), 0, access=ACCESS_READ))


@contextmanager
def damage_named(source: str, name: str) -> Iterator[None]:
    """Turns what a reader of another package raises on a damaged file into a ValueError that names the file.

    Args:
        source: the file.
        name: name of the format.
    """
    try:
        yield
    # These readers check little: a damaged file raises whatever their next line meets.
    except Exception as error:
        if isinstance(error, OSError) and is_of_the_system(error):
            raise explained(error, source) from error
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ValueError(
            f"{source} is no {name} that can be read ({said}): it may be damaged or cut off; write it again"
        ) from error
