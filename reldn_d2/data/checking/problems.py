"""What can be wrong with a data set: the kinds of problems, and how one is reported."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# How many records of a problem are named.
NUM_RECORDS = 5

Part = Literal["annotation", "relation"]


@dataclass(frozen=True)
class Kind:
    """
    Attributes:
        is_error: training or evaluation would be wrong or stop; else it is legal, but worth knowing.
        meaning: what it is.
        remedy: what follows from it, or what to do.
    """

    is_error: bool
    meaning: str
    remedy: str


KINDS = {
    "malformed": Kind(
        True,
        "The dict of an image can't be read. Its entities and relationships are in no number here.",
        'datasets/README.md, "What a loader returns", says what it must hold.',
    ),
    "repeated_image_id": Kind(
        True, "Two images have the same image_id.", "Evaluation tells images apart by it: make it unique."
    ),
    "missing_image": Kind(
        True,
        "The picture of an image is not there.",
        "Check DETECTRON2_DATASETS, or the folder that the data set was registered with.",
    ),
    "unreadable_image": Kind(
        True, "The picture of an image can't be decoded.", "Copy it again, or leave the image out."
    ),
    "image_size": Kind(
        True,
        "The picture has another size than the dict says.",
        "Boxes may be scaled to another copy of the picture, or its EXIF orientation was not applied.",
    ),
    "box_not_finite": Kind(
        True, "A box holds NaN or infinity.", "Correct it, or leave out the entity and its relationships."
    ),
    "box_order": Kind(
        True,
        "The far corner of a box comes before the near one.",
        "Check the order of the numbers and bbox_mode: XYXY_ABS is left, top, right, bottom; XYWH_ABS left, top, "
        "width, height.",
    ),
    "empty_box": Kind(
        True,
        "A box has no area.",
        "Training drops the entity with its relationships; widen the box, or leave the entity out.",
    ),
    "box_outside": Kind(
        True,
        "A box sticks out of its image.",
        "Clip it if it does by little; else the boxes may be of another scale or order.",
    ),
    "unknown_class": Kind(
        True,
        "A class number is outside the list of classes.",
        "Classes are counted from 0, in the order of thing_classes.",
    ),
    "unknown_verified_class": Kind(
        True,
        "An image's verified_classes hold a number that is outside the list of classes.",
        "Classes are counted from 0, in the order of thing_classes; leave out labels that are none of them.",
    ),
    "dangling_id": Kind(
        True,
        "A relationship names an entity that its image does not have.",
        "Subject and object are positions in the annotations of the image, counted from 0.",
    ),
    "unknown_predicate": Kind(
        True,
        "A predicate number is outside the list of predicates.",
        "Predicates are counted from 0, in the order of predicate_classes; no relationship is no predicate.",
    ),
    "counts": Kind(
        True,
        "The data set is not of its official size.",
        "Files are missing or were changed, or options leave something out.",
    ),
    "box_changed": Kind(
        False,
        "The loader clipped the box to the image or widened it.",
        "Official files have a few such boxes. Many of them: another order or scale of the numbers, or image sizes of "
        "another release.",
    ),
    "one_box": Kind(
        False, "An image has fewer than two boxes, so nothing to relate.", "Training leaves it out."
    ),
    "no_relation": Kind(
        False, "An image has no relationship.", "Training leaves it out, and most recalls pass over it."
    ),
    "self_relation": Kind(
        False,
        "A relationship joins an entity with itself.",
        "Evaluation counts it, and it can't be found; training drops it.",
    ),
    "repeated_relation": Kind(
        False,
        "A relationship repeats an earlier one of its image: same subject, object and predicate.",
        "Evaluation counts each, as published numbers do; training drops the repeats.",
    ),
    "repeated_entity": Kind(
        False,
        "An entity repeats an earlier one of its image: same box and class.",
        "Relationships of one and the same thing are then spread over two; merge them if the boxes mean one.",
    ),
}


@dataclass(frozen=True)
class Record:
    """Where a problem is.

    Attributes:
        image: position of the image in the data set; None if it is of the data set as a whole.
        image_id: of the image, if it has one.
        part, row: the annotation or relation of the image it is about, counted from 0; None for the image itself.
        detail: what is there.
    """

    image: int | None
    image_id: int | str | None
    part: Part | None
    row: int | None
    detail: str

    def __str__(self) -> str:
        if self.image is None:
            return self.detail
        where = f"image {self.image_id!r}" if self.image_id is not None else f"image at position {self.image}"
        return f"{where}{'' if self.part is None else f', {self.part} {self.row}'}: {self.detail}"


@dataclass(frozen=True, eq=False)
class Problem:
    """All records with the same problem.

    Attributes:
        kind: a key of `KINDS`.
        count: number of records.
        images: (K,) positions of the images that have it, rising.
        records: the first `NUM_RECORDS`.
    """

    kind: str
    count: int
    images: NDArray[np.int64]
    records: tuple[Record, ...]

    @property
    def is_error(self) -> bool:
        return KINDS[self.kind].is_error


def make_problem(kind: str, images: NDArray[np.int64], record: Callable[[int], Record]) -> Problem | None:
    """
    Args:
        kind: a key of `KINDS`.
        images: (count,) position of the image of each record.
        record: makes the k-th record.

    Returns:
        The problem, or None if there is no record.
    """
    if not len(images):
        return None
    first = tuple(record(k) for k in range(min(len(images), NUM_RECORDS)))
    return Problem(kind, len(images), np.unique(images), first)
