"""The checks of a data set. They find problems that make training or evaluation fail or silently go wrong."""

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.progress import progress
from reldn_d2.utils.system_errors import is_explained

from ..arrays import is_repeat
from ..fit_boxes import FAR_OUT
from ..images import read_image, upright_size
from .counts import DatasetSummary, summarise
from .given_detections import detection_errors
from .problems import Part, Problem, Record, make_problem, problem_of_data_set, sort_problems
from .unchecked_arrays import BoolArray, IntArray, UncheckedArrays, unchecked_arrays
from .units import images_in_shares, shares, smaller_copy

PictureCheck = Literal["decode", "header"]
_Size = tuple[int, int]
_Value = TypeVar("_Value", bound=Hashable)

# Pixels that a box may stick out of its image, because x + width of decimal numbers is seldom exact.
_TOLERANCE = 1e-3
# Pixels that a box may stick out of an image of any size and is still only a little outside: numbers were
# rounded, or counted from 1.
_ROUNDING = 1.0
# Notes on images that only relationships make useful.
_OF_RELATIONS = ("one_box", "no_relation")


@dataclass(frozen=True, eq=False)
class DatasetCheck:
    """The result of a check.

    Attributes:
        arrays: the content of the data set.
        summary: its counts.
        problems: its problems in the order of `KINDS`: errors first, then notes.
    """

    arrays: UncheckedArrays
    summary: DatasetSummary
    problems: list[Problem]


def check_dataset(
    dataset_dicts: Sequence[DatasetDict],
    num_classes: int,
    num_predicates: int | None,
    expected_counts: Mapping[str, int] | None = None,
) -> DatasetCheck:
    """Check the annotations of a data set. No picture is opened: `check_pictures` does that.

    Invalid content of the dicts is reported and never raises an error.

    Args:
        dataset_dicts: the images; "annotations" may be lists or `Annotations`.
        num_classes: number of entity classes C.
        num_predicates: number of predicates P; None if the data set is for a detector alone, so that its
            dicts need no "relations".
        expected_counts: numbers that the data set must have: any of "images", "relationships" and
            "images_without_relationships".
    """
    is_of_detector = num_predicates is None
    arrays = unchecked_arrays(dataset_dicts, ["relations"] if is_of_detector else [])
    summary = summarise(arrays, num_classes, num_predicates or 0)
    notes = [note for note in _notes(arrays) if note is not None]
    found = [
        *annotation_errors(arrays, num_classes, num_predicates),
        *detection_errors(dataset_dicts, arrays, num_classes),
        *(note for note in notes if not (is_of_detector and note.kind in _OF_RELATIONS)),
        _counts_problem(summary, expected_counts or {}),
    ]
    return DatasetCheck(arrays, summary, sort_problems(found))


def annotation_errors(
    arrays: UncheckedArrays, num_classes: int | None, num_predicates: int | None
) -> list[Problem]:
    """The errors of annotations: what makes training or evaluation fail or silently go wrong.

    Args:
        arrays: the content of the data set.
        num_classes: number of entity classes C; None if it is not known, so that no class is too large.
        num_predicates: number of predicates P; None as for the classes.
    """
    found = [
        *_image_errors(arrays, num_classes),
        *_entity_errors(arrays, num_classes),
        *_relation_errors(arrays, num_predicates),
        problem_of_data_set("box_units", shares(arrays.boxes, arrays.sizes, arrays.entity_image)),
    ]
    return sort_problems(found)


def check_names(thing_classes: Sequence[str], predicate_classes: Sequence[str]) -> list[Problem]:
    """Check the names of classes. Returns a problem of the kind "similar_names", or nothing."""
    details = []
    for what, names in (("entity class", thing_classes), ("predicate", predicate_classes)):
        first: dict[str, str] = {}
        for name in names:
            key = " ".join(name.split()).casefold()
            if key in first:
                details.append(f"{what} {name!r} and {first[key]!r}")
            first.setdefault(key, name)
    problem = problem_of_data_set("similar_names", details)
    return [] if problem is None else [problem]


def check_pictures(arrays: UncheckedArrays, how: PictureCheck) -> list[Problem]:
    """Open the pictures of the images. Images with a malformed dict are skipped.

    Args:
        arrays: the content of the data set.
        how: "decode" reads whole pictures, as training does. "header" reads only the beginning of each file,
            which holds its size.

    Returns:
        Problems of the kinds "missing_image", "unreadable_image" and "image_size".
    """
    images = np.flatnonzero(arrays.well_formed).tolist()
    jobs = [(arrays.file_names[image], arrays.sizes[image].tolist()) for image in images]
    look = partial(_picture_problem, _decoded_size if how == "decode" else upright_size)
    # Threads are enough: most of the time goes into files and decoding, which release the GIL.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [*progress(pool.map(look, jobs), "pictures", len(jobs))]
    details: dict[str, dict[int, str]] = {}
    for image, problem in zip(images, found, strict=True):
        if problem is not None:
            kind, detail = problem
            details.setdefault(kind, {})[image] = detail
    position = np.arange(len(arrays.image_ids))
    return sort_problems(
        _problem_of_images(arrays, kind, np.isin(position, [*of_kind]), of_kind.__getitem__)
        for kind, of_kind in details.items()
    )


def _image_errors(arrays: UncheckedArrays, num_classes: int | None) -> list[Problem | None]:
    # Evaluation compares ids as text. An image without an id is malformed; here its position replaces the id.
    ids = [i if image_id is None else str(image_id) for i, image_id in enumerate(arrays.image_ids)]
    repeated, first = _again(ids)
    unknown = {image: c for image, c in arrays.verified.tolist() if _unknown(np.array(c), num_classes)}
    unverifiable = np.isin(np.arange(len(ids)), [*unknown])
    return [
        _problem_of_images(arrays, "malformed", ~arrays.well_formed, lambda i: arrays.malformed[i]),
        _problem_of_images(
            arrays,
            "repeated_image_id",
            repeated,
            lambda i: f"has the id of the image at position {first[ids[i]]}",
        ),
        _problem_of_images(
            arrays, "unknown_verified_class", unverifiable, lambda i: f"class {unknown[i]} of {num_classes}"
        ),
    ]


def _entity_errors(arrays: UncheckedArrays, num_classes: int | None) -> list[Problem | None]:
    boxes, classes = arrays.boxes, arrays.classes
    sizes = arrays.sizes[arrays.entity_image]
    finite = np.isfinite(boxes).all(axis=1)
    near, far = boxes[:, :2], boxes[:, 2:]
    wrong_order = finite & (far < near).any(axis=1)
    with np.errstate(invalid="ignore"):
        excess = np.maximum(-np.minimum(near, far), np.maximum(near, far) - sizes)
    outside = finite & (excess > _TOLERANCE).any(axis=1)
    far_outside = finite & (excess > np.maximum(FAR_OUT * sizes, _ROUNDING)).any(axis=1)

    def problem(kind: str, wrong: ArrayLike, detail: Callable[[int], str]) -> Problem | None:
        return _problem_of_rows(arrays, "annotation", kind, wrong, detail)

    box = partial(_box_text, arrays)
    return [
        problem("box_not_finite", ~finite, box),
        problem("box_order", wrong_order, box),
        problem("empty_box", finite & ~wrong_order & (far == near).any(axis=1), box),
        problem("box_far_outside", far_outside, box),
        problem("box_outside", outside & ~far_outside, box),
        problem(
            "unknown_class",
            _unknown(classes, num_classes),
            lambda row: f"class {classes[row]}{_of(num_classes)}",
        ),
    ]


def _relation_errors(arrays: UncheckedArrays, num_predicates: int | None) -> list[Problem | None]:
    relations = arrays.relations
    dangling = (arrays.subject_object < 0).any(axis=1)
    unknown = _unknown(relations[:, 2], num_predicates)
    image = arrays.relation_image
    entities = np.diff(arrays.first_entity)[image]

    def problem(kind: str, wrong: ArrayLike, more: Callable[[int], str]) -> Problem | None:
        return _problem_of_relations(arrays, kind, wrong, more)

    return [
        problem("dangling_id", dangling, lambda row: f" in an image of {entities[row]} annotations"),
        problem(
            "unknown_predicate",
            unknown,
            lambda row: f", predicate {relations[row, 2]}{_of(num_predicates)}",
        ),
    ]


def _notes(arrays: UncheckedArrays) -> list[Problem | None]:
    """What is legal but worth knowing."""
    crowd, of_crowd = arrays.crowd, arrays.of_crowd
    images = len(arrays.image_ids)
    entities = np.bincount(arrays.entity_image[~crowd], minlength=images)
    relations = np.bincount(arrays.relation_image[~of_crowd], minlength=images)
    files = arrays.file_names  # "" for a malformed dict
    same_file, first_use = _again(files)
    again = same_file & np.array([bool(file) for file in files], dtype=np.bool_)
    few, without = arrays.well_formed & (entities < 2), arrays.well_formed & (relations == 0)
    rows, box = arrays.relations, partial(_box_text, arrays)
    joins_itself = (arrays.subject_object >= 0).all(axis=1) & (rows[:, 0] == rows[:, 1])
    repeated = is_repeat(np.concatenate([arrays.relation_image[:, None], rows], axis=1))
    classes = arrays.classes
    same = is_repeat(np.concatenate([arrays.entity_image[:, None], arrays.boxes, classes[:, None]], axis=1))
    return [
        _problem_of_images(
            arrays,
            "repeated_file",
            again,
            lambda i: f"{files[i]}, also of the image at position {first_use[files[i]]}",
        ),
        shares_problem(arrays),
        problem_of_data_set("box_scale", smaller_copy(arrays.boxes, arrays.sizes, arrays.entity_image)),
        _problem_of_rows(
            arrays, "annotation", "crowd", crowd, lambda row: f"class {classes[row]}, {box(row)}"
        ),
        _problem_of_relations(arrays, "crowd_relation", of_crowd, lambda _row: ""),
        _problem_of_images(arrays, "one_box", few, lambda i: f"boxes: {entities[i]}"),
        _problem_of_images(arrays, "no_relation", without, lambda i: f"boxes: {entities[i]}"),
        _problem_of_rows(arrays, "annotation", "box_changed", arrays.changed, lambda row: f"now {box(row)}"),
        _problem_of_rows(
            arrays, "annotation", "repeated_entity", same, lambda row: f"class {classes[row]}, {box(row)}"
        ),
        _problem_of_relations(arrays, "self_relation", joins_itself, lambda _row: ""),
        _problem_of_relations(arrays, "repeated_relation", repeated, lambda _row: " again"),
    ]


def shares_problem(arrays: UncheckedArrays) -> Problem | None:
    """The problem "box_shares": images whose boxes alone seem to be shares, see `images_in_shares`."""
    found = images_in_shares(arrays.boxes, arrays.sizes, arrays.entity_image)

    def text(image: int) -> str:
        first = arrays.first_entity[image]
        return (
            f"all {arrays.first_entity[image + 1] - first} boxes, the first being {_box_text(arrays, first)}"
        )

    return _problem_of_images(arrays, "box_shares", found, text)


def _again(values: Sequence[_Value]) -> tuple[BoolArray, dict[_Value, int]]:
    """(I,) whether a value occurred before, and the first position of each value."""
    first = {value: i for i, value in reversed([*enumerate(values)])}
    return np.array([first[value] != i for i, value in enumerate(values)], dtype=np.bool_), first


def _box_text(arrays: UncheckedArrays, row: int) -> str:
    """A box and the size of its image."""
    width, height = arrays.sizes[arrays.entity_image[row]]
    return f"box {arrays.boxes[row].tolist()} of {width} x {height} pixels"


def _of(count: int | None) -> str:
    return "" if count is None else f" of {count}"


def _unknown(numbers: IntArray, count: int | None) -> BoolArray:
    unknown: BoolArray = numbers < 0
    return unknown if count is None else unknown | (numbers >= count)


def _problem_of_images(
    arrays: UncheckedArrays, kind: str, wrong: ArrayLike, detail: Callable[[int], str]
) -> Problem | None:
    """Make the problem of some images.

    Args:
        arrays: the content of the data set.
        kind: a key of `KINDS`.
        wrong: (I,) whether an image has the problem.
        detail: describes the problem of the image at a position.
    """
    images = np.flatnonzero(wrong)

    def record(k: int) -> Record:
        position = int(images[k])
        return Record(position, arrays.image_ids[position], None, None, detail(position))

    return make_problem(kind, images, record)


def _problem_of_rows(
    arrays: UncheckedArrays, part: Part, kind: str, wrong: ArrayLike, detail: Callable[[int], str]
) -> Problem | None:
    """Make the problem of some annotations or relationships.

    Args:
        arrays: the content of the data set.
        part: "annotation" or "relation".
        kind: a key of `KINDS`.
        wrong: (N,) or (R,) whether a row has the problem.
        detail: describes the problem of a row.
    """
    first = arrays.first_entity if part == "annotation" else arrays.first_relation
    rows = np.flatnonzero(wrong)
    image = np.searchsorted(first, rows, side="right") - 1

    def record(k: int) -> Record:
        position = int(image[k])
        return Record(
            position, arrays.image_ids[position], part, int(rows[k] - first[position]), detail(rows[k])
        )

    return make_problem(kind, image, record)


def _problem_of_relations(
    arrays: UncheckedArrays, kind: str, wrong: ArrayLike, more: Callable[[int], str]
) -> Problem | None:
    """Make the problem of some relationships; `more` follows the numbers of a row."""
    rows = arrays.relations
    return _problem_of_rows(arrays, "relation", kind, wrong, lambda row: f"{rows[row].tolist()}{more(row)}")


def _counts_problem(summary: DatasetSummary, expected: Mapping[str, int]) -> Problem | None:
    details = [
        f"{key.replace('_', ' ')}: {getattr(summary, key, 'not known')}, not {number}"
        for key, number in expected.items()
        if getattr(summary, key, None) != number
    ]
    return problem_of_data_set("counts", details)


def _picture_problem(size_of: Callable[[str], _Size], job: tuple[str, list[int]]) -> tuple[str, str] | None:
    """Kind and description of the problem of a picture; None if it has none."""
    file_name, expected = job
    try:
        size = size_of(file_name)
    except FileNotFoundError:
        return "missing_image", file_name
    # a damaged file may make a decoder raise any exception
    except Exception as error:
        # The cause is the decoder's own error. The outer message would repeat the remedy of `KINDS`.
        reason = str(error if is_explained(error) else error.__cause__ or error)
        return "unreadable_image", reason if file_name in reason else f"{file_name}: {reason}"
    if [*size] == expected:
        return None
    return "image_size", f"{file_name} has {size[0]} x {size[1]} pixels, not {expected[0]} x {expected[1]}"


def _decoded_size(file_name: str) -> _Size:
    height, width = read_image(file_name, "BGR").shape[:2]
    return width, height
