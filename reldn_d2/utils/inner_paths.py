"""Names that must stay inside a folder: of images in annotation files, and of what is written to a folder."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

# Absolute paths, "~", drives, URLs, backslashes (folders in Windows), zero bytes, and the folder above.
_OUTSIDE = re.compile(r"^(?:[/~]|[A-Za-z]:|[A-Za-z][\w+.-]*://)|[\\\0]|(?:^|/)\.\.(?:/|\Z)")


def names_outside(names: Sequence[str]) -> list[int]:
    r"""The positions of names that may lead out of the folder that they are relative to.

    A name that stays inside has only "/" between its parts. Nothing on the disk is looked at, so links inside
    the folder may lead anywhere.

    Example:
        >>> from reldn_d2.utils.inner_paths import names_outside
        >>> names_outside(["a.jpg", "2024/a..jpg", "../a.jpg", "/a.jpg", r"C:\a.jpg", "~/a.jpg", "http://a/b.jpg"])
        [2, 3, 4, 5, 6]
    """
    return [i for i, name in enumerate(names) if _OUTSIDE.search(name)]


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
