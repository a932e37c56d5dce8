"""Data sets whose pictures are in tar files, such as the shards of WebDataset, instead of a folder.

Single pictures are read from their places (`tar_members`). So sampler, order, augmentation and exact resume
are those of a training on files, and the batches are equal bit for bit.
"""

import logging
import os
import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reldn_d2.utils.array_files import read_arrays, write_arrays
from reldn_d2.utils.io import digest
from reldn_d2.utils.progress import progress
from reldn_d2.utils.refusals import Refusal, refuse
from reldn_d2.utils.system_errors import explained

from .images import cache_folder
from .tar_members import ENDING, TarMember
from .without_pictures import known_sizes

logger = logging.getLogger(__name__)

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
# Version of the cached indices. Raise it when the result of `_read_index` changes.
_CACHE_VERSION = 1


def names_tar_files(image_root: str | os.PathLike[str]) -> bool:
    """Whether an image folder is in fact a tar file, or a pattern of tar files, as its ending says.

    Raises:
        ValueError: the tar files are compressed or at an address, so that single pictures can't be read.
    """
    text = os.fspath(image_root)
    if os.path.isdir(text):
        return False
    if text.endswith(_COMPRESSED):
        raise ValueError(
            f"image folder {text}: a compressed tar file has no places of single pictures. Unpack the "
            "compression (gunzip, for example); pictures are compressed themselves"
        )
    if text.endswith(ENDING) and "://" in text:
        raise ValueError(
            f"image folder {text}: pictures are read from tar files on a disk. Copy the files to one, or "
            "mount the store as a folder"
        )
    return text.endswith(ENDING)


def find_tar_files(pattern: str | os.PathLike[str]) -> list[str]:
    """Absolute paths of the tar files that match a pattern, such as "shards/train-*.tar", sorted.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a folder above them has a name that ends in ".tar".
    """
    absolute = os.path.abspath(pattern)
    if f"{ENDING}{os.sep}" in absolute:
        raise ValueError(f"image folder {absolute}: rename the folder whose name ends in {ENDING}")
    # A file may have a name with the signs of patterns.
    matching = [absolute] if os.path.isfile(absolute) else glob(absolute, recursive=True)
    found = sorted(filter(os.path.isfile, matching))
    if not found:
        braces = ". Write * for a list in braces" if "{" in absolute else ""
        raise FileNotFoundError(f"There is no tar file {absolute}: correct the image folder{braces}.")
    return found


def file_names_in_tars(
    names: Sequence[str], pattern: str | os.PathLike[str], source: str | os.PathLike[str]
) -> dict[str, str]:
    """Finds pictures in tar files. For loaders of data sets.

    A picture is the member of the same name; "./" at the beginning of either does not matter. The headers of
    each tar file are read once, and its index is cached in the user's cache folder.

    Args:
        names: names of images, as the annotation has them.
        pattern: the tar files, such as "shards/train-*.tar".
        source: the annotation file, for messages.

    Returns:
        Name -> `file_name` of a dataset dict, which `read_image` and Detectron2's PathManager read; without
        refused ones, see `reldn_d2.utils.refusals`. Within `without_pictures`, no tar file is opened.

    Raises:
        FileNotFoundError: there is no tar file, or some images are in none.
        OSError: the system does not let this user read a tar file.
        ValueError: two members have the name of an image, or a tar file is cut off, damaged or compressed.

    Example:
        >>> import tarfile, tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from reldn_d2.data import file_names_in_tars
        >>> from reldn_d2.data.images import upright_size
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (30, 20)).save(folder / "a.png")
        >>> with tarfile.open(folder / "train-0.tar", "w") as tar:
        ...     tar.add(folder / "a.png", arcname="street/a.png")
        >>> found = file_names_in_tars(["street/a.png"], folder / "train-*.tar", "train.json")
        >>> upright_size(found["street/a.png"])
        (30, 20)
    """
    if known_sizes() is not None:
        return {name: os.path.join(pattern, name) for name in names}
    wanted: dict[str, list[TarMember]] = {posixpath.normpath(name): [] for name in names}
    last_parts = set(map(posixpath.basename, wanted))
    similar: dict[str, str] = {}
    tars = find_tar_files(pattern)
    for tar in progress(tars, "tar files"):
        for member in _members(tar):
            if member.name in wanted:
                wanted[member.name].append(member)
            elif posixpath.basename(member.name) in last_parts:
                similar.setdefault(posixpath.basename(member.name), member.name)
    found = {name: wanted[posixpath.normpath(name)] for name in names}
    twice = [name for name, members in found.items() if len(members) > 1]
    lost = [name for name, members in found.items() if not members]

    def repeated(k: int) -> Refusal:
        places = " and ".join(member.tar for member in found[twice[k]])
        return Refusal(f"image {twice[k]!r}", f"it is in {places}", "Keep one of the two.")

    def missing(k: int) -> Refusal:
        other = similar.get(posixpath.basename(lost[k]))
        like = f", but one has {other!r}" if other else ""
        return Refusal(
            f"image {lost[k]!r}",
            f"none of the {len(tars)} tar files {os.fspath(pattern)} has a member of this name{like}; this "
            f"concerns {len(lost)} of {len(found)} images",
            "A member is called as the image's `file_name`: pack the images from inside their folder.",
        )

    refuse(source, "picture twice in tar files", len(twice), repeated)
    refuse(source, "picture in no tar file", len(lost), missing, FileNotFoundError)
    return {name: members[0].file_name for name, members in found.items() if len(members) == 1}


def _members(tar: str) -> Iterator[TarMember]:
    """The files in a tar file, from the cached index if the tar file has not changed since."""
    status = os.stat(tar)
    stamp = np.array([status.st_size, status.st_mtime_ns])
    cache_file = cache_folder() / "image_tars" / f"v{_CACHE_VERSION}" / f"{digest([tar])}.npz"
    index = _cached_index(cache_file, stamp)
    if index is None:
        index = {**_read_index(tar), "stamp": stamp}
        try:
            write_arrays(cache_file, index)
        except OSError as error:
            logger.warning(
                "%s cannot be written (%s): the next run reads the tar file again.", cache_file, error
            )
    for name, (offset, size) in zip(index["names"].tolist(), index["places"].tolist(), strict=True):
        yield TarMember(tar, name, offset, size)


def _cached_index(path: Path, stamp: NDArray[np.int64]) -> dict[str, NDArray[Any]] | None:
    try:
        # What has no digest is read again.
        index = read_arrays(
            path, ("names", "places", "stamp", "sha256"), what="index of a tar file", remedy="delete it"
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s of the cache cannot be read (%s): the tar file is read again.", path, error)
        return None
    return index if np.array_equal(index["stamp"], stamp) else None


def _read_index(tar: str) -> dict[str, NDArray[Any]]:
    """Names and places of all files in a tar file, from its headers.

    Returns:
        "names": (M,) text, and "places": (M, 2) first byte and number of bytes.

    Raises:
        OSError: the system does not let this user read the file.
        ValueError: it is no uncompressed tar file, is cut off, or its end is no end of a tar file.
    """
    remedy = "Write it again, without compression"
    names: list[str] = []
    places: list[tuple[int, int]] = []
    try:
        with tarfile.open(tar, "r:") as archive:
            while (member := archive.next()) is not None:
                if member.isreg() and not member.issparse():
                    names.append(posixpath.normpath(member.name))
                    places.append((member.offset_data, member.size))
                # `tarfile` would keep a kilobyte of each.
                archive.members.clear()  # type: ignore[attr-defined]
            end = archive.offset
        with Path(tar).open("rb") as file:
            file.seek(end)
            # `tarfile` takes a damaged header, and the end of the file, for the end of the archive.
            is_whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    # Numbers without sense in a header are errors of other kinds.
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise ValueError(f"{tar}: not a complete tar file ({error}). {remedy}.") from error
    except OSError as error:
        raise explained(error, tar) from error
    if not is_whole:
        raise ValueError(f"{tar}: the tar file is cut off or damaged behind byte {end}. {remedy}.")
    return {
        "names": np.array(names, dtype=np.str_),
        "places": np.array(places, dtype=np.int64).reshape(-1, 2),
    }
