"""Locks on files between processes. The system frees a lock when its process ends, also by a kill."""

import errno
import os
from enum import Enum

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What systems say that can't lock a file there: some network disks, FUSE, old kernels.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EIO}


class Locking(Enum):
    """What came of an attempt to lock a file."""

    DONE = "this process holds the lock"
    TAKEN = "another process holds the lock"
    NOT_POSSIBLE = "the disk has no locks"


def lock(descriptor: int) -> Locking:
    """Locks an open file until its last descriptor is closed. It never waits."""
    if fcntl is None:
        return Locking.NOT_POSSIBLE
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return Locking.TAKEN
        if error.errno in _NO_LOCKS:
            return Locking.NOT_POSSIBLE
        raise
    return Locking.DONE


def is_still_at(descriptor: int, path: str | os.PathLike[str]) -> bool:
    """Whether a path still names this open file: another process may have removed or replaced it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
