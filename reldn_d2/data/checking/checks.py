"""Looking for what is wrong with a data set, before training or evaluation trips over it or, worse, does not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reldn_d2.structures.dataset_dicts import DatasetDict

from ..arrays import is_repeat
from .counts import DatasetSummary, summarise
from .problems import KINDS, Part, Problem, Record, make_problem
from .unchecked_arrays import BoolArray, IntArray, UncheckedArrays, unchecked_arrays

# Pixels that a box may stick out by: x + width of decimal numbers is seldom exact.
_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class DatasetCheck:
    """
    Attributes:
        arrays: what the data set holds.
        summary: how much of it.
        problems: what is wrong with it, in the order of `KINDS`: errors, then what is only worth knowing.
    """

    arrays: UncheckedArrays
    summary: DatasetSummary
    problems: list[Problem]


def check_dataset(
    dataset_dicts: Sequence[DatasetDict],
    num_classes: int,
    num_predicates: int,
    expected_counts: Mapping[str, int] | None = None,
) -> DatasetCheck:
    """Check the annotations of a data set. No picture is opened: see `check_pictures`.

    Nothing that the dicts hold makes this raise: it is reported.

    Args:
        dataset_dicts: any number of them; "annotations" may be lists or `Annotations`.
        num_classes, num_predicates: C and P.
        expected_counts: numbers that the data set must have, any of "images", "relationships" and
            "images_without_relationships".
    """
    arrays = unchecked_arrays(dataset_dicts)
    summary = summarise(arrays, num_classes, num_predicates)
    found = [
        *_image_problems(arrays, num_classes),
        *_entity_problems(arrays, num_classes),
        *_relation_problems(arrays, num_predicates),
        _counts_problem(summary, expected_counts or {}),
    ]
    return DatasetCheck(arrays, summary, in_order(found))


def in_order(found: Iterable[Problem | None]) -> list[Problem]:
    """Problems that there are, in the order of `KINDS`."""
    order = [*KINDS]
    return sorted((p for p in found if p is not None), key=lambda problem: order.index(problem.kind))


def images_with_errors(problems: Iterable[Problem]) -> set[int]:
    """Positions of the images that have an error among these problems."""
    return {image for problem in problems if problem.is_error for image in problem.images.tolist()}


def of_images(
    arrays: UncheckedArrays, kind: str, wrong: ArrayLike, detail: Callable[[int], str]
) -> Problem | None:
    """The problem of some images.

    Args:
        arrays: of the data set.
        kind: a key of `KINDS`.
        wrong: (I,) the images that have it.
        detail: what is wrong with the image at a position.
    """
    images = np.flatnonzero(wrong)

    def record(k: int) -> Record:
        position = int(images[k])
        return Record(position, arrays.image_ids[position], None, None, detail(position))

    return make_problem(kind, images, record)


def _image_problems(arrays: UncheckedArrays, num_classes: int) -> list[Problem | None]:
    entities, relations = np.diff(arrays.first_entity), np.diff(arrays.first_relation)
    # Evaluation compares ids as text. An image without an id is malformed, and repeats nothing.
    ids = [i if image_id is None else str(image_id) for i, image_id in enumerate(arrays.image_ids)]
    first = {image_id: i for i, image_id in reversed([*enumerate(ids)])}
    repeated = np.array([first[image_id] != i for i, image_id in enumerate(ids)], dtype=np.bool_)
    unknown = {image: c for image, c in arrays.verified.tolist() if not 0 <= c < num_classes}
    unverifiable = np.isin(np.arange(len(ids)), [*unknown])
    few, without = arrays.well_formed & (entities < 2), arrays.well_formed & (relations == 0)
    return [
        of_images(arrays, "malformed", ~arrays.well_formed, lambda i: arrays.malformed[i]),
        of_images(arrays, "repeated_image_id", repeated, lambda i: f"as at position {first[ids[i]]}"),
        of_images(
            arrays, "unknown_verified_class", unverifiable, lambda i: f"class {unknown[i]} of {num_classes}"
        ),
        of_images(arrays, "one_box", few, lambda i: f"boxes: {entities[i]}"),
        of_images(arrays, "no_relation", without, lambda i: f"boxes: {entities[i]}"),
    ]


def _entity_problems(arrays: UncheckedArrays, num_classes: int) -> list[Problem | None]:
    boxes, classes, image = arrays.boxes, arrays.classes, arrays.entity_image
    sizes = arrays.sizes[image]
    finite = np.isfinite(boxes).all(axis=1)
    near, far = boxes[:, :2], boxes[:, 2:]
    wrong_order = finite & (far < near).any(axis=1)
    outside = (np.minimum(near, far) < -_TOLERANCE) | (np.maximum(near, far) > sizes + _TOLERANCE)
    entities = np.concatenate([image[:, None], boxes, classes[:, None]], axis=1)

    def box(row: int) -> str:
        return f"box {boxes[row].tolist()} of {sizes[row, 0]} x {sizes[row, 1]} pixels"

    def of(kind: str, wrong: ArrayLike, detail: Callable[[int], str]) -> Problem | None:
        return _of_rows(arrays, "annotation", kind, wrong, detail)

    return [
        of("box_not_finite", ~finite, box),
        of("box_order", wrong_order, box),
        of("empty_box", finite & ~wrong_order & (far == near).any(axis=1), box),
        of("box_outside", finite & outside.any(axis=1), box),
        of("box_changed", arrays.changed, lambda row: f"now {box(row)}"),
        of(
            "unknown_class",
            _unknown(classes, num_classes),
            lambda row: f"class {classes[row]} of {num_classes}",
        ),
        of("repeated_entity", is_repeat(entities), lambda row: f"class {classes[row]}, {box(row)}"),
    ]


def _relation_problems(arrays: UncheckedArrays, num_predicates: int) -> list[Problem | None]:
    relations, image = arrays.relations, arrays.relation_image
    dangling = (arrays.ends < 0).any(axis=1)
    unknown = _unknown(relations[:, 2], num_predicates)
    joins_itself = ~dangling & (relations[:, 0] == relations[:, 1])
    repeated = is_repeat(np.concatenate([image[:, None], relations], axis=1))
    entities = np.diff(arrays.first_entity)[image]

    def of(kind: str, wrong: ArrayLike, more: Callable[[int], str]) -> Problem | None:
        def detail(row: int) -> str:
            return f"{relations[row].tolist()}{more(row)}"

        return _of_rows(arrays, "relation", kind, wrong, detail)

    return [
        of("dangling_id", dangling, lambda row: f" in an image of {entities[row]} annotations"),
        of("unknown_predicate", unknown, lambda row: f", predicate {relations[row, 2]} of {num_predicates}"),
        of("self_relation", joins_itself, lambda row: ""),
        of("repeated_relation", repeated, lambda row: " again"),
    ]


def _unknown(numbers: IntArray, count: int) -> BoolArray:
    unknown: BoolArray = (numbers < 0) | (numbers >= count)
    return unknown


def _of_rows(
    arrays: UncheckedArrays, part: Part, kind: str, wrong: ArrayLike, detail: Callable[[int], str]
) -> Problem | None:
    """The problem of some of all annotations or relationships."""
    first = arrays.first_entity if part == "annotation" else arrays.first_relation
    rows = np.flatnonzero(wrong)
    image = np.searchsorted(first, rows, side="right") - 1

    def record(k: int) -> Record:
        position = int(image[k])
        return Record(
            position, arrays.image_ids[position], part, int(rows[k] - first[position]), detail(rows[k])
        )

    return make_problem(kind, image, record)


def _counts_problem(summary: DatasetSummary, expected: Mapping[str, int]) -> Problem | None:
    details = [
        f"{key.replace('_', ' ')}: {getattr(summary, key, 'not known')}, not {number}"
        for key, number in expected.items()
        if getattr(summary, key, None) != number
    ]
    if not details:
        return None
    records = tuple(Record(None, None, None, None, detail) for detail in details)
    return Problem("counts", len(details), np.zeros(0, dtype=np.int64), records)
