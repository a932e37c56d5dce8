import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reldn_d2.data import parse_vrd_annotations, predicate_counts, statistics

CLASSES, PREDICATES = 3, 2


def image(boxes: list[Any], classes: list[int], relations: list[tuple[int, int, int]]) -> dict[str, Any]:
    annotations = [
        {"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": c}
        for box, c in zip(boxes, classes, strict=True)
    ]
    return {"image_id": 1, "annotations": annotations, "relations": relations}


def slow_counts(images: list[dict[str, Any]], overlap_only: bool, background_count: str) -> NDArray[np.int64]:
    counts = np.zeros((CLASSES, CLASSES, PREDICATES + 1), dtype=np.int64)
    for one in images:
        entities = one["annotations"]
        for s, o, p in one["relations"]:
            counts[entities[s]["category_id"], entities[o]["category_id"], p] += 1
        pairs = [(s, o) for s in range(len(entities)) for o in range(len(entities)) if s != o]
        overlapping = []
        for s, o in pairs:
            ax0, ay0, ax1, ay1 = entities[s]["bbox"]
            bx0, by0, bx1, by1 = entities[o]["bbox"]
            if min(ax1, bx1) - max(ax0, bx0) > 0 and min(ay1, by1) - max(ay0, by0) > 0:
                overlapping.append((s, o))
        if overlap_only and (overlapping or background_count == "unrelated"):
            pairs = overlapping
        related = {(s, o) for s, o, _ in one["relations"]}
        for s, o in pairs:
            if background_count == "all" or (s, o) not in related:
                counts[entities[s]["category_id"], entities[o]["category_id"], PREDICATES] += 1
    return counts


@st.composite
def images(draw: st.DrawFn) -> dict[str, Any]:
    size = draw(st.integers(0, 5))
    corner, side = st.integers(0, 12), st.integers(1, 6)
    boxes = []
    for _ in range(size):
        x, y, w, h = draw(corner), draw(corner), draw(side), draw(side)
        boxes.append((x, y, x + w, y + h))
    classes = [draw(st.integers(0, CLASSES - 1)) for _ in range(size)]
    row = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1), st.integers(0, PREDICATES - 1))
    relations = draw(st.lists(row, max_size=6)) if size else []
    return image(boxes, classes, relations)


@given(st.lists(images(), max_size=4), st.booleans(), st.sampled_from(["unrelated", "all"]))
def test_counts_equal_a_count_pair_by_pair(
    data: list[dict[str, Any]], overlap: bool, background: Any
) -> None:
    found = predicate_counts(data, CLASSES, PREDICATES, overlap_only=overlap, background_count=background)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, slow_counts(data, overlap, background))


def test_a_worked_example() -> None:
    # 0 and 1 overlap, 2 is apart and only touches 1
    boxes = [(0, 0, 10, 10), (5, 5, 15, 15), (15, 5, 20, 15)]
    data = [image(boxes, [0, 1, 2], [(0, 1, 1), (0, 2, 0), (0, 1, 1)])]
    unrelated = predicate_counts(data, CLASSES, PREDICATES)
    assert unrelated[0, 1].tolist() == [0, 2, 0]
    assert unrelated[0, 2].tolist() == [1, 0, 0]
    assert unrelated[..., PREDICATES].sum() == 4
    overlapping = predicate_counts(data, CLASSES, PREDICATES, overlap_only=True)
    assert overlapping[0, 2].tolist() == [1, 0, 0]
    assert overlapping[..., PREDICATES].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    everything = predicate_counts(data, CLASSES, PREDICATES, background_count="all")
    assert everything[0, 1].tolist() == [0, 2, 1]
    assert everything[..., PREDICATES].sum() == 6


def test_large_sets_are_added_up_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [image([(0, 0, 2, 2), (1, 1, 3, 3)], [i % 3, 1], [(0, 1, i % 2)]) for i in range(7)]
    monkeypatch.setattr(statistics, "_IMAGES_AT_ONCE", 3)
    found = predicate_counts(data, CLASSES, PREDICATES)
    np.testing.assert_array_equal(found, slow_counts(data, False, "unrelated"))


def test_no_images_count_nothing() -> None:
    assert predicate_counts([], CLASSES, PREDICATES).shape == (3, 3, 3)
    assert not predicate_counts([image([], [], [])], CLASSES, PREDICATES).any()


@pytest.mark.parametrize(
    ("classes", "relations", "message"),
    [
        ([0, 3], [], r"image 1 .*category_id 3, outside \[0, 3\)"),
        ([0, -1], [], "category_id -1"),
        ([0, 1], [(0, 1, 2)], r"predicate 2, outside \[0, 2\)"),
    ],
)
def test_classes_out_of_range_are_named(classes: list[int], relations: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predicate_counts([image([(0, 0, 1, 1)] * 2, classes, relations)], CLASSES, PREDICATES)


def test_an_unknown_background_count_is_an_error() -> None:
    unknown: Any = "some"
    with pytest.raises(ValueError, match="'unrelated' or 'all', not 'some'"):
        predicate_counts([], CLASSES, PREDICATES, background_count=unknown)


def test_vrd_is_counted_in_a_second(dev_data: Path) -> None:
    data = parse_vrd_annotations(dev_data / "vrd_official" / "annotations_train.json")
    start = time.process_time()
    counts = predicate_counts(data, 100, 70, overlap_only=True)
    assert time.process_time() - start < 1.0
    assert counts[..., :70].sum() == 30355
