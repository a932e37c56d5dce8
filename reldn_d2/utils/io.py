"""Atomic writes, so that a reader never sees half of a file, and digests of data and files."""

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .locks import Locking, is_still_at, lock
from .system_errors import explained

# A temporary file of `atomic_write` is called so. Nobody else has such names, and they are short, so that
# they fit wherever the target's name does. The random part is that of `tempfile`.
_PREFIX, _SUFFIX = ".", ".reldn_d2.tmp"
_OURS = re.compile(r"\.[a-z0-9_]{8}\.reldn_d2\.tmp")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Opens a temporary binary file beside `path`, and moves it to `path` if the block ends without error.

    Missing parent folders are created. The content is on the disk before the file gets its name, so that also
    after a crash of the machine the name stands for the old file or for the whole new one. If the block
    raises, the temporary file is removed and a file that was at `path` before stays as it was. Only a kill
    leaves the temporary file, see `remove_orphans`.

    Args:
        path: file to write.

    Raises:
        OSError: the file can't be written. The message names `path`, the cause and the remedy. It replaces
            what the block makes of a failed write (PyTorch raises RuntimeError).
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = _open_temporary(target.parent)
    except OSError as error:
        raise explained(error, target, "written") from error
    raw = _RawFile(descriptor, "wb")
    stream = io.BufferedWriter(raw)
    try:
        try:
            yield stream
            stream.flush()
            _finish(descriptor, temporary, target, raw)
        finally:
            # After a failed write the buffer is not empty, and closing the stream fails once more.
            with suppress(OSError):
                stream.close()
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if raw.error is not None and isinstance(error, Exception):
            raise explained(raw.error, target, "written") from error
        raise


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Makes a folder and checks that files can be written there, before work of hours depends on it.

    Raises:
        OSError: it can't be made, or no file can be written there. The message names cause and remedy.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        temporary, descriptor = _open_temporary(place)
        os.close(descriptor)
        os.unlink(temporary)
    except OSError as error:
        raise explained(error, place, "written") from error


def write_if_changed(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a whole file atomically, unless it has this content already.

    Raises:
        OSError: see `atomic_write`.
    """
    target = Path(path)
    with suppress(OSError):
        if target.read_bytes() == content:
            return
    with atomic_write(target) as stream:
        stream.write(content)


@dataclass(frozen=True)
class Orphans:
    """Temporary files that were removed.

    Attributes:
        count: number of files.
        size: their size in bytes.
    """

    count: int = 0
    size: int = 0


def remove_orphans(folder: str | os.PathLike[str]) -> Orphans:
    """Removes the temporary files that killed processes left in a folder and below.

    Only files with the names of `atomic_write` are touched, and none that a process is writing now. Links are
    not followed. Where the disk has no locks, nothing is removed, because then nobody knows which file is in
    use.

    Args:
        folder: folder of a run. The caller holds its lock.
    """
    count = size = 0
    for place, _, names in os.walk(folder):  # does not follow links to folders
        for name in filter(_OURS.fullmatch, names):
            removed = _remove_if_orphaned(os.path.join(place, name))
            if removed is not None:
                count, size = count + 1, size + removed
    return Orphans(count, size)


def _remove_if_orphaned(path: str) -> int | None:
    """Removes a temporary file that no process holds. Returns its size; None if it stays."""
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        if lock(descriptor) is not Locking.DONE or not is_still_at(descriptor, path):
            return None
        size = os.fstat(descriptor).st_size
        os.unlink(path)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return size


def _open_temporary(folder: Path) -> tuple[str, int]:
    """Makes a temporary file, and locks it as long as it is open, so that nobody takes it for an orphan."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=_PREFIX, suffix=_SUFFIX)
        # `remove_orphans` of another process may have come between the two, and removes the file.
        if lock(descriptor) is not Locking.TAKEN and is_still_at(descriptor, name):
            return name, descriptor
        os.close(descriptor)


class _RawFile(io.FileIO):
    """A file that remembers the first error of the system. Writers such as PyTorch's replace it by their own.

    Attributes:
        error: the error; None if there was none.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Writes as the base class does."""
        with self.remembering():
            return super().write(data)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Remembers an error of the block, and raises it."""
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            raise


def _finish(descriptor: int, temporary: str, target: Path, raw: _RawFile) -> None:
    """Brings a complete file to the disk, and gives it its name."""
    # mkstemp makes files that only their owner can read; a data file gets the permissions of any new file
    umask = os.umask(0)
    os.umask(umask)
    with raw.remembering():
        # Some disks report only here that they are full.
        os.fsync(descriptor)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    # The new name is in the folder. Not every system can write a folder to the disk.
    with suppress(OSError):
        of_folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(of_folder)
        finally:
            os.close(of_folder)


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
            total.update(_before_text(len(data)))
            total.update(data)
    return total.hexdigest()


def digest_of_text(pieces: Callable[[], Iterable[str]]) -> str:
    """The same as `digest([text])`, for a text that is too long to hold.

    Args:
        pieces: makes the pieces of the text. It is called twice: the length of the text is part of the
            digest.
    """
    total = hashlib.sha256(_before_text(sum(len(piece.encode()) for piece in pieces())))
    for piece in pieces():
        total.update(piece.encode())
    return total.hexdigest()


def _before_text(length: int) -> bytes:
    """What makes the boundaries between texts part of a digest."""
    return f"text {length} ".encode()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal, as `sha256sum` prints it.

    Raises:
        OSError: the file can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise explained(error, path) from error


def check_sha256(text: str) -> str:
    """The digest that a user gives, in lower case.

    Raises:
        ValueError: it has not 64 hexadecimal digits.
    """
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError(f"sha256 takes 64 hexadecimal digits, not {text!r}")
    return text.lower()
