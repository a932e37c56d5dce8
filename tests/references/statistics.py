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
        if background_count == "all":
            rows = sorted({row for s, o, _ in relations for row in (s, o)})
        pairs = [(s, o) for s in rows for o in rows if s != o]
        overlapping = [(s, o) for s, o in pairs if _overlap(entities[s]["bbox"], entities[o]["bbox"])]
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


def _overlap(a: list[float], b: list[float]) -> bool:
    return min(a[2], b[2]) - max(a[0], b[0]) > 0 and min(a[3], b[3]) - max(a[1], b[1]) > 0
