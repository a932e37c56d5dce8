"""Names that must stay inside a folder: of images in annotation files, and of what is written to a folder."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from .io import digest

# Absolute paths, "~", drives and URLs.
_NO_RELATIVE_PATH = re.compile(r"[/~]|[A-Za-z]:|[A-Za-z][\w+.-]*://")
# File systems have names of up to 255 bytes. The rest is for endings and for the mark of a temporary file.
_LONGEST_NAME, _DIGITS = 200, 16


def names_outside(names: Sequence[str]) -> list[int]:
    r"""The positions of names that may lead out of the folder that they are relative to.

    A name that stays inside has only "/" between its parts. Nothing on the disk is looked at, so links inside
    the folder may lead anywhere.

    Example:
        >>> from reldn_d2.utils.inner_paths import names_outside
        >>> names_outside(["a.jpg", "2024/a..jpg", "../a.jpg", "/a.jpg", r"C:\a.jpg", "~/a.jpg", "http://a/b.jpg"])
        [2, 3, 4, 5, 6]
    """
    return [i for i, name in enumerate(names) if _is_outside(name)]


def _is_outside(name: str) -> bool:
    # Windows has backslashes between folders. A zero byte ends a name in C.
    special = "\\" in name or "\0" in name or ".." in name.split("/")
    return special or _NO_RELATIVE_PATH.match(name) is not None


def inner_path(folder: str | os.PathLike[str], name: str, what: str) -> Path:
    """The path of a name below a folder.

    Args:
        folder: the folder.
        name: a name, or names of folders and a name, with "/" between them.
        what: what has this name, for the message.

    Raises:
        ValueError: the name leads out of the folder.
    """
    if names_outside([name]):
        raise ValueError(
            f"{what} {name!r} leads out of the folder {folder}, where it is written: choose a name that "
            "holds no '..' and no backslash, and begins with no '/', '~' or drive"
        )
    return Path(folder) / name


def short_file_name(name: str) -> str:
    """A name that fits into a file system with an ending of its own; a long one ends in a digest."""
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST_NAME:
        return name
    # A letter of several bytes may be cut in two.
    return f"{encoded[: _LONGEST_NAME - _DIGITS - 1].decode(errors='ignore')}_{digest([encoded])[:_DIGITS]}"
