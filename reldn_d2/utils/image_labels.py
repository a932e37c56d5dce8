"""Image labels of OpenImages: classes that people verified to be in an image, or not to be in it."""

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .csv_files import csv_rows
from .refusals import refuse_one

_COLUMNS = ("ImageID", "LabelName", "Confidence")
_VERIFIED = ("0", "1", "0.0", "1.0")


def read_image_labels(
    path: str | os.PathLike[str], class_labels: Sequence[str]
) -> dict[str, NDArray[np.int64]]:
    """Reads the official CSV of image labels, with the columns ImageID, LabelName and Confidence.

    Confidence is 1 if people verified that the class is in the image, and 0 if they verified that it is
    absent. Labels that are not in `class_labels` can't be predicted and are skipped.

    Args:
        path: file in UTF-8. It may have more columns, in any order.
        class_labels: C labels, for example "/m/04bcr3".

    Returns:
        image id -> (V,) int64, its verified classes, sorted, without repeats. Only images that have any.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column or a field is missing, or a confidence is neither 0 nor 1 (the message names file
            and line); the file has none of the labels; a label occurs twice in `class_labels`.
    """
    index: dict[str, int] = {}
    for number, label in enumerate(class_labels):
        if index.setdefault(label, number) != number:
            raise ValueError(f"the label '{label}' is repeated; give every class its own label")
    verified: dict[str, set[int]] = {}
    for line, (image_id, label, confidence) in csv_rows(path, _COLUMNS, {}):
        if confidence not in _VERIFIED:
            problem = f"Confidence of {label} is '{confidence}', not 0 or 1"
            remedy = "Give the labels that people verified, not those of a machine."
            refuse_one(
                path, "Confidence that is not 0 or 1", f"line {line}, image {image_id}", problem, remedy
            )
        elif not (image_id and label):
            problem, remedy = (
                "ImageID or LabelName is missing",
                "Download the file again, or correct the line.",
            )
            refuse_one(path, "line without a name", f"line {line}", problem, remedy)
        elif label in index:
            verified.setdefault(image_id, set()).add(index[label])
    if not verified:
        raise ValueError(
            f"{path}: no line has a label of the data set ({', '.join(class_labels[:3])}, ...); give the "
            "official labels of its classes"
        )
    return {image_id: np.array(sorted(classes), dtype=np.int64) for image_id, classes in verified.items()}
