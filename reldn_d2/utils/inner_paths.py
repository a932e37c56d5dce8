"""Names and links that must stay inside a folder: in annotation files, and in folders that are written."""

import os
import re
import stat
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


def refuse_outside_links(folder: str | os.PathLike[str], written: Sequence[str], remedy: str) -> None:
    """Checks that what is written into a folder stays there.

    The folder may come from anybody, for example in an archive, and an archive can hold links. What would be
    written through such a link is a file of somebody else. The folder itself may be a link, and links may
    lead to other places in it.

    Args:
        folder: the folder. It may be missing.
        written: names of the files and folders in it that are written; "*" at the end is any ending.
        remedy: what the user can do, for the message.

    Raises:
        ValueError: one of them, or something below it, is a link that leads out of the folder, or is neither
            a file nor a folder.
        OSError: the folder can't be read.
    """
    root = Path(os.path.realpath(folder))
    if not root.is_dir():
        return
    waiting = [root / name for name in sorted(os.listdir(root)) if any(_is_named(name, x) for x in written)]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        place = Path(os.path.realpath(path)) if path.is_symlink() else path
        if not place.is_relative_to(root):
            raise ValueError(
                f"{path} is a link that leads out of its folder (to {place}), and results would be written "
                f"there: {remedy}"
            )
        if place in seen:
            continue
        seen.add(place)
        if place.is_dir():
            waiting += sorted(place.iterdir())
        elif place.exists() and not stat.S_ISREG(place.stat().st_mode):
            raise ValueError(f"{path} is neither a file nor a folder: {remedy}")


def _is_named(name: str, written: str) -> bool:
    # Some file systems do not tell capital letters from small ones.
    name, written = name.lower(), written.lower()
    return name.startswith(written[:-1]) if written.endswith("*") else name == written


def short_file_name(name: str) -> str:
    """A name that fits into a file system with an ending of its own; a long one ends in a digest."""
    encoded = os.fsencode(name)
    if len(encoded) <= _LONGEST_NAME:
        return name
    # A letter of several bytes may be cut in two.
    return f"{encoded[: _LONGEST_NAME - _DIGITS - 1].decode(errors='ignore')}_{digest([encoded])[:_DIGITS]}"
