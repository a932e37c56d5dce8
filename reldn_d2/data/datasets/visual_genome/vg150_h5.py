"""VG150's annotation file, VG-SGG.h5 or VG-SGG-with-attri.h5, as arrays.

Legend of shape letters:

    I  images of all splits
    N  boxes of all images, image after image
    R  relationships of all images, image after image
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .vg150_classes import OBJECT_CLASSES, PREDICATE_CLASSES

TRAIN, TEST = 0, 2

# Of the two arrays of boxes that a file may hold, the one with the finer pixels is read.
_SIDES = {"boxes_1024": 1024, "boxes_512": 512}
# Every other array: what a row is, and the number of columns.
_LAYOUT = {
    "labels": ("box", 1),
    "relationships": ("relationship", 2),
    "predicates": ("relationship", 1),
    "split": ("image", 1),
    "img_to_first_box": ("image", 1),
    "img_to_last_box": ("image", 1),
    "img_to_first_rel": ("image", 1),
    "img_to_last_rel": ("image", 1),
}


@dataclass(frozen=True)
class Vg150Arrays:
    """What the file holds, checked.

    Attributes:
        boxes: (N, 4) centre x, centre y, width and height, as given: in an image whose longer side is scaled to `side`.
        side: 1024 or 512 pixels.
        classes: (N,) int64, in [0, 150).
        relations: (R, 3) int64 rows (subject, object, predicate). Subject and object are positions among the boxes of
            their image, the predicate is in [0, 50).
        box_counts, relation_counts: (I,) int64, how many each image has.
        split: (I,) int64, TRAIN or TEST.
    """

    boxes: NDArray[Any]
    side: int
    classes: NDArray[np.int64]
    relations: NDArray[np.int64]
    box_counts: NDArray[np.int64]
    relation_counts: NDArray[np.int64]
    split: NDArray[np.int64]


def read_vg150_h5(path: str | os.PathLike[str], image_ids: NDArray[np.int64]) -> Vg150Arrays:
    """Read and check the file.

    Args:
        path: the h5 file.
        image_ids: (I,) ids of its images, which it does not hold itself.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no HDF5 file, a file that is cut off, another number of images, or rows that are not VG150's.
    """
    arrays = _read_arrays(path)
    (boxes_key,) = arrays.keys() & _SIDES
    boxes, labels, predicates, split = (arrays[key] for key in (boxes_key, "labels", "predicates", "split"))
    if len(split) != len(image_ids):
        raise ValueError(
            f"{path} has {len(split)} images, but the image_data.json beside it has {len(image_ids)}, corrupt ones "
            "left out. They belong together row by row: take both from the same source."
        )
    table = _Table(path, arrays)
    table.refuse(
        "split", ~np.isin(split, (TRAIN, TEST)), image_ids, f"a split is {TRAIN} (train) or {TEST} (test)"
    )
    box_counts = _counts(table, "box", len(boxes), image_ids)
    relation_counts = _counts(table, "rel", len(predicates), image_ids)

    image_of_relation = np.repeat(np.arange(len(split)), relation_counts)
    ids_of_boxes, ids_of_relations = np.repeat(image_ids, box_counts), image_ids[image_of_relation]
    usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    table.refuse(boxes_key, ~usable, ids_of_boxes, "numbers must be finite, and width and height above 0")
    for key, names, ids in (
        ("labels", OBJECT_CLASSES, ids_of_boxes),
        ("predicates", PREDICATE_CLASSES, ids_of_relations),
    ):
        outside = (arrays[key] < 1) | (arrays[key] > len(names))
        table.refuse(key, outside, ids, f"{key} count from 1 to {len(names)}")
    first_box = np.cumsum(box_counts) - box_counts
    ends = arrays["relationships"] - first_box[image_of_relation, None]
    outside = ((ends < 0) | (ends >= box_counts[image_of_relation, None])).any(axis=1)
    table.refuse(
        "relationships", outside, ids_of_relations, "subject and object must be box rows of that image"
    )

    relations = np.concatenate([ends, predicates[:, None] - 1], axis=1)
    return Vg150Arrays(boxes, _SIDES[boxes_key], labels - 1, relations, box_counts, relation_counts, split)


@dataclass(frozen=True)
class _Table:
    path: str | os.PathLike[str]
    arrays: dict[str, NDArray[Any]]

    def refuse(self, key: str, wrong: NDArray[np.bool_], image_ids: NDArray[np.int64], rule: str) -> None:
        """Raise if a row of an array is wrong, naming the first; `image_ids` are those of its rows."""
        if wrong.any():
            row = int(wrong.argmax())
            raise ValueError(
                f"{self.path}: row {row} of {key!r} (image {image_ids[row]}) is {self.arrays[key][row].tolist()}, but "
                f"{rule}. Download the file again; in a file of your own, correct the row."
            )


def _counts(table: _Table, what: str, rows: int, image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """(I,) how many of the rows each image has; they must be given image after image, each row once."""
    first_key, last_key = f"img_to_first_{what}", f"img_to_last_{what}"
    first, last = table.arrays[first_key], table.arrays[last_key]
    some = (first != -1) | (last != -1)
    table.refuse(
        last_key, some & (last < first), image_ids, f"it must not be before {first_key!r}, or both -1"
    )
    counts = np.where(some, last - first + 1, 0)
    misplaced = some & (first != np.cumsum(counts) - counts)
    table.refuse(
        first_key, misplaced, image_ids, "images must follow one another without a gap or an overlap"
    )
    if counts.sum() != rows:
        raise ValueError(
            f"{table.path}: {last_key!r} ends at row {counts.sum() - 1}, but there are {rows} rows. Download the file "
            "again; in a file of your own, give every row to an image."
        )
    return counts


def _read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """All arrays that are needed, in the types of `_typed` and of fitting lengths."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Check DETECTRON2_DATASETS and put VG150 there as datasets/README.md shows."
        )
    try:
        with h5py.File(path, "r") as file:
            boxes_key = next((key for key in _SIDES if key in file), "boxes_1024")
            layout = {boxes_key: ("box", 4), **_LAYOUT}
            arrays = {key: file[key][()] for key in layout if isinstance(file.get(key), h5py.Dataset)}
    # h5py raises any of these, depending on where the file is damaged
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): it is no HDF5 file, or not all of it. Download it again."
        ) from error
    lengths: dict[str, int] = {}
    for key, (what, columns) in layout.items():
        if key not in arrays:
            raise ValueError(
                f"{path} has no array {key!r}. Use VG-SGG-with-attri.h5 or VG-SGG.h5 as published."
            )
        arrays[key] = _typed(path, key, arrays[key], columns)
        length = lengths.setdefault(what, len(arrays[key]))
        if len(arrays[key]) != length:
            raise ValueError(
                f"{path}: {key!r} has {len(arrays[key])} rows, but there are {length} {what} rows. Download the file again."
            )
    return arrays


def _typed(path: str | os.PathLike[str], key: str, array: NDArray[Any], columns: int) -> NDArray[Any]:
    """Boxes as they are, integers as int64, a single column as (rows,)."""
    table = array[:, None] if array.ndim == 1 else array
    kinds, what = ("iuf", "numbers") if key in _SIDES else ("iu", "integers")
    if table.ndim != 2 or table.shape[1] != columns or array.dtype.kind not in kinds:
        raise ValueError(
            f"{path}: {key!r} must be rows of {columns} {what}, not an array of shape {array.shape} and type "
            f"{array.dtype}. Use VG-SGG-with-attri.h5 or VG-SGG.h5 as published."
        )
    if key in _SIDES:
        return table
    return table.astype(np.int64).reshape((-1,) if columns == 1 else table.shape)
