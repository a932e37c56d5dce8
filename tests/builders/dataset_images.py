"""Images as loaders return them, for tests of functions that read whole data sets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.structures import BoxMode
from hypothesis import strategies as st

from reldn_d2.structures.annotations import Annotations

CLASSES, PREDICATES = 3, 2
Relations = Sequence[tuple[int, int, int]]


def image(
    boxes: Sequence[Any], classes: Sequence[int], relations: Relations, image_id: int = 1
) -> dict[str, Any]:
    """A dict with Detectron2's list of annotations, and a list of relationships."""
    annotations = [
        {"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": c}
        for box, c in zip(boxes, classes, strict=True)
    ]
    return {"image_id": image_id, "annotations": annotations, "relations": relations}


def compact(given: dict[str, Any]) -> dict[str, Any]:
    """The same image with arrays, as loaders of large data sets return it."""
    boxes = [a["bbox"] for a in given["annotations"]]
    return {
        **given,
        "annotations": Annotations(boxes, [a["category_id"] for a in given["annotations"]]),
        "relations": np.array(given["relations"], dtype=np.int64).reshape(-1, 3),
    }


@st.composite
def images(draw: st.DrawFn) -> dict[str, Any]:
    """0 to 5 entities; self relations, repeats and pairs with several predicates are common."""
    size = draw(st.integers(0, 5))
    corner, side = st.integers(0, 12), st.integers(1, 6)
    boxes = []
    for _ in range(size):
        x, y, w, h = draw(corner), draw(corner), draw(side), draw(side)
        boxes.append((x, y, x + w, y + h))
    classes = [draw(st.integers(0, CLASSES - 1)) for _ in range(size)]
    row = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1), st.integers(0, PREDICATES - 1))
    relations = draw(st.lists(row, max_size=6)) if size else []
    return draw(st.sampled_from([image, lambda *given: compact(image(*given))]))(boxes, classes, relations)
