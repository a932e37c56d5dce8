"""What tells a table or an archive of images from an earlier one of the same name."""

import hashlib
import os
from pathlib import Path

from .remote import is_address, state_at

# Both ends of a file are looked at: the footer of a table, first and last headers of an archive.
_END = 2**16


def state_of(path: str) -> str:
    """A text that is another one when a file has changed: its size, and a digest of its two ends.

    The time of the last change is not part of it, because copies have another one. Of a file at an address it
    is the size, and the tag that its server gives each content.

    Args:
        path: path or address of a file.

    Returns:
        The text; empty if nobody can say, for example because the file can't be read: reading it says why.
    """
    if is_address(path):
        return state_at(path)
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(file.read(_END))
            file.seek(max(size - _END, 0))
            digest.update(file.read(_END))
    except OSError:
        return ""
    return f"{size} {digest.hexdigest()[:16]}"
