"""Atomic writes, so that a reader never sees half of a file, and digests of data."""

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Opens a temporary binary file beside `path`, and moves it to `path` if the block ends without error.

    Missing parent folders are created. If the block raises, the temporary file is removed and a file that was
    at `path` before stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        # mkstemp makes files that only their owner can read; a data file gets the permissions of any new file
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def digest(parts: Iterable[str | bytes | NDArray[np.generic]]) -> str:
    """SHA-256 of a sequence of parts, in hexadecimal. It depends on the order of the parts."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            # type and shape make the boundaries between arrays part of the digest
            total.update(f"array {part.dtype.str} {part.shape} ".encode())
            total.update(np.ascontiguousarray(part).data)
        else:
            data = part.encode() if isinstance(part, str) else part
            total.update(f"text {len(data)} ".encode())
            total.update(data)
    return total.hexdigest()
