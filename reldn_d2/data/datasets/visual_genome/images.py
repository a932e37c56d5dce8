"""The files that both formats of Visual Genome have: image_data.json and the folders of pictures."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reldn_d2.utils.json_files import is_id, is_side, read_json
from reldn_d2.utils.refusals import Refusal, refuse, refuse_one

# The official archives images.zip and images2.zip unpack to the first two. Some people merge them into the
# first, or into the third.
PICTURE_FOLDERS = ("VG_100K", "VG_100K_2", "images")

# Ids of the images whose picture cannot be used.
CORRUPT_IMAGES = (1592, 1722, 4616, 4617)

_OFFICIAL = "Use Visual Genome's official file."


def read_image_data(path: str | os.PathLike[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and sizes of all images, in the order of the file.

    Args:
        path: image_data.json, a list of objects with `image_id`, `width` and `height`.

    Returns:
        (I,) ids, all different; (I, 2) width and height in pixels, at least 1. Refused records keep their
        rows, with a size of 0; see `reldn_d2.utils.refusals`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a record lacks a number, has an impossible size, or repeats an id.
    """
    records = read_json(path)
    if not isinstance(records, list):
        raise ValueError(f"{path} is not a list of images. Use Visual Genome's official file.")
    numbers = [_id_and_size(path, index, record) for index, record in enumerate(records)]
    table = np.array(numbers, dtype=np.int64).reshape(-1, 3)
    ids, sizes = table[:, 0], table[:, 1:]
    read = np.flatnonzero(sizes[:, 0])
    _, first = np.unique(ids[read], return_index=True)
    repeated = np.setdiff1d(read, read[first])

    def record(k: int) -> Refusal:
        problem = f"image_id {ids[repeated[k]]} occurs in an earlier record"
        return Refusal(f"record {repeated[k]}", problem, "Remove one of the two.")

    refuse(path, "repeated image_id", len(repeated), record)
    sizes[repeated] = 0
    return ids, sizes


def picture_files(root: str | os.PathLike[str], ids: NDArray[np.int64]) -> list[str]:
    """Find the picture of each image. Each folder is listed once and no picture is opened.

    A missing picture is not an error here, because saved predictions can be scored without pictures. It gets
    a path in the first folder, and reading it later raises the error.

    Args:
        root: folder that holds some of `PICTURE_FOLDERS`. A picture is taken from the first of them that has
            it.
        ids: (I,) image ids.

    Returns:
        I paths.
    """
    folders = [os.path.join(root, folder) for folder in PICTURE_FOLDERS]
    folder_of: dict[str, str] = {}
    for folder in filter(os.path.isdir, reversed(folders)):
        folder_of |= dict.fromkeys(os.listdir(folder), folder)
    names = [f"{image_id}.jpg" for image_id in ids.tolist()]
    return [os.path.join(folder_of.get(name, folders[0]), name) for name in names]


def _id_and_size(path: str | os.PathLike[str], index: int, record: Any) -> tuple[int, int, int]:
    """Id, width and height. If the record is refused, the size is 0, and an id that can't be read is -1."""
    try:
        image_id, width, height = record["image_id"], record["width"], record["height"]
    except (KeyError, TypeError):
        problem = f"it lacks image_id, width or height: {record!r:.200}"
        refuse_one(path, "record that lacks a key", f"record {index}", problem, _OFFICIAL)
        return -1, 0, 0
    if not (is_id(image_id) and is_side(width) and is_side(height)):
        problem = (
            f"image_id {image_id!r} with width {width!r} and height {height!r}: all three must be whole "
            "numbers, the size at least 1 and below 2**31"
        )
        refuse_one(path, "impossible id or size", f"record {index}", problem, _OFFICIAL)
        return image_id if is_id(image_id) else -1, 0, 0
    return image_id, width, height
