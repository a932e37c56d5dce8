"""Checks the detections that a loader puts into its dicts by the rules of detection files.

Legend of shape letters:

    I  images
    K  detections of all images, image after image
"""

from collections.abc import Mapping, Sequence
from reprlib import repr as short_repr
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reldn_d2.structures.annotations import are_numbers
from reldn_d2.structures.dataset_dicts import DatasetDict

from ..detections import boxes_outside, fault_of_shapes, faults_of_values
from .problems import Problem, Record, make_problem, problem_of_data_set
from .unchecked_arrays import UncheckedArrays
from .units import shares

_KEY = "detections"
_NUMBERS = {"boxes": "iuf", "scores": "iuf", "classes": "iu"}


def detection_errors(
    dataset_dicts: Sequence[DatasetDict], arrays: UncheckedArrays, num_classes: int | None
) -> list[Problem]:
    """The errors of the detections that dicts hold. There are none if no dict holds any.

    Args:
        dataset_dicts: I images.
        arrays: the other content of the dicts.
        num_classes: number of entity classes C; None if it is not known.
    """
    has = np.array([isinstance(image, dict) and _KEY in image for image in dataset_dicts], dtype=np.bool_)
    if not has.any():
        return []
    faults = {int(i): "it has no detections; others have" for i in np.flatnonzero(~has)}
    found = []
    for i in np.flatnonzero(has).tolist():
        of_image = _read(dataset_dicts[i][_KEY], num_classes)
        if isinstance(of_image, str):
            faults[i] = of_image
        found.append(_NOTHING if isinstance(of_image, str) else of_image)
    boxes, scores, classes = (np.concatenate(values) for values in zip(*found, strict=True))
    counts = np.zeros(len(has), dtype=np.int64)
    counts[has] = [len(of_image[1]) for of_image in found]
    image = np.repeat(np.arange(len(has)), counts)
    sizes = np.where(arrays.sizes > 0, arrays.sizes, np.inf).astype(np.float32)
    wrong = [*faults_of_values(boxes, scores, classes, num_classes), boxes_outside(boxes, sizes, counts)]
    rows = np.flatnonzero(np.logical_or.reduce([bad for bad, _ in wrong]))
    first_row = np.cumsum(counts) - counts

    def of_row(k: int) -> Record:
        row, i = rows[k], int(image[rows[k]])
        width, height = arrays.sizes[i]
        problems = " and ".join(text for bad, text in wrong if bad[row])
        detail = (
            f"detection {row - first_row[i]}: {problems} (box {boxes[row].tolist()}, score {scores[row]:g}, "
            f"class {classes[row]}, picture of {width} x {height})"
        )
        return Record(i, arrays.image_ids[i], None, None, detail)

    def of_image_alone(k: int) -> Record:
        i = sorted(faults)[k]
        return Record(i, arrays.image_ids[i], None, None, faults[i])

    problems = [
        make_problem("malformed_detections", np.array(sorted(faults), dtype=np.int64), of_image_alone),
        make_problem("detection", image[rows], of_row),
        problem_of_data_set("detection_units", shares(boxes, arrays.sizes, image)),
    ]
    return [problem for problem in problems if problem is not None]


_Detections = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
_NOTHING: _Detections = (np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64))


def _read(given: Any, num_classes: int | None) -> _Detections | str:
    """Boxes, scores and classes of an image; or what is wrong with their shapes and types."""
    if not isinstance(given, Mapping) or not _NUMBERS.keys() <= given.keys():
        return f"detections is {short_repr(given)}, not a dict of boxes, scores and classes"
    try:
        boxes, scores, classes = (np.asarray(given[key]) for key in _NUMBERS)
    except (RuntimeError, TypeError, ValueError) as error:  # rows of several lengths, tensors on a GPU
        return f"detections can't be read as arrays: {error}"
    for key, kinds in _NUMBERS.items():
        if not are_numbers(given[key], kinds):
            return f"{key} of detections is {short_repr(given[key])}: give numbers, of classes integers"
    fault = fault_of_shapes(boxes, scores, classes, num_classes)
    if fault is not None:
        return f"detections: {fault}"
    return boxes.reshape(-1, 4).astype(np.float64), scores.astype(np.float64), classes.astype(np.int64)
