"""The entities behind the rows of OpenImages' relationships, which name boxes and not entities."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .relationships import RelationshipRows


@dataclass(frozen=True)
class Entities:
    """The distinct (box, class) combinations of each image, image after image and in order of appearance.

    Attributes:
        image: (E,) int64.
        classes: (E,) int64.
        boxes: (E, 4) float64, XYXY in parts of the image's sides.
        ends: (R, 2) int64, rows of subject and object.
        owners: (A,) int64, rows of what has the attribute, or -1 where no relationship has that box and class.
    """

    image: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]
    ends: NDArray[np.int64]
    owners: NDArray[np.int64]


def merge_entities(rows: RelationshipRows) -> Entities:
    """Equal means equal numbers: one object has the same digits in all its relationships."""
    image = np.repeat(rows.image, 2)
    classes = rows.classes.reshape(-1)
    boxes = rows.boxes.reshape(-1, 4)
    keys = pd.DataFrame(np.concatenate([boxes, rows.attribute_box]))
    keys["image"] = np.concatenate([image, rows.attribute_image])
    keys["class"] = np.concatenate([classes, rows.attribute_class])
    # Equal rows get the same number, by first appearance.
    number = keys.groupby(list(keys), sort=False).ngroup().to_numpy().astype(np.int64)
    ends, owners = np.split(number, [len(image)])
    _, first = np.unique(ends, return_index=True)
    return Entities(
        image=image[first],
        classes=classes[first],
        boxes=boxes[first],
        ends=ends.reshape(-1, 2),
        owners=np.where(owners < len(first), owners, -1),
    )
