"""The rows of OpenImages' relationship files as arrays.

Legend of shape letters:

    I  images
    R  relationships of all images
    A  attributes of all images
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reldn_d2.utils.csv_files import codes_of, read_table, refuse_rows

from .classes import ATTRIBUTE_RELATION
from .vocabulary import OpenImagesVocabulary

_TEXTS = ("ImageID", "LabelName1", "LabelName2", "RelationshipLabel")
# Boxes are XYXY; the file has them as XMin, XMax, YMin, YMax.
_SIDES = ("XMin", "YMin", "XMax", "YMax")
_BOX_COLUMNS = [f"{side}{end}" for end in (1, 2) for side in _SIDES]
# Rounding may carry a box this far out of the image, in parts of its side.
_OUTSIDE = 1e-3

_VOCABULARY_REMEDY = (
    "The vocabulary is that of the relationship-triplets file in the folder, or without one that of 2018: put the triplets "
    "file of the same year there."
)


@dataclass(frozen=True)
class RelationshipRows:
    """Relationships and attributes, each image after image and within an image in the order of the file.

    Attributes:
        image_ids: of I images, rising.
        image: (R,) int64, in [0, I).
        classes: (R, 2) int64, of subject and object.
        boxes: (R, 2, 4) float64, of subject and object: XYXY in parts of the image's sides, in [0, 1].
        predicate: (R,) int64.
        attribute_image: (A,) int64.
        attribute_class: (A,) int64, of the entity that has the attribute.
        attribute_box: (A, 4) float64, of the entity; as `boxes`.
        attribute: (A,) int64.
    """

    image_ids: Sequence[str]
    image: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]
    predicate: NDArray[np.int64]
    attribute_image: NDArray[np.int64]
    attribute_class: NDArray[np.int64]
    attribute_box: NDArray[np.float64]
    attribute: NDArray[np.int64]

    def of_images(self, chosen: NDArray[np.int64]) -> "RelationshipRows":
        """The rows of some images, which are numbered anew.

        Args:
            chosen: their numbers, rising.
        """
        number = np.full(len(self.image_ids), -1)
        number[chosen] = np.arange(len(chosen))
        rows = number[self.image] >= 0
        attributes = number[self.attribute_image] >= 0
        return RelationshipRows(
            [self.image_ids[i] for i in chosen.tolist()],
            number[self.image[rows]],
            self.classes[rows],
            self.boxes[rows],
            self.predicate[rows],
            number[self.attribute_image[attributes]],
            self.attribute_class[attributes],
            self.attribute_box[attributes],
            self.attribute[attributes],
        )


def read_relationships(path: Path, vocabulary: OpenImagesVocabulary) -> RelationshipRows:
    """Read and check a CSV of relationships, of any year.

    Raises:
        FileNotFoundError: no such file.
        ValueError: naming file, line and image, for a field that is missing or no number, a label that is not in the
            vocabulary, or a box that leaves the image or has swapped corners.
    """
    table = read_table(path, _TEXTS, _BOX_COLUMNS, {"RelationLabel": "RelationshipLabel"})
    is_attribute = (table["RelationshipLabel"] == ATTRIBUTE_RELATION).to_numpy()
    boxes = _checked_boxes(path, table)

    def codes(column: str, labels: Sequence[str], what: str, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        numbers = codes_of(table[column], {label: number for number, label in enumerate(labels)})
        problem = f"{what} {{{column}}} is not in the vocabulary"
        refuse_rows(path, table, rows & (numbers < 0), problem, _VOCABULARY_REMEDY)
        return numbers

    subject = codes("LabelName1", vocabulary.class_labels, "class", np.ones(len(table), dtype=bool))
    object = codes("LabelName2", vocabulary.class_labels, "class", ~is_attribute)
    predicate = codes("RelationshipLabel", vocabulary.predicate_labels, "predicate", ~is_attribute)
    attribute = codes("LabelName2", vocabulary.attribute_labels, "attribute", is_attribute)
    # Categories are sorted, and so are their codes.
    image = table["ImageID"].cat.codes.to_numpy().astype(np.int64)
    order = np.argsort(image, kind="stable")
    rows, attributes = order[~is_attribute[order]], order[is_attribute[order]]
    return RelationshipRows(
        image_ids=table["ImageID"].cat.categories.tolist(),
        image=image[rows],
        classes=np.stack([subject, object], axis=1)[rows],
        boxes=boxes[rows],
        predicate=predicate[rows],
        attribute_image=image[attributes],
        attribute_class=subject[attributes],
        attribute_box=boxes[attributes, 0],
        attribute=attribute[attributes],
    )


def read_verified_classes(
    path: Path, vocabulary: OpenImagesVocabulary, image_ids: Sequence[str]
) -> list[NDArray[np.int64]]:
    """Of which classes people verified whether they are in an image, present or not.

    Args:
        path: CSV of image labels, with the columns ImageID, LabelName and Confidence. Labels that are no class of the
            vocabulary are passed over.
        image_ids: I images.

    Returns:
        for each image (V,) int64 classes, each once, rising.

    Raises:
        FileNotFoundError: no such file.
        ValueError: naming file and line, for a missing field or a confidence that is neither 0 nor 1.
    """
    table = read_table(path, ("ImageID", "LabelName"), ("Confidence",))
    refuse_rows(
        path, table, ~table["Confidence"].isin([0, 1]).to_numpy(), "Confidence is {Confidence}, not 0 or 1",
        "Use the labels that people verified, not those of a machine.",
    )  # fmt: skip
    classes = codes_of(
        table["LabelName"], {label: number for number, label in enumerate(vocabulary.class_labels)}
    )
    images = codes_of(table["ImageID"], {image_id: number for number, image_id in enumerate(image_ids)})
    known = (classes >= 0) & (images >= 0)
    pairs = np.unique(images[known] * len(vocabulary.class_labels) + classes[known])
    image, verified = np.divmod(pairs, len(vocabulary.class_labels))
    return np.split(verified, np.searchsorted(image, np.arange(1, len(image_ids) + 1)))[:-1]


def _checked_boxes(path: Path, table: pd.DataFrame) -> NDArray[np.float64]:
    """(N, 2, 4) boxes of both ends, XYXY in parts of the image's sides."""
    boxes: NDArray[np.float64] = table[_BOX_COLUMNS].to_numpy(np.float64).reshape(-1, 2, 4)
    outside = np.any((boxes < -_OUTSIDE) | (boxes > 1 + _OUTSIDE), axis=2)
    swapped = np.any(boxes[..., :2] > boxes[..., 2:], axis=2)
    for end in (0, 1):
        given = ", ".join(f"{column} {{{column}}}" for column in _BOX_COLUMNS[4 * end : 4 * end + 4])
        refuse_rows(
            path, table, outside[:, end], f"a box leaves the image ({given})",
            "Give coordinates as parts of the image's sides, in [0, 1].",
        )  # fmt: skip
        refuse_rows(
            path, table, swapped[:, end], f"a box has swapped corners ({given})",
            "Give XMin <= XMax and YMin <= YMax; the official columns come as XMin, XMax, YMin, YMax.",
        )  # fmt: skip
    clipped: NDArray[np.float64] = boxes.clip(0, 1)
    return clipped
