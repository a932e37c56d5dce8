"""Notes on picture files: turned by EXIF data, several in a file, very thin, or the same as another one.

Pictures are the same if their files have the same bytes, whatever they are called. A picture that was saved
again is another file, and is not found.
"""

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import SEEK_END
from typing import TypeVar

import numpy as np
from detectron2.utils.file_io import PathManager

from reldn_d2.utils.progress import progress

from ..images import read_header
from ..tar_members import TarMember
from .problems import Problem, Record, make_problem, sort_problems
from .unchecked_arrays import IntArray, UncheckedArrays

T = TypeVar("T")

# What EXIF's orientations do with the picture of the file.
_TURNS = {
    2: "mirrored from left to right",
    3: "turned by 180 degrees",
    4: "mirrored from top to bottom",
    5: "mirrored, and turned by 90 degrees",
    6: "turned by 90 degrees clockwise",
    7: "mirrored, and turned by 90 degrees",
    8: "turned by 90 degrees anticlockwise",
}
# A side of so many times the other may have no pixel left when the picture is resized for a model.
_THIN = 1000
# Bytes at the end of a file that are compared before whole files are.
_TAIL = 4096


def picture_notes(arrays: UncheckedArrays) -> list[Problem]:
    """Look at the files of the images. Files that can't be read are skipped; `check_pictures` names them.

    Args:
        arrays: the content of the data set.

    Returns:
        Problems of the kinds "turned_picture", "several_pictures", "thin_picture" and "same_picture".
    """
    headers = [*_in_threads(read_header, arrays.file_names, "headers of pictures")]
    turns = [None if header is None else _TURNS.get(header.orientation) for header in headers]
    turned = np.flatnonzero([turn is not None for turn in turns])
    several = np.flatnonzero([header is not None and header.has_more_pictures for header in headers])
    thin = np.flatnonzero(arrays.well_formed & (arrays.sizes.max(axis=1) > _THIN * arrays.sizes.min(axis=1)))
    first = first_uses(arrays.file_names)
    files = arrays.file_names
    # `check_dataset` notes images of the same path.
    again = np.flatnonzero(
        [0 <= other < i and files[other] != files[i] for i, other in enumerate(first.tolist())]
    )

    def turned_record(k: int) -> Record:
        image = int(turned[k])
        return _record(arrays, image, f"{files[image]} is {turns[image]}")

    def several_record(k: int) -> Record:
        return _record(arrays, int(several[k]), files[several[k]])

    def thin_record(k: int) -> Record:
        width, height = arrays.sizes[thin[k]].tolist()
        return _record(arrays, int(thin[k]), f"{files[thin[k]]} has {width} x {height} pixels")

    def same_record(k: int) -> Record:
        image = int(again[k])
        return _record(arrays, image, f"{files[image]} has the bytes of {files[first[image]]}")

    return sort_problems(
        [
            make_problem("turned_picture", turned, turned_record),
            make_problem("several_pictures", several, several_record),
            make_problem("thin_picture", thin, thin_record),
            make_problem("same_picture", again, same_record),
        ]
    )


def shared_pictures(
    arrays: UncheckedArrays, other: str, other_files: Sequence[str], *, read: bool
) -> list[Problem]:
    """Find pictures that another data set has, too.

    Args:
        arrays: the content of the data set.
        other: name of the other data set.
        other_files: its files; "" for an image without.
        read: whether to compare the bytes of files; otherwise only their paths.

    Returns:
        A problem of the kind "shared_picture", or nothing.
    """
    first = first_uses([*other_files, *arrays.file_names], read=read)[len(other_files) :]
    shared = np.flatnonzero((first >= 0) & (first < len(other_files)))

    def record(k: int) -> Record:
        image = int(shared[k])
        return _record(arrays, image, f"{arrays.file_names[image]} is {other_files[first[image]]} of {other}")

    found = make_problem("shared_picture", shared, record, about=f"with {other}")
    return [] if found is None else [found]


def first_uses(files: Sequence[str], *, read: bool = True) -> IntArray:
    """The first file with the same content, for each file.

    Of files that have a size of their own nothing is read, of the others the last 4 KB, and only those that
    agree in both are read completely.

    Args:
        files: paths; "" for none.
        read: whether to compare contents; otherwise only paths, with links followed.

    Returns:
        (len(files),) positions in `files`; -1 for a file that can't be read.
    """
    if not read:
        return _first([*_in_threads(_path, files, "files")])
    identities = [*_in_threads(_identity, files, "files")]
    # A file with several names is read once.
    known = {identity: row for row, identity in reversed([*enumerate(identities)]) if identity is not None}
    content: dict[int, Hashable] = {row: size for (*_, size), row in known.items()}
    for look, what in ((_tail, "ends of files"), (_digest, "files compared")):
        alike = _repeated(content)
        for row, seen in zip(alike, _in_threads(look, [files[row] for row in alike], what), strict=True):
            # A file that can't be read is like no other.
            content[row] = content[row], row if seen is None else seen
    return _first([None if identity is None else content[known[identity]] for identity in identities])


def _first(keys: Sequence[Hashable | None]) -> IntArray:
    """The first position of each key; -1 for None."""
    first: dict[Hashable, int] = {}
    return np.array(
        [-1 if key is None else first.setdefault(key, row) for row, key in enumerate(keys)], np.int64
    )


def _repeated(content: dict[int, Hashable]) -> list[int]:
    """The keys whose value occurs more than once."""
    rows_of: dict[Hashable, list[int]] = {}
    for row, value in content.items():
        rows_of.setdefault(value, []).append(row)
    return [row for rows in rows_of.values() if len(rows) > 1 for row in rows]


def _in_threads(look: Callable[[str], T], files: Sequence[str], what: str) -> Iterable[T | None]:
    """Calls a function for each file that is named. None where a file can't be read."""

    def seen(file: str) -> T | None:
        try:
            return look(file) if file else None
        # Of damaged files and network disks any error may come; `check_pictures` reports it.
        except Exception:
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from progress(pool.map(seen, files), what, len(files))


def _path(file: str) -> Hashable:
    return os.path.realpath(file)


def _identity(file: str) -> tuple[int, ...]:
    """What tells files, and places in tar files, apart without reading them, and the size in bytes."""
    member = TarMember.of(file)
    if member is None:
        found = os.stat(file)
        return found.st_dev, found.st_ino, found.st_size
    tar = os.stat(member.tar)
    return tar.st_dev, tar.st_ino, member.offset, member.size


def _tail(file: str) -> Hashable:
    with PathManager.open(file, "rb") as stream:
        stream.seek(-min(_TAIL, stream.seek(0, SEEK_END)), SEEK_END)
        tail: bytes = stream.read()
        return tail


def _digest(file: str) -> Hashable:
    with PathManager.open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _record(arrays: UncheckedArrays, image: int, detail: str) -> Record:
    return Record(image, arrays.image_ids[image], None, None, detail)
