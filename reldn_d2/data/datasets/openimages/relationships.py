"""OpenImages' relationship files as arrays: their rows, and the entities that the rows describe.

Legend of shape letters:

    I  images
    R  relationships of all images
    A  attributes of all images
    E  entities of all images
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reldn_d2.utils.csv_files import codes_of, read_table, refuse_rows
from reldn_d2.utils.inner_paths import names_outside

from .vocabulary import ATTRIBUTE_RELATION, OpenImagesVocabulary

if TYPE_CHECKING:
    import pandas as pd

_TEXTS = ("ImageID", "LabelName1", "LabelName2", "RelationshipLabel")
# Boxes are XYXY; the file has them as XMin, XMax, YMin, YMax.
_SIDES = ("XMin", "YMin", "XMax", "YMax")
_BOX_COLUMNS = [f"{side}{number}" for number in (1, 2) for side in _SIDES]
# Rounding may move a box this far out of the image, in parts of the image's side.
_OUTSIDE = 1e-3

# Image ids are names of files.
ID_OUTSIDE = "id outside the folder of the pictures"
ID_OUTSIDE_PROBLEM = "the id is no name of a file: it leads out of the folder of the pictures"
ID_OUTSIDE_REMEDY = "Use the official file, or correct the line."
_VOCABULARY_REMEDY = (
    "The vocabulary comes from the relationship-triplets file in the folder, or from 2018 if the folder has "
    "no such file: put the triplets file of the same year there."
)


@dataclass(frozen=True)
class RelationshipRows:
    """Relationships and attributes, sorted by image, and within an image in the order of the file.

    Attributes:
        image_ids: ids of the I images, sorted.
        image: (R,) int64, the image of each relationship, in [0, I).
        classes: (R, 2) int64, classes of subject and object.
        boxes: (R, 2, 4) float64, boxes of subject and object: XYXY in parts of the image's sides, in [0, 1].
        predicate: (R,) int64, predicate of each relationship.
        attribute_image: (A,) int64, the image of each attribute, in [0, I).
        attribute_class: (A,) int64, class of the entity that has the attribute.
        attribute_box: (A, 4) float64, box of this entity, in the units of `boxes`.
        attribute: (A,) int64, number of the attribute.
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
        """The rows of some images. The images get new numbers, in the same order.

        Args:
            chosen: numbers of the images, sorted.
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

    def with_images(self, image_ids: Iterable[str]) -> "RelationshipRows":
        """The same rows, with more images, which have no rows."""
        ids = sorted({*self.image_ids, *image_ids})
        number_of = {image_id: number for number, image_id in enumerate(ids)}
        number = np.array([number_of[image_id] for image_id in self.image_ids], dtype=np.int64)
        return replace(
            self, image_ids=ids, image=number[self.image], attribute_image=number[self.attribute_image]
        )


def read_relationships(
    path: Path, vocabulary: OpenImagesVocabulary, *, attributes_as_classes: bool = False
) -> RelationshipRows:
    """Read and check a CSV of relationships, of any year.

    Args:
        path: the file.
        vocabulary: labels of the classes, predicates and attributes.
        attributes_as_classes: whether rows of attributes are relationships, with the numbers that
            `challenge_vocabulary` gives to attributes and to "is". Then no row is an attribute.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a field is missing or not a number, a label is not in the vocabulary, or a box leaves the
            image or has swapped corners; the message names file, line and image.
    """
    table = read_table(path, _TEXTS, _BOX_COLUMNS, {"RelationLabel": "RelationshipLabel"})
    ids = table["ImageID"].cat
    outside = np.zeros(len(ids.categories), dtype=bool)
    outside[names_outside(ids.categories.tolist())] = True
    wrong = refuse_rows(
        path, table, outside[ids.codes.to_numpy()], ID_OUTSIDE, ID_OUTSIDE_PROBLEM, ID_OUTSIDE_REMEDY
    )
    is_attribute = (table["RelationshipLabel"] == ATTRIBUTE_RELATION).to_numpy()
    boxes, wrong_boxes = _checked_boxes(path, table)
    wrong = wrong | wrong_boxes

    def codes(column: str, labels: Sequence[str], what: str, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        numbers = codes_of(table[column], {label: number for number, label in enumerate(labels)})
        problem = f"{what} {{{column}}} is not in the vocabulary"
        unknown = rows & (numbers < 0)
        wrong[refuse_rows(path, table, unknown, f"{what} of no vocabulary", problem, _VOCABULARY_REMEDY)] = (
            True
        )
        return numbers

    subject = codes("LabelName1", vocabulary.class_labels, "class", np.ones(len(table), dtype=bool))
    object = codes("LabelName2", vocabulary.class_labels, "class", ~is_attribute)
    predicate = codes("RelationshipLabel", vocabulary.predicate_labels, "predicate", ~is_attribute)
    attribute = codes("LabelName2", vocabulary.attribute_labels, "attribute", is_attribute)
    if attributes_as_classes:
        object = np.where(is_attribute, len(vocabulary.class_labels) + attribute, object)
        predicate = np.where(is_attribute, len(vocabulary.predicate_labels), predicate)
        is_attribute = np.zeros_like(is_attribute)
    # categories are sorted, so the codes follow the order of the ids
    image = table["ImageID"].cat.codes.to_numpy().astype(np.int64)
    order = np.argsort(image, kind="stable")
    order = order[~wrong[order]]
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


@dataclass(frozen=True)
class Entities:
    """The distinct (box, class) combinations of each image, sorted by image, then in order of appearance.

    Attributes:
        image: (E,) int64, the image of each entity.
        classes: (E,) int64, its class.
        boxes: (E, 4) float64, XYXY in parts of the image's sides.
        subject_object: (R, 2) int64, the subject and the object of each relationship, as rows of the arrays
            above.
        owners: (A,) int64, row of the entity that has the attribute; -1 if no relationship has its box and
            class.
    """

    image: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]
    subject_object: NDArray[np.int64]
    owners: NDArray[np.int64]


def merge_entities(rows: RelationshipRows) -> Entities:
    """Find the entities of all rows.

    A box has the same digits in every row, so equal boxes with the same class are one entity.
    """
    import pandas as pd

    image = np.repeat(rows.image, 2)
    classes = rows.classes.reshape(-1)
    boxes = rows.boxes.reshape(-1, 4)
    keys = pd.DataFrame(np.concatenate([boxes, rows.attribute_box]))
    keys["image"] = np.concatenate([image, rows.attribute_image])
    keys["class"] = np.concatenate([classes, rows.attribute_class])
    # equal rows get the same number; numbers follow the first appearance
    number = keys.groupby(list(keys), sort=False).ngroup().to_numpy().astype(np.int64)
    members, owners = np.split(number, [len(image)])
    _, first = np.unique(members, return_index=True)
    return Entities(
        image=image[first],
        classes=classes[first],
        boxes=boxes[first],
        subject_object=members.reshape(-1, 2),
        owners=np.where(owners < len(first), owners, -1),
    )


def _checked_boxes(path: Path, table: "pd.DataFrame") -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N, 2, 4) boxes of subject and object, XYXY in parts of the image's sides; (N,) refused rows."""
    boxes: NDArray[np.float64] = table[_BOX_COLUMNS].to_numpy(np.float64).reshape(-1, 2, 4)
    outside = np.any((boxes < -_OUTSIDE) | (boxes > 1 + _OUTSIDE), axis=2)
    swapped = np.any(boxes[..., :2] > boxes[..., 2:], axis=2)
    for which in (0, 1):
        given = ", ".join(f"{column} {{{column}}}" for column in _BOX_COLUMNS[4 * which : 4 * which + 4])
        refuse_rows(
            path, table, outside[:, which], "box outside the image", f"a box leaves the image ({given})",
            "Give coordinates as parts of the image's sides, in [0, 1].",
        )  # fmt: skip
        refuse_rows(
            path, table, swapped[:, which], "box with swapped corners",
            f"a box has swapped corners ({given})",
            "Give XMin <= XMax and YMin <= YMax; the official columns come as XMin, XMax, YMin, YMax.",
        )  # fmt: skip
    clipped: NDArray[np.float64] = boxes.clip(0, 1)
    return clipped, (outside | swapped).any(axis=1)
