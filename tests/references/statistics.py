"""Predicate counts and label triplets written from their definitions, with loops over Python numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def slow_counts(
    images: list[dict[str, Any]],
    num_classes: int,
    num_predicates: int,
    overlap_only: bool,
    background_count: str,
) -> NDArray[np.int64]:
    """(C, C, P + 1) counts of images whose boxes are XYXY."""
    counts = np.zeros((num_classes, num_classes, num_predicates + 1), dtype=np.int64)
    for image in images:
        entities = list(image["annotations"])
        classes = [entity["category_id"] for entity in entities]
        relations = [tuple(map(int, row)) for row in image["relations"]]
        for s, o, p in relations:
            counts[classes[s], classes[o], p] += 1
        rows = list(range(len(entities)))
        boxes = [[float(number) for number in entity["bbox"]] for entity in entities]
        pixel = 0
        if background_count == "all":
            used = sorted({row for s, o, _ in relations for row in (s, o)})
            # the first entity of each box
            rows = [row for row in used if not any(boxes[row] == boxes[x] for x in used if x < row)]
            pixel = 1
        pairs = [(s, o) for s in rows for o in rows if s != o]
        overlapping = [(s, o) for s, o in pairs if _overlap(boxes[s], boxes[o], pixel)]
        if overlap_only and (overlapping or background_count == "unrelated"):
            pairs = overlapping
        related = {(s, o) for s, o, _ in relations}
        for s, o in pairs:
            if background_count == "all" or (s, o) not in related:
                counts[classes[s], classes[o], num_predicates] += 1
    return counts


def slow_labels(images: list[dict[str, Any]]) -> set[tuple[int, int, int]]:
    """(subject class, object class, predicate) of every relationship."""
    return {
        (image["annotations"][s]["category_id"], image["annotations"][o]["category_id"], int(p))
        for image in images
        for s, o, p in image["relations"]
    }


def _overlap(a: list[float], b: list[float], pixel: int) -> bool:
    """Whether boxes share area; with `pixel` 1, of boxes that hold their last pixel."""
    return all(min(a[2 + axis], b[2 + axis]) - max(a[axis], b[axis]) + pixel > 0 for axis in (0, 1))
