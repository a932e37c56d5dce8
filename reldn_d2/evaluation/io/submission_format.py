"""The two forms of a submission to the OpenImages challenge, and what neither may hold.

The official form has a line for every triplet, with the columns `COLUMNS`; an image without triplets is not in the
file. The Kaggle form has a line for every image, with the columns `KAGGLE_COLUMNS`; PredictionString repeats, separated
by spaces,

    Confidence Label1 XMin1 YMin1 XMax1 YMax1 Label2 XMin2 YMin2 XMax2 YMax2 RelationLabel

In both, x is divided by the width of the image and y by its height, so that boxes lie in [0, 1].

A record is the texts of one triplet in the order of `FIELDS`, whatever the form.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter

import numpy as np

from ..graphs import BoolArray, FloatArray, IntArray
from .csv_rows import csv_rows, read_header

COLUMNS = (
    *("ImageID", "LabelName1", "LabelName2"),
    *("XMin1", "XMax1", "YMin1", "YMax1", "XMin2", "XMax2", "YMin2", "YMax2"),
    *("RelationshipLabel", "Score"),
)
KAGGLE_COLUMNS = ("ImageId", "PredictionString")
NAMES = ("ImageID", "LabelName1", "LabelName2", "RelationshipLabel")
NUMBERS = ("XMin1", "YMin1", "XMax1", "YMax1", "XMin2", "YMin2", "XMax2", "YMax2", "Score")
FIELDS = NAMES + NUMBERS

# Rounding may carry a box this far out of the image, in parts of its side.
_OUTSIDE = 1e-3
_OTHER_NAMES = {"ImageId": "ImageID", "RelationLabel": "RelationshipLabel"}
_KAGGLE_FIELDS = ("Score", "LabelName1", *NUMBERS[:4], "LabelName2", *NUMBERS[4:8], "RelationshipLabel")
_Pick = Callable[[Sequence[str]], tuple[str, ...]]


def _pick(fields: Sequence[str], wanted: Sequence[str]) -> _Pick:
    """Function that takes the wanted ones, in their order, out of a sequence of all fields."""
    return itemgetter(*map(fields.index, wanted))


record_to_official: _Pick = _pick(FIELDS, COLUMNS)
record_to_kaggle: _Pick = _pick(FIELDS, _KAGGLE_FIELDS)
_kaggle_to_record = _pick(("ImageID", *_KAGGLE_FIELDS), FIELDS)


def read_records(path: str | os.PathLike[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line number and record of every triplet of a submission. The header tells which form it has.

    Columns may be in any order, with ImageId for ImageID and RelationLabel for RelationshipLabel.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file and line, if a column or a field is missing.
    """
    if KAGGLE_COLUMNS[1] not in read_header(path):
        yield from csv_rows(path, FIELDS, _OTHER_NAMES)
        return
    length = len(_KAGGLE_FIELDS)
    for line, (image_id, text) in csv_rows(path, ("ImageID", KAGGLE_COLUMNS[1]), _OTHER_NAMES):
        words = text.split()
        if len(words) % length:
            raise ValueError(
                f"{path}: line {line}, image {image_id}: {len(words)} words in {KAGGLE_COLUMNS[1]}, not a multiple of "
                f"{length}; every triplet has the {length} words {' '.join(_KAGGLE_FIELDS)}"
            )
        for start in range(0, len(words), length):
            yield line, _kaggle_to_record((image_id, *words[start : start + length]))


def label_index(labels: Iterable[str]) -> dict[str, int]:
    """Label -> its position; ValueError if one is there twice."""
    index: dict[str, int] = {}
    for i, label in enumerate(labels):
        if index.setdefault(label, i) != i:
            raise ValueError(f"the label '{label}' is there twice; give every class and predicate its own")
    return index


def box_scale(sizes: IntArray) -> FloatArray:
    """(..., 4) width, height, width, height of (..., 2) heights and widths: pixels in a box of sides 1."""
    return np.tile(sizes[..., ::-1].astype(np.float64), 2)


def problems(boxes: FloatArray, scores: FloatArray) -> list[tuple[BoolArray, str]]:
    """What no submission may hold: at which boxes or scores it is, and what to say.

    Args:
        boxes: (..., 4) XYXY in parts of the image.
        scores: (T,).
    """
    inside = (boxes >= -_OUTSIDE) & (boxes <= 1 + _OUTSIDE)
    swapped = boxes[..., 2:] < boxes[..., :2]
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is what is asked
        finite = np.isfinite(scores.astype(np.float32))
    return [
        (
            ~np.all(inside, axis=-1),
            "a box leaves the image or is not finite; give boxes inside it (the file has them in [0, 1])",
        ),
        (
            np.any(swapped, axis=-1),
            "a box has swapped corners; give XMin <= XMax and YMin <= YMax, and mind the order of the columns",
        ),
        (~finite, "a score is not a finite float32; mend it"),
    ]
