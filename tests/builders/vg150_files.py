"""Writes small data sets in VG150's layout, written from its definition."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from reldn_d2.data.datasets.visual_genome.vg150 import OBJECT_CLASSES, PREDICATE_CLASSES

Arrays = dict[str, NDArray[Any]]
TRAIN, TEST = 0, 2


@dataclass(frozen=True)
class Photo:
    """An image as the files have it.

    Attributes:
        boxes: centre x, centre y, width and height in the image scaled to a longer side of 1024.
        labels: class of each box, from 1.
        relations: (subject, object, predicate), two positions in `boxes` and a predicate from 1.
    """

    image_id: int
    boxes: Sequence[tuple[float, float, float, float]] = ((100, 100, 40, 60), (400, 300, 200, 100))
    labels: Sequence[int] = (1, 2)
    relations: Sequence[tuple[int, int, int]] = ((0, 1, 1),)
    width: int = 512
    height: int = 384
    split: int = TRAIN


def h5_arrays(photos: Sequence[Photo]) -> Arrays:
    """The arrays of the h5 file, with both arrays of boxes."""
    first_box, last_box, first_rel, last_rel = [], [], [], []
    boxes: list[Any] = []
    labels: list[int] = []
    relations: list[tuple[int, int, int]] = []
    for photo in photos:
        start = len(boxes)
        first_box.append(start if photo.boxes else -1)
        first_rel.append(len(relations) if photo.relations else -1)
        boxes += photo.boxes
        labels += photo.labels
        relations += [(start + s, start + o, p) for s, o, p in photo.relations]
        last_box.append(len(boxes) - 1 if photo.boxes else -1)
        last_rel.append(len(relations) - 1 if photo.relations else -1)
    boxes_1024 = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    rows = np.array(relations, dtype=np.int64).reshape(-1, 3)
    return {
        "boxes_1024": boxes_1024,
        "boxes_512": boxes_1024 / 2,
        "labels": np.array(labels, dtype=np.int64).reshape(-1, 1),
        "relationships": rows[:, :2].astype(np.int32),
        "predicates": rows[:, 2:],
        "split": np.array([photo.split for photo in photos], dtype=np.int32),
        "img_to_first_box": np.array(first_box, dtype=np.int32),
        "img_to_last_box": np.array(last_box, dtype=np.int32),
        "img_to_first_rel": np.array(first_rel, dtype=np.int32),
        "img_to_last_rel": np.array(last_rel, dtype=np.int32),
    }


def image_data(photos: Sequence[Photo]) -> list[dict[str, Any]]:
    """The content of image_data.json."""
    return [
        {
            "image_id": p.image_id,
            "width": p.width,
            "height": p.height,
            "url": f"https://example.org/{p.image_id}.jpg",
        }
        for p in photos
    ]


def write_vg150(root: Path, photos: Sequence[Photo]) -> None:
    write_files(root, h5_arrays(photos), image_data(photos))


def write_files(root: Path, arrays: Arrays, images: Any, attributes: bool = True) -> None:
    """Write h5, dicts and image_data.json; no pictures.

    Args:
        attributes: write the files "with-attri", or the files without attributes.
    """
    root.mkdir(parents=True, exist_ok=True)
    ending = "-with-attri" if attributes else ""
    with h5py.File(root / f"VG-SGG{ending}.h5", "w") as file:
        for key, array in arrays.items():
            file[key] = array
    (root / f"VG-SGG-dicts{ending}.json").write_text(json.dumps(dicts()))
    (root / "image_data.json").write_text(json.dumps(images))


def dicts() -> dict[str, Any]:
    """The content of the dicts file."""
    content: dict[str, Any] = {}
    for what, names in (("label", OBJECT_CLASSES), ("predicate", PREDICATE_CLASSES)):
        content[f"{what}_to_idx"] = {name: number for number, name in enumerate(names, start=1)}
        content[f"idx_to_{what}"] = {str(number): name for number, name in enumerate(names, start=1)}
    return content
