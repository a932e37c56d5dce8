"""Registers two small data sets when it is imported, like a file for `reldn evaluate --import`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

TEST, TRAIN = "registered_scenes_test", "registered_scenes_train"
PREDICATES = ["on", "by", "near"]
A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (20, 20, 30, 30)


def _record(image_id: int, boxes: Sequence, classes: Sequence[int], relations: Sequence) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "height": 40,
        "width": 40,
        "annotations": [
            {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": category}
            for box, category in zip(boxes, classes, strict=True)
        ],
        "relations": np.array(relations, dtype=np.int64).reshape(-1, 3),
    }


RECORDS = [
    _record(1, [A, B], [0, 1], [(0, 1, 0), (0, 1, 1)]),
    # The cat is on one of two dogs: a confusable case.
    _record(2, [A, B, C], [0, 1, 1], [(0, 1, 0), (1, 0, 0)]),
    _record(3, [], [], []),
]


def register(name: str, records: list[dict[str, Any]], **metadata: Any) -> None:
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(thing_classes=["cat", "dog"], predicate_classes=PREDICATES, **metadata)


register(TEST, RECORDS)
register(TRAIN, [_record(7, [A, B], [0, 1], [(0, 1, 0)])])
