"""Locks on output folders, so that two runs do not write the same files.

A training, an evaluation or a prediction holds its folder alone. A lock is a file in the folder that its
process has locked with `flock`. The system frees it when the process ends, also by a kill. The file says who
holds it, and is removed at the end of the run.
"""

import atexit
import errno
import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from detectron2.utils import comm

from reldn_d2.utils.inner_paths import refuse_outside_links
from reldn_d2.utils.io import remove_orphans
from reldn_d2.utils.locks import Locking, is_still_at, lock
from reldn_d2.utils.system_errors import explained, megabytes

from .console import LOG_FILE
from .exact_resume import METRICS_FILE
from .parts import RunParts
from .summary import INFERENCE

logger = logging.getLogger(__name__)

LOCK_FILE = ".reldn_d2.lock"

# What runs write in place, so that a link would lead them to a file of somebody else. (`atomic_write`
# replaces a link.) A new file or folder of this kind belongs here. The events are TensorBoard's.
_WRITTEN = (LOCK_FILE, f"{LOG_FILE}*", METRICS_FILE, "events.*", INFERENCE)

# Links are not followed, and started programs do not inherit the file. Windows has neither flag.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# Systems have two numbers for the error that a link is not followed.
_IS_A_LINK = (errno.ELOOP, errno.EMLINK)

Kind = Literal["training", "evaluation", "prediction"]


@dataclass(frozen=True)
class _Held:
    """A lock of this process."""

    descriptor: int
    kind: Kind


@dataclass(frozen=True)
class _Folder:
    """An output folder.

    Attributes:
        path: the folder.
        options: the options that choose another one, in words.
        other: the same, after "add".
    """

    path: Path
    options: str
    other: str


# Lock file -> the lock of this process on it.
_held: dict[Path, _Held] = {}


def hold(parts: RunParts, kind: Kind) -> None:
    """Locks the output folder of a run, and removes temporary files that killed processes left there.

    Only the main process does so; the others stop with it. What this process holds already stays held. It
    lasts until `release`, or until this process starts another run of this kind.

    Raises:
        ValueError: another process works in this folder, or a link in it would lead what is
            written out of the folder. Every process of the run raises it.
        OSError: the folder can't be written. Every process of the run raises it.
    """
    words = " ".join(parts.override(parts.keys.output_dir, "FOLDER"))
    folder = _Folder(
        Path(parts.output_dir).resolve(),
        f"--output FOLDER or {words}",
        f"{words} (or --output FOLDER, where it is an option)",
    )
    _together(lambda: _hold(folder, kind))


def hold_folder(path: Path, kind: Kind) -> None:
    """Locks the folder of --output in a command of one process that has no config. See `hold`.

    Raises:
        ValueError, OSError: see `hold`.
    """
    _hold(_Folder(path.resolve(), "--output FOLDER", "--output FOLDER"), kind)


@contextmanager
def holding(parts: RunParts) -> Iterator[None]:
    """Holds the output folder of a training until the block ends, also if it was held before.

    Raises:
        ValueError, OSError: see `hold`.
    """
    hold(parts, "training")
    try:
        yield
    finally:
        release("training")


def release(kind: Kind | None = None) -> None:
    """Gives up the locks of this process for one kind of run or for all, and removes their files."""
    for path in [path for path, held in _held.items() if kind in (None, held.kind)]:
        _give_up(path)


def _together(take: Callable[[], None]) -> None:
    """Calls a function in the main process. Every process of the run raises its error, so that none waits."""
    refusal: OSError | ValueError | None = None
    if comm.is_main_process():
        try:
            take()
        except (OSError, ValueError) as error:
            refusal = error
    for found in comm.all_gather(refusal):
        if found is not None:
            raise found


def _hold(folder: _Folder, kind: Kind) -> None:
    path = folder.path / LOCK_FILE
    for other in [other for other, held in _held.items() if held.kind == kind and other != path]:
        _give_up(other)
    if path in _held:
        return
    refuse_outside_links(folder.path, _WRITTEN, f"delete it, or choose another folder ({folder.options})")
    _take(path, kind, folder)
    orphans = remove_orphans(folder.path)
    if orphans.count:
        logger.info(
            "Removed %d temporary files of interrupted runs from %s (%s)",
            orphans.count, folder.path, megabytes(orphans.size),
        )  # fmt: skip


def _take(path: Path, kind: Kind, folder: _Folder) -> None:
    descriptor = _open(path)
    while True:
        result = lock(descriptor)
        # The run that held it before may have removed the file in between.
        if result is not Locking.DONE or is_still_at(descriptor, path):
            break
        os.close(descriptor)
        descriptor = _open(path)
    if result is Locking.DONE:
        _held[path] = _Held(descriptor, kind)
        # Only words for another process. A disk that is full is an error where it matters.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _who(kind).encode(), 0)
        return
    holder = os.pread(descriptor, 1000, 0).decode(errors="replace")
    os.close(descriptor)
    if result is Locking.NOT_POSSIBLE:
        with suppress(OSError):
            path.unlink()
        logger.warning(
            "%s is on a disk without locks: nothing stops another run from writing into this folder, too",
            path.parent,
        )
        return
    raise ValueError(
        f"{path.parent} is in use by another run ({holder or 'it does not say which'}), and both would write "
        f"the same files: wait until it has ended, or add {folder.other}"
    )


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
    except OSError as error:
        if error.errno in _IS_A_LINK and path.is_symlink():
            raise ValueError(f"{path} is a link, which no run makes: delete it") from error
        raise explained(error, path.parent, "written") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is no file, and no run makes it: delete it")
    return descriptor


def _who(what: str) -> str:
    return (
        f"{what}, process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
    )


def _give_up(path: Path) -> None:
    held = _held.pop(path)
    # The file is removed while it is locked, so that nobody waits for a file that has no name.
    with suppress(OSError):
        path.unlink()
    os.close(held.descriptor)


def _forget_in_child() -> None:
    """Closes the files in a forked process, such as a data loader's worker.

    A worker lives on for seconds when its parent is killed, and would hold the lock as long.
    """
    for held in _held.values():
        os.close(held.descriptor)
    _held.clear()


atexit.register(release)  # of a run that failed before it trained
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_in_child)
