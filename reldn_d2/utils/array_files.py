"""Writes and reads files of NumPy arrays (.npz) with a digest, which tells whether a file was changed.

The digest is an array of its own, `sha256`. Files of earlier releases and of other programs have none. Then
the checksums of the archive and the checks of the reader's caller are all there is.
"""

import os
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .io import atomic_write, digest
from .system_errors import explained, is_of_the_system

_DIGEST = "sha256"
_ENDING = ".npy"
_LAST_CHARACTER = 0x10FFFF


def write_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False
) -> None:
    """Writes arrays and their digest atomically.

    Args:
        path: file to write.
        arrays: name -> array of numbers, truth values or text. No name is `sha256`.
        compressed: whether to compress them.

    Raises:
        OSError: the file can't be written; an older one is unchanged.
    """
    save = np.savez_compressed if compressed else np.savez
    content: dict[str, Any] = {**arrays, _DIGEST: np.array(_digest(arrays))}
    with atomic_write(path) as stream:
        save(stream, **content)


def read_arrays(
    path: str | os.PathLike[str],
    names: Iterable[str],
    *,
    what: str,
    remedy: str,
    version: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Reads all arrays of a file, and compares them with its digest if it has one. Runs no code of the file.

    Args:
        path: file of `write_arrays` or `numpy.savez`.
        names: arrays that the file must have.
        what: what the file should be, for messages: "prediction file".
        remedy: what the user should do, for messages: "run the evaluation again".
        version: what the array `format_version` must say; None if the file needs no such array.

    Returns:
        Name -> array, without the digest.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the system does not let this user read it.
        ValueError: it is no such archive, is cut off or damaged, has another format version, lacks an array,
            or was changed after it was written. The message names the file.
    """
    arrays = _read(Path(path), what, remedy)
    found = arrays.get("format_version", np.array(None)).tolist()
    missing = [name for name in names if name not in arrays]
    if version is not None and found != version:
        # Files of several kinds have a version.
        other = f", and it lacks the array '{missing[0]}', so it may be no {what}" if missing else ""
        raise ValueError(f"{path}: format version {found}, not {version}{other}; {remedy}")
    if missing:
        raise ValueError(f"{path}: not a complete {what} (it lacks the array '{missing[0]}'); {remedy}")
    saved = arrays.pop(_DIGEST, None)
    if saved is not None and saved.tolist() != _digest(arrays):
        raise ValueError(
            f"{path}: changed or damaged after it was written: its arrays do not have the digest in "
            f"'{_DIGEST}'. If you changed them on purpose, leave '{_DIGEST}' out of the file, else {remedy}"
        )
    return arrays


def read_some_arrays(
    path: str | os.PathLike[str], names: Collection[str], *, what: str, remedy: str
) -> tuple[dict[str, NDArray[Any]], str | None]:
    """Reads some arrays of a file, which may be large. Only `read_arrays` compares the digest.

    Args:
        path: see `read_arrays`.
        names: arrays to read. The file may lack some.
        what, remedy: see `read_arrays`.

    Returns:
        Name -> array, for those that are there; and the digest that the file says it has, None if it has
        none.

    Raises:
        FileNotFoundError, OSError: see `read_arrays`.
        ValueError: it is no such archive, is cut off, or one of the arrays is damaged.
    """
    arrays = _read(Path(path), what, remedy, {*names, _DIGEST})
    saved = arrays.pop(_DIGEST, None)
    return arrays, None if saved is None else str(saved.tolist())


def array_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of the arrays in a file of `write_arrays`, which is complete, without the digest."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(_ENDING) for name in archive.namelist()]
    return [name for name in names if name != _DIGEST]


def _read(
    path: Path, what: str, remedy: str, names: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of a file with these names, by default all. Errors are those of `read_arrays`."""
    try:
        return _members(path, names)
    except FileNotFoundError:
        raise
    # A damaged archive can fail with zlib.error, NotImplementedError, RuntimeError, MemoryError and others.
    except Exception as error:
        if is_of_the_system(error):
            assert isinstance(error, OSError)
            raise explained(error, path) from error
        raise ValueError(f"{path}: not a complete {what} ({_first_line(error)}); {remedy}") from error


def _members(path: Path, names: Collection[str] | None) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(_ENDING)
            if names is not None and name not in names:
                continue
            if name in arrays:
                raise ValueError(f"it has the array '{name}' twice")
            with archive.open(member) as stream:
                array = np.lib.format.read_array(stream, allow_pickle=False)
                # To read to the end compares the checksum of the archive.
                if stream.read(1):
                    raise ValueError(f"something follows the array '{name}'")
            if array.dtype.kind == "U" and not _is_text(array):
                raise ValueError(f"the array '{name}' holds no text")
            arrays[name] = array
    return arrays


def _is_text(array: NDArray[Any]) -> bool:
    """Whether all numbers in an array of text are characters."""
    codes = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    return not codes.size or int(codes.max()) <= _LAST_CHARACTER


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    return digest(part for name in sorted(arrays) for part in (name, arrays[name]))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
