"""Image labels of OpenImages: of which classes somebody verified whether an image shows them."""

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
    """Read the official CSV of image labels: columns ImageID, LabelName, Confidence, in any order, and others.

    Confidence is 1 where the class was verified to be there and 0 where it was verified to be absent. Labels that are
    not in `class_labels` can't be predicted and are passed over.

    Args:
        path: file in UTF-8.
        class_labels: C labels, such as "/m/04bcr3".

    Returns:
        image id -> (V,) int, the verified classes, each once, rising. Images without any are not in it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file and line, for a missing column or field or another confidence; naming the file, if
            it has none of the labels; if a label is there twice in `class_labels`.
    """
    index = label_index(class_labels)
    verified: dict[str, set[int]] = {}
    for line, (image_id, label, confidence) in csv_rows(path, _COLUMNS, {}):
        if confidence not in _VERIFIED:
            raise ValueError(
                f"{path}: line {line}, image {image_id}: Confidence of {label} is '{confidence}', not 0 or 1; give the "
                "labels that people verified, not those of a machine"
            )
        if label in index:
            verified.setdefault(image_id, set()).add(index[label])
    if not verified:
        raise ValueError(
            f"{path}: no line has a label of the data set ({', '.join(class_labels[:3])}, ...); give the official labels of "
            "its classes"
        )
    return {image_id: np.array(sorted(classes), dtype=np.int64) for image_id, classes in verified.items()}


def with_verified_classes(
    truths: Mapping[str, GroundTruthGraph], labels: Mapping[str, IntArray]
) -> dict[str, GroundTruthGraph]:
    """Annotations with the verified classes of image labels.

    Args:
        truths: image id -> annotation.
        labels: image id -> verified classes. Other images may be there; one that isn't there keeps what it has.

    Raises:
        ValueError: if no image is in both.
    """
    if truths.keys().isdisjoint(labels):
        raise ValueError(
            f"the image labels are of other images ({next(iter(labels), 'none')}, ...) than the data set "
            f"({next(iter(truths), 'none')}, ...); give the labels of its split"
        )
    return {
        image_id: replace(truth, verified_classes=labels.get(image_id, truth.verified_classes))
        for image_id, truth in truths.items()
    }
