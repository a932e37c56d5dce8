"""Errors of the operating system in words: the file, what the system said, and what helps.

Only damage is damage. A file that is locked, or that this user may not read, is as good as before. So readers
ask `is_of_the_system` before they say that a file is broken.
"""

import errno
import os
import shutil
from pathlib import Path

# Errors that the content of a file causes, not the system: readers of archives and images go to places that a
# broken file names.
_OF_THE_CONTENT = {errno.EINVAL}

_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.EISDIR: "it is a folder: name a file",
    errno.EEXIST: "a part of the path is a file: choose another folder",
    errno.ENOTDIR: "a part of the path is a file: check the path",
    errno.ELOOP: "its links lead in a circle: delete them, or name the file that is meant",
    errno.ENAMETOOLONG: "use shorter names",
    errno.EAGAIN: "wait until the other program has closed it, or take a copy",
    errno.EMFILE: "raise `ulimit -n`, or use fewer data loader workers",
    errno.ENFILE: "end other programs",
    errno.ENOSPC: "free some space, or choose a folder on another disk",
    errno.EDQUOT: "your quota is used up: free some space, or choose a folder on another disk",
    errno.EFBIG: "a file may not be so large here: look at `ulimit -f`, or choose a folder on another disk",
    errno.EROFS: "the disk is read-only: choose another folder",
}
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_DISK = "the disk or the network behind it failed: look at them, then try again"


def is_of_the_system(error: BaseException) -> bool:
    """Whether the operating system refused to read or write a file, whose content is not to blame."""
    return isinstance(error, OSError) and error.errno is not None and error.errno not in _OF_THE_CONTENT


def describe(error: OSError, path: str | os.PathLike[str], action: str = "read") -> str:
    """The path, what the system said about it, and what helps, in one line.

    Args:
        error: error of the system.
        path: the file or folder that it is about.
        action: what can't be done with it: "read", "written"; "used" if that is not known.
    """
    said = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        said += _free_space(Path(path))
    return f"{os.fspath(path)} can't be {action} ({said}): {remedy(error, action)}"


def explained(error: OSError, path: str | os.PathLike[str], action: str = "read") -> OSError:
    """An error of the same class and number with the text of `describe`, to be raised from the first.

    Args:
        error: error of the system.
        path: see `describe`.
        action: see `describe`.
    """
    return _like(error, describe(error, path, action))


def extended(error: OSError, more: str) -> OSError:
    """An error of the same class and number with one more sentence, to be raised from the first."""
    return _like(error, f"{error}. {more}")


def is_explained(error: BaseException) -> bool:
    """Whether an error is one of `explained` or `extended`, whose text says everything."""
    return isinstance(error, OSError) and error.errno is not None and error.strerror is None


def _like(error: OSError, text: str) -> OSError:
    # The class that Python chooses for the number. Others, as those of downloads, take other arguments.
    kind = type(error) if error.errno is None else type(OSError(error.errno, ""))
    made = kind(text)
    made.errno = error.errno
    return made


def remedy(error: OSError, action: str = "used") -> str:
    """What helps against an error of the system.

    Args:
        error: error of the system.
        action: see `describe`.
    """
    if error.errno in _NOT_ALLOWED:
        place = "choose another folder" if action == "written" else "use a copy in another folder"
        verb = {"written": "write", "read": "read"}.get(action, "use")
        return f"give {_user()} the permission to {verb} it, or {place}"
    return _REMEDIES.get(error.errno or 0, _OF_THE_DISK)


def _user() -> str:
    """Who this process runs as, by number: in a container the user may have no name."""
    return f"user {os.geteuid()}" if hasattr(os, "geteuid") else "this user"


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
