"""Checks what a loader returns before a run uses it, whoever wrote the loader."""

import logging
from collections.abc import Sequence
from typing import Any, Literal

from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.plain_text import Lines

from .checks import annotation_errors, shares_problem
from .given_detections import detection_errors
from .problems import KINDS, Problem, sort_problems
from .unchecked_arrays import unchecked_arrays
from .units import smaller_copy

logger = logging.getLogger(__name__)

#: What a run does about a data set with errors: stop, or say them and go on.
CheckMode = Literal["error", "warn"]

# Keys that a whole data set may lack: a test set without annotation, a data set for the detector alone.
_MAY_BE_ABSENT = ("annotations", "relations")
# Errors of the checker that do not stop a run -> what training does about them.
_MENDED = {
    "box_outside": "training clips these boxes to their images",
    "empty_box": "training drops these entities with their relationships",
}
_RECORDS = 3


def check_loaded(
    dataset_dicts: Any,
    dataset_name: str,
    num_classes: int | None,
    num_predicates: int | None,
    mode: CheckMode = "error",
) -> None:
    """Checks the dicts of a data set in one pass, without opening a picture.

    An error is what can't be trained on: a dict that can't be read, a repeated image_id, a box that is not
    finite, has its corners in the wrong order or sticks out of its image by more than a tenth of a side (and
    more than a pixel), boxes in other units, numbers of classes, predicates, subjects and objects out of
    range, and detections in the dicts that a detection file could not hold. A warning counts what training
    mends: boxes that stick out by less, and boxes without area. Others name images whose boxes alone seem to
    be shares of the picture, and say that all boxes may be pixels of a smaller copy of the pictures.

    Args:
        dataset_dicts: what the loader returned. No dict is changed.
        dataset_name: name of the data set, for messages.
        num_classes, num_predicates: numbers of entity classes and predicates; None if they are not known.
        mode: "error" raises errors, "warn" logs them as warnings.

    Raises:
        ValueError: the data set has no image, or `mode` is "error" and it has errors. The message names the
            data set, and for each kind of error the number, the first records and the remedy.
    """
    if mode not in ("error", "warn"):
        raise ValueError(f"DATASETS.CHECK is {mode!r}: write 'error' or 'warn'")
    if not isinstance(dataset_dicts, list):
        raise ValueError(
            f"the loader of data set {dataset_name} returns a {type(dataset_dicts).__name__}: it has to "
            "return a list of dicts, one for each image"
        )
    if not dataset_dicts:
        raise ValueError(f"data set {dataset_name} has no images: check its files and its loader")
    arrays = unchecked_arrays(dataset_dicts, [x for x in _MAY_BE_ABSENT if _is_absent(x, dataset_dicts)])
    problems = sort_problems(
        [
            *annotation_errors(arrays, num_classes, num_predicates),
            *detection_errors(dataset_dicts, arrays, num_classes),
        ]
    )
    for problem in problems:
        if problem.kind in _MENDED:
            logger.warning(
                "%s: %s; %s. There are %d boxes in all.",
                dataset_name, _in_words(problem), _MENDED[problem.kind], len(arrays.boxes),
            )  # fmt: skip
    mixed = shares_problem(arrays)
    if mixed is not None:
        logger.warning("%s: %s. %s", dataset_name, _in_words(mixed), KINDS[mixed.kind].remedy)
    for sentence in smaller_copy(arrays.boxes, arrays.sizes, arrays.entity_image):
        logger.warning("%s: %s", dataset_name, sentence)
    errors = [problem for problem in problems if problem.kind not in _MENDED]
    if not errors:
        return
    message = _message(dataset_name, errors)
    if mode == "error":
        raise ValueError(message)
    logger.warning(message)  # as the format itself, so that its lines stay lines


def _is_absent(key: str, dataset_dicts: Sequence[DatasetDict]) -> bool:
    return not any(isinstance(image, dict) and key in image for image in dataset_dicts)


def _message(dataset_name: str, errors: Sequence[Problem]) -> Lines:
    return Lines.of(
        f"data set {dataset_name} has errors:",
        *(f"* {_in_words(error)}. {KINDS[error.kind].remedy}" for error in errors),
        "Correct the annotation or its loader (`reldn check` says more). DATASETS.CHECK warn, in configs in "
        "Python datasets.check=warn, goes on with these errors.",
    )


def _in_words(problem: Problem) -> str:
    """The kind of a problem, how often it occurs, and its first records."""
    records = "; ".join(map(str, problem.records[:_RECORDS]))
    more = "; ..." if problem.count > _RECORDS else ""
    number = f"{problem.count} in {len(problem.images)} images: " if len(problem.images) else ""
    return f"{KINDS[problem.kind].meaning} {number}{records}{more}"
