"""Reads the arrays of a dataset dict. Only this module knows which forms of it are accepted.

A dataset dict is Detectron2's standard dict of one image plus `"relations"`, the (R, 3) integer rows
(subject, object, predicate) whose first two numbers are positions in `"annotations"`.

Legend of shape letters:

    E  entities (annotations) of the image
    R  annotated relationships of the image, repeats and self relations included
"""

from typing import Any, TypeGuard

import numpy as np
from detectron2.structures import BoxMode
from numpy.typing import NDArray

from .annotations import Annotations, are_numbers, listed_boxes, listed_classes, listed_crowd

DatasetDict = dict[str, Any]


def describe(dataset_dict: DatasetDict) -> str:
    """Name of a dataset dict's image for error messages."""
    return f"image {dataset_dict.get('image_id')!r} ({dataset_dict.get('file_name', 'no file name')})"


def _are_arrays(annotations: Any) -> TypeGuard[Annotations]:
    """Whether annotations are arrays, not dicts."""
    return isinstance(annotations, Annotations) and annotations.handed_out is None


def _annotations(dataset_dict: DatasetDict) -> Any:
    """The annotations of an image.

    Raises:
        ValueError: the dict has none.
    """
    if "annotations" not in dataset_dict:
        raise ValueError(
            f"{describe(dataset_dict)} has no 'annotations'. Give every dataset dict a list of annotations; "
            "an empty list says that the image has none."
        )
    return dataset_dict["annotations"]


def entity_boxes(dataset_dict: DatasetDict) -> NDArray[np.float64]:
    """(E, 4) boxes of the annotations: XYXY in absolute pixels of the original image.

    Raises:
        ValueError: a box is not four numbers, or its mode is neither XYXY_ABS nor XYWH_ABS.
    """
    annotations = _annotations(dataset_dict)
    if _are_arrays(annotations):
        return annotations.boxes
    return listed_boxes(annotations, describe(dataset_dict))


def entity_classes(dataset_dict: DatasetDict) -> NDArray[np.int64]:
    """(E,) entity classes of the annotations, in [0, C).

    Raises:
        ValueError: a class is not an integer.
    """
    annotations = _annotations(dataset_dict)
    if _are_arrays(annotations):
        return annotations.classes
    return listed_classes(annotations, describe(dataset_dict))


def crowd_flags(dataset_dict: DatasetDict) -> NDArray[np.bool_]:
    """(E,) bool, whether each annotation is a crowd.

    Raises:
        ValueError: an "iscrowd" is neither 0 nor 1.
    """
    annotations = _annotations(dataset_dict)
    if _are_arrays(annotations):
        return np.zeros(len(annotations), dtype=np.bool_) if annotations.crowd is None else annotations.crowd
    return listed_crowd(annotations, describe(dataset_dict))


def written_annotations(dataset_dict: DatasetDict) -> NDArray[np.float64]:
    """(E, 7) numbers of the annotations as they are written: bbox (4), bbox_mode, category_id, iscrowd."""
    annotations = _annotations(dataset_dict)
    if _are_arrays(annotations):
        mode = np.full(len(annotations), BoxMode.XYXY_ABS)
        return np.column_stack([annotations.boxes, mode, annotations.classes, crowd_flags(dataset_dict)])
    rows = [(*a["bbox"], a["bbox_mode"], a["category_id"], a.get("iscrowd", 0)) for a in annotations]
    return np.array(rows, dtype=np.float64).reshape(-1, 7)


def relation_rows(dataset_dict: DatasetDict, key: str = "relations") -> NDArray[np.int64]:
    """(R, 3) rows (subject, object, predicate); R = 0 gives shape (0, 3).

    Args:
        key: key of the rows in the dict.

    Raises:
        ValueError: the dict does not have the key, the rows are not three integers each, or a row names an
            annotation that the image does not have.
    """
    if key not in dataset_dict:
        raise ValueError(
            f"{describe(dataset_dict)} has no {key!r}. Give every dataset dict a list of "
            "(subject, object, predicate) rows; an empty list says that the image has none."
        )
    given = np.asarray(dataset_dict[key])
    if given.size == 0:
        return np.zeros((0, 3), dtype=np.int64)
    if given.ndim != 2 or given.shape[1] != 3 or not are_numbers(dataset_dict[key], "iu"):
        # Beside integers, truth values are integers for NumPy.
        kind = "bool" if given.dtype.kind in "iu" and given.shape[1:] == (3,) else given.dtype
        raise ValueError(
            f"{key!r} of {describe(dataset_dict)} must be rows of three integers (subject, object, "
            f"predicate), not an array of shape {given.shape} and type {kind}."
        )
    rows = given.astype(np.int64)
    count = len(dataset_dict["annotations"])
    outside = ((rows[:, :2] < 0) | (rows[:, :2] >= count)).any(axis=1) | (rows[:, 2] < 0)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"row {row} of {key!r} of {describe(dataset_dict)} is {rows[row].tolist()}, but the image has "
            f"{count} annotations. Subject and object are positions in 'annotations', the predicate is at "
            "least 0."
        )
    return rows
