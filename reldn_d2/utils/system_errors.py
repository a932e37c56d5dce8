"""Errors of the operating system in words: the file, what the system said, and what helps.

Only damage is damage. A file that is locked, or that this user may not read, is as good as before. So readers
ask `is_of_the_system` before they say that a file is broken.
"""

import errno
import os
import shutil
from pathlib import Path

# Errors that the content of a file causes, not the system: zip and image readers seek to places that a broken
# file names.
_OF_THE_CONTENT = {errno.EINVAL}

_READ_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.EISDIR: "name a file in it",
    errno.EAGAIN: "wait until the other program has closed the file, or copy the file and read the copy",
}
_WRITE_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.EISDIR: "choose another name",
    errno.EEXIST: "a part of the path is a file: choose another folder",
    errno.ENOSPC: "free some space, or choose a folder on another disk",
    errno.EDQUOT: "your quota of this disk is used up: free some space, or choose a folder on another disk",
    errno.EFBIG: "a file may not be so large here: look at `ulimit -f`, or choose a folder on another disk",
    errno.EROFS: "choose a folder that is not on a read-only disk",
    errno.EAGAIN: "wait until the other program has closed the file, or choose another one",
}
_SHARED_REMEDIES = {
    errno.ENOTDIR: "a part of the path is a file and no folder: check the path",
    errno.ENAMETOOLONG: "use shorter names",
    errno.EMFILE: "this process has too many open files: raise `ulimit -n`, or use fewer data loader workers",
    errno.ENFILE: "this machine has too many open files: end other programs",
    errno.ENOLCK: "this disk has no locks",
}
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)
_OF_THE_DISK = "the disk or the network behind it failed: look at them, then try again"


def is_of_the_system(error: BaseException) -> bool:
    """Whether the operating system refused to read or write a file, whose content is not to blame."""
    return isinstance(error, OSError) and error.errno is not None and error.errno not in _OF_THE_CONTENT


def describe(error: OSError, path: str | os.PathLike[str], *, writing: bool = False) -> str:
    """The path, what the system said about it, and what helps, in one line.

    Args:
        error: error of the system.
        path: the file or folder that it is about.
        writing: whether the file was written; otherwise it was read.
    """
    said = os.strerror(error.errno or 0)
    if writing and error.errno in (errno.ENOSPC, errno.EDQUOT):
        said += _free_space(Path(path))
    action = "written" if writing else "read"
    return f"{os.fspath(path)} can't be {action} ({said}): {_remedy(error, writing)}"


def explained(error: OSError, path: str | os.PathLike[str], *, writing: bool = False) -> OSError:
    """An error of the same class and number with the text of `describe`, to be raised from the first.

    Args:
        error: error of the system.
        path: see `describe`.
        writing: see `describe`.
    """
    return _like(error, describe(error, path, writing=writing))


def extended(error: OSError, more: str) -> OSError:
    """An error of the same class and number with one more sentence, to be raised from the first."""
    return _like(error, f"{error}. {more}")


def is_explained(error: BaseException) -> bool:
    """Whether an error is one of `explained` or `extended`, whose text says everything."""
    return isinstance(error, OSError) and error.errno is not None and error.strerror is None


def _like(error: OSError, text: str) -> OSError:
    made = type(error)(text)
    made.errno = error.errno
    return made


def _remedy(error: OSError, writing: bool) -> str:
    number = error.errno or 0
    if number in _NOT_ALLOWED:
        other = "choose a folder of your own" if writing else "copy it to a folder of your own"
        return f"give {_user()} the permission to {'write' if writing else 'read'} it, or {other}"
    own = _WRITE_REMEDIES if writing else _READ_REMEDIES
    return own.get(number) or _SHARED_REMEDIES.get(number) or _OF_THE_DISK


def _user() -> str:
    """Who this process runs as. Not `getpass`, which fails for a user without an account."""
    return f"the user {os.environ.get('USER') or ''} (number {os.geteuid()})".replace("  ", " ")


def _free_space(path: Path) -> str:
    """The free space of the disk of a path, in words; nothing if that is not known."""
    folder = next((parent for parent in path.parents if parent.is_dir()), Path())
    try:
        return f"; {megabytes(shutil.disk_usage(folder).free)} are free"
    except OSError:
        return ""


def megabytes(size: int) -> str:
    """A number of bytes in words, for messages."""
    return f"{size / 1e6:,.1f} MB"
