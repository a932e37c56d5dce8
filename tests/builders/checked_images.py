"""Valid dataset dicts for tests of the checker. Any key can get another value."""

from typing import Any

import numpy as np
from detectron2.structures import BoxMode

WIDTH, HEIGHT = 40, 30
# Two boxes that overlap, and one apart.
BOXES = [[1.0, 2.0, 21.0, 22.0], [10.0, 10.0, 30.0, 28.0], [32.0, 1.0, 39.0, 9.0]]
CLASSES = [0, 1, 2]
RELATIONS = [[0, 1, 0], [0, 2, 1]]
NUM_CLASSES, NUM_PREDICATES = 3, 2


def annotation(box: Any, category: Any, mode: Any = BoxMode.XYXY_ABS) -> dict[str, Any]:
    return {"bbox": box, "bbox_mode": mode, "category_id": category}


def image(image_id: Any = 1, **changed: Any) -> dict[str, Any]:
    """A valid image of three entities and two relationships, with other values for the keys in `changed`."""
    return {
        "file_name": f"{image_id}.jpg",
        "image_id": image_id,
        "width": WIDTH,
        "height": HEIGHT,
        "annotations": [annotation(box, category) for box, category in zip(BOXES, CLASSES, strict=True)],
        "relations": np.array(RELATIONS, dtype=np.int64),
        **changed,
    }


def with_box(box: Any) -> list[dict[str, Any]]:
    """Three annotations. The second has the given box."""
    return [annotation(BOXES[0], 0), annotation(box, 1), annotation(BOXES[2], 2)]
