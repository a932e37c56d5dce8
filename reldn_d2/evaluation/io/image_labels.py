"""Image labels of OpenImages: for each image, the classes that people verified to be in it or not to be in
it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..graphs import GroundTruthGraph, IntArray
from .csv_rows import csv_rows
from .submission import label_index

_COLUMNS = ("ImageID", "LabelName", "Confidence")
_VERIFIED = ("0", "1", "0.0", "1.0")


def read_image_labels(path: str | os.PathLike[str], class_labels: Sequence[str]) -> dict[str, IntArray]:
    """Read the official CSV file of image labels. Its columns ImageID, LabelName and Confidence may be in any
    order.

    Confidence is 1 if the class was verified to be in the image and 0 if it was verified not to be in it.
    Labels that are not in `class_labels` can't be predicted and are skipped.

    Args:
        path: file in UTF-8.
        class_labels: C labels, such as "/m/04bcr3".

    Returns:
        image id -> (V,) int, the verified classes, in ascending order and without repeats. Images without
        verified classes are not in it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column or field is missing or a confidence is neither 0 nor 1 (the message names the
            file and the line), if the file has none of the labels (the message names the file), or if
            `class_labels` has a repeat.
    """
    index = label_index(class_labels)
    verified: dict[str, set[int]] = {}
    for line, (image_id, label, confidence) in csv_rows(path, _COLUMNS, {}):
        if confidence not in _VERIFIED:
            raise ValueError(
                f"{path}: line {line}, image {image_id}: Confidence of {label} is '{confidence}', not 0 or "
                "1; give the file of labels that people verified, not that of machine-generated labels"
            )
        if label in index:
            verified.setdefault(image_id, set()).add(index[label])
    if not verified:
        raise ValueError(
            f"{path}: no line has a label of the data set ({', '.join(class_labels[:3])}, ...); give the "
            "file with the official labels of its classes"
        )
    return {image_id: np.array(sorted(classes), dtype=np.int64) for image_id, classes in verified.items()}


def with_verified_classes(
    truths: Mapping[str, GroundTruthGraph], labels: Mapping[str, IntArray]
) -> dict[str, GroundTruthGraph]:
    """Add the verified classes of image labels to annotations.

    Args:
        truths: image id -> annotation.
        labels: image id -> verified classes. An image that is not in it keeps its verified classes. Images
            that are not in `truths` are ignored.

    Raises:
        ValueError: if no image is in both.
    """
    if truths.keys().isdisjoint(labels):
        raise ValueError(
            f"no image of the image labels ({next(iter(labels), 'none')}, ...) is in the data set "
            f"({next(iter(truths), 'none')}, ...); give the labels of its split"
        )
    return {
        image_id: replace(truth, verified_classes=labels.get(image_id, truth.verified_classes))
        for image_id, truth in truths.items()
    }
