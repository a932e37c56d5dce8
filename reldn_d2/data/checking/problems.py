"""The kinds of problems that a data set can have, and the records of each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reldn_d2.utils.refusals import Group

# How many records of a problem are kept and reported.
NUM_RECORDS = 5

Part = Literal["annotation", "relation"]


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        is_error: True if training or evaluation would stop or be wrong; False for a note, which is legal but
            worth knowing.
        meaning: description of the problem.
        remedy: the consequence, or advice.
    """

    is_error: bool
    meaning: str
    remedy: str


KINDS = {
    "refused": Kind(
        True,
        "The loader refuses records of a file, so training stops. They are not in the numbers above.",
        "Correct them, or leave them out.",
    ),
    "malformed": Kind(
        True,
        "The dict of an image can't be read. Its entities and relationships are not counted here.",
        'datasets/README.md, "What a loader returns", says what it must hold.',
    ),
    "repeated_image_id": Kind(
        True, "Two images have the same image_id.", "Evaluation tells images apart by it: make it unique."
    ),
    "missing_image": Kind(
        True,
        "The picture of an image is missing.",
        "Check the folder in these names: it comes from DETECTRON2_DATASETS, or is the image folder that the "
        "data set was given (--image-root, `images` in a data file).",
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
        "Check the order of the numbers and bbox_mode: XYXY_ABS is left, top, right, bottom; XYWH_ABS "
        "left, top, width, height.",
    ),
    "empty_box": Kind(
        True,
        "A box has no area.",
        "Training drops the entity with its relationships; widen the box, or leave the entity out.",
    ),
    "box_units": Kind(
        True,
        "The boxes of the whole data set are no pixels of their images.",
        "Multiply shares by width and height, or correct width and height.",
    ),
    "box_far_outside": Kind(
        True,
        "A box sticks far out of its image: by more than a tenth of a side.",
        "Check the order of the numbers (left, top, right, bottom for XYXY_ABS; left, top, width, height for "
        "XYWH_ABS), and that box and size are those of the same copy of the picture.",
    ),
    "box_outside": Kind(
        True,
        "A box sticks out of its image.",
        "Clip it if it sticks out by little; otherwise the boxes may have another scale or order.",
    ),
    "unknown_class": Kind(
        True,
        "A class number is outside the list of classes.",
        "Classes are counted from 0, in the order of thing_classes.",
    ),
    "unknown_verified_class": Kind(
        True,
        "An image's verified_classes hold a number that is outside the list of classes.",
        "Classes are counted from 0, in the order of thing_classes; leave out labels that are not among "
        "them.",
    ),
    "dangling_id": Kind(
        True,
        "A relationship names an entity that its image does not have.",
        "Subject and object are positions in the annotations of the image, counted from 0.",
    ),
    "unknown_predicate": Kind(
        True,
        "A predicate number is outside the list of predicates.",
        "Predicates are counted from 0, in the order of predicate_classes; 'no relationship' is not a "
        "predicate.",
    ),
    "malformed_detections": Kind(
        True,
        "The detections that the loader gives with an image can't be read.",
        "Give every image, or none, (K, 4) boxes, (K,) scores and (K,) classes.",
    ),
    "detection": Kind(
        True,
        "A detection that the loader gives with an image is wrong.",
        "Give boxes left, top, right, bottom in pixels of the original picture, scores from 0 to 1, and "
        "classes counted from 0.",
    ),
    "detection_units": Kind(
        True,
        "The detections that the loader gives are no pixels of their images.",
        "Multiply shares by width and height.",
    ),
    "no_images": Kind(
        True,
        "The data set has no images.",
        "Check its files and its loader: a run refuses it.",
    ),
    "counts": Kind(
        True,
        "The data set does not have its official size.",
        "Files are missing or were changed, or options of the loader leave something out.",
    ),
    "similar_names": Kind(
        False,
        "Two classes have the same name, perhaps but for capital letters or spaces.",
        "A model learns them as two classes; give them one id if they are the same.",
    ),
    "repeated_file": Kind(
        False,
        "Two images have the same picture file.",
        "Training draws it more often, and evaluation counts it twice; join their annotations.",
    ),
    "same_picture": Kind(
        False,
        "The picture files of two images have the same bytes, under different names.",
        "Training draws the picture more often, and evaluation counts it twice; join their annotations.",
    ),
    "shared_picture": Kind(
        False,
        "Another data set has the same picture.",
        "If a model is trained on one of the two and tested on the other, the test is too easy: leave the "
        "pictures out of one.",
    ),
    "turned_picture": Kind(
        False,
        "EXIF data of the file turn the picture, and its boxes have to be those of the turned one.",
        "Look at some of them (--html draws such images). If the boxes were drawn on the picture as it is in "
        "the file, save the pictures without EXIF data.",
    ),
    "several_pictures": Kind(
        False,
        "The file of a picture holds several: an animation, or pages.",
        "The first one is read. If the boxes are those of another one, save that one as a file of its own.",
    ),
    "thin_picture": Kind(
        False,
        "One side of a picture is more than 1,000 times as long as the other.",
        "If no pixel of the shorter side is left when it is resized (INPUT.MAX_SIZE_TRAIN, MAX_SIZE_TEST), "
        "training stops and names it: crop it, or leave the image out.",
    ),
    "box_scale": Kind(
        False,
        "The boxes of the whole data set may be pixels of a smaller copy of the pictures.",
        "Look at them on the pictures. If they are, multiply them by the ratio of the sizes, or correct "
        "width and height.",
    ),
    "box_shares": Kind(
        False,
        "All boxes of an image end at its left or upper edge: they seem to be shares of the picture, not "
        "pixels.",
        "Look at some of these images. Multiply shares by width and height.",
    ),
    "box_changed": Kind(
        False,
        "The loader clipped the box to the image or widened it.",
        "Official files have a few such boxes. If there are many, the numbers have another order or scale, "
        "or the image sizes are of another release.",
    ),
    "crowd": Kind(
        False,
        "An entity is a crowd (iscrowd): one box around several things.",
        "Training leaves it out, with its relationships.",
    ),
    "crowd_relation": Kind(
        False, "The subject or the object of a relationship is a crowd.", "Training leaves it out."
    ),
    "one_box": Kind(
        False,
        "An image has fewer than two boxes (crowds do not count), so there is no pair to relate.",
        "Training leaves it out.",
    ),
    "no_relation": Kind(
        False,
        "An image has no relationship (those of crowds do not count).",
        "Training leaves it out. Most recalls skip an image without any.",
    ),
    "self_relation": Kind(
        False,
        "A relationship joins an entity with itself.",
        "Evaluation counts it, but no model can predict it; training drops it.",
    ),
    "repeated_relation": Kind(
        False,
        "A relationship repeats an earlier one of its image: same subject, object and predicate.",
        "Evaluation counts each, as published numbers do; training drops the repeats.",
    ),
    "repeated_entity": Kind(
        False,
        "An entity repeats an earlier one of its image: same box and class.",
        "The relationships of one thing are then spread over two entities; merge them if they are the same "
        "thing.",
    ),
}


@dataclass(frozen=True)
class Record:
    """The place of a problem.

    Attributes:
        image: position of the image in the data set; None if the problem concerns the whole data set.
        image_id: id of the image, if it has one.
        part: "annotation" or "relation"; None if the problem concerns the image itself.
        row: position of the annotation or relation in its image, from 0; None if `part` is None.
        detail: description of the wrong value.
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
    """All records with the same kind of problem.

    Attributes:
        kind: a key of `KINDS`.
        count: number of records.
        images: (K,) positions of the images that have it, sorted.
        records: the first `NUM_RECORDS` records.
        about: what they have in common, if there are several problems of the kind; else empty.
        remedy: what to do, if the remedy of `KINDS` is not enough.
    """

    kind: str
    count: int
    images: NDArray[np.int64]
    records: tuple[Record, ...]
    about: str = ""
    remedy: str = ""

    @property
    def is_error(self) -> bool:
        """Whether this is an error; else it is a note."""
        return KINDS[self.kind].is_error


def make_problem(
    kind: str, images: NDArray[np.int64], record: Callable[[int], Record], about: str = ""
) -> Problem | None:
    """Put the records of one kind of problem together.

    Args:
        kind: a key of `KINDS`.
        images: (count,) position of the image of each record.
        record: function that makes the k-th record.
        about: see `Problem`.

    Returns:
        The problem, or None if there are no records.
    """
    if not len(images):
        return None
    first = tuple(record(k) for k in range(min(len(images), NUM_RECORDS)))
    return Problem(kind, len(images), np.unique(images), first, about)


def problem_of_data_set(kind: str, details: Sequence[str]) -> Problem | None:
    """Make a problem that concerns no single image. There is one record for each detail."""
    if not details:
        return None
    records = tuple(Record(None, None, None, None, detail) for detail in details)
    return Problem(kind, len(details), np.zeros(0, dtype=np.int64), records)


def refused_records(groups: Iterable[Group]) -> list[Problem]:
    """Problems of the kind "refused": one for each group of records that a loader refused."""
    found = []
    for group in groups:
        records = tuple(
            Record(None, None, None, None, f"{group.path}: {refusal.where}: {refusal.problem}")
            for refusal in group.first[:NUM_RECORDS]
        )
        no_images = np.zeros(0, dtype=np.int64)
        found.append(Problem("refused", group.count, no_images, records, group.kind, group.first[0].remedy))
    return found


def sort_problems(found: Iterable[Problem | None]) -> list[Problem]:
    """The problems without the Nones, in the order of `KINDS`."""
    order = [*KINDS]
    return sorted((p for p in found if p is not None), key=lambda problem: order.index(problem.kind))


def images_with_errors(problems: Iterable[Problem]) -> set[int]:
    """Positions of the images that have an error among these problems."""
    return {image for problem in problems if problem.is_error for image in problem.images.tolist()}
