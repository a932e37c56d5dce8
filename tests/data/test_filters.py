import copy
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.data import RelationDatasetMapper, images_with_entities, prepare_training_relations
from reldn_d2.data.filters import (
    count_training_entities,
    count_training_relations,
    images_with_relations,
    one_relation_per_pair,
    overlapping_relations,
)
from reldn_d2.structures.annotations import Annotations

Images = list[dict[str, Any]]
Row = tuple[int, int, int]


def image(image_id: int, relations: Any, entities: int = 3) -> dict[str, Any]:
    box = {"bbox": [0, 0, 5, 5], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    return {"image_id": image_id, "annotations": [box] * entities, "relations": relations}


def test_self_relations_repeats_and_empty_images_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = [
        image(1, [(2, 0, 5), (1, 1, 3), (0, 1, 4), (2, 0, 5), (2, 0, 6), (2, 0, 5)]),
        image(2, []),
        image(3, np.array([[0, 0, 1], [0, 0, 1]])),
        image(4, [(0, 2, 7)]),
    ]
    before = copy.deepcopy(given)
    with caplog.at_level(logging.INFO):
        kept = prepare_training_relations(given, "mine")
    assert [d["image_id"] for d in kept] == [1, 4]
    assert kept[0]["relations"].tolist() == [[2, 0, 5], [0, 1, 4], [2, 0, 6]]
    assert kept[0]["relations"].dtype == np.int64
    assert kept[0]["annotations"] is given[0]["annotations"]
    assert len(caplog.records) == 1
    assert caplog.messages[0] == (
        "Training relationships of mine: kept 4 in 2 images; dropped 3 of an entity with itself, 2 repeats "
        "and 2 images without relationships."
    )
    for old, new in zip(before, given, strict=True):
        np.testing.assert_array_equal(old.pop("relations"), new["relations"])
        assert old == {key: value for key, value in new.items() if key != "relations"}


@pytest.mark.parametrize("images", [[], [image(1, [])], [image(1, [(1, 1, 0)])]])
def test_nothing_to_train_on_is_an_error(images: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=f"'mine' has no relationship.*{len(images)} images"):
        prepare_training_relations(images, "mine")


@st.composite
def data_sets(draw: st.DrawFn) -> Images:
    """Images with none to four small boxes, often touching or repeated, as plain lists or as arrays."""
    images = []
    for image_id in range(draw(st.integers(0, 4))):
        corner = st.integers(0, 4)
        boxes = [
            [x, y, x + draw(st.integers(1, 2)), y + draw(st.integers(1, 2))]
            for x, y in draw(st.lists(st.tuples(corner, corner), max_size=4))
        ]
        end = st.integers(0, len(boxes) - 1)
        row = st.tuples(end, end, st.integers(0, 1))
        rows = draw(st.lists(row, max_size=8)) if boxes else []
        plain = [{"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0} for box in boxes]
        compact = draw(st.booleans())
        images.append(
            {
                "image_id": image_id,
                "annotations": Annotations(boxes, [0] * len(boxes)) if compact else plain,
                "relations": np.array(rows, dtype=np.int64).reshape(-1, 3) if compact else rows,
            }
        )
    return images


def slow_proper_and_distinct(image: dict[str, Any]) -> list[Row]:
    kept: list[Row] = []
    for s, o, p in np.array(image["relations"]).reshape(-1, 3).tolist():
        if s != o and (s, o, p) not in kept:
            kept.append((s, o, p))
    return kept


def slow_first_of_pair(image: dict[str, Any]) -> list[Row]:
    kept: dict[tuple[int, int], Row] = {}
    for s, o, p in np.array(image["relations"]).reshape(-1, 3).tolist():
        kept.setdefault((s, o), (s, o, p))
    return list(kept.values())


def slow_overlapping(image: dict[str, Any]) -> list[Row]:
    kept: list[Row] = []
    for s, o, p in np.array(image["relations"]).reshape(-1, 3).tolist():
        ax0, ay0, ax1, ay1 = image["annotations"][s]["bbox"]
        bx0, by0, bx1, by1 = image["annotations"][o]["bbox"]
        if (min(ax1, bx1) - max(ax0, bx0)) > 0 and (min(ay1, by1) - max(ay0, by0)) > 0:
            kept.append((s, o, p))
    return kept


def rows(images: Images) -> list[list[Row]]:
    return [[(s, o, p) for s, o, p in image["relations"].tolist()] for image in images]


@given(images=data_sets())
def test_training_relations_are_those_of_a_slow_loop(images: Images) -> None:
    expected = [slow_proper_and_distinct(image) for image in images]
    if not any(expected):
        with pytest.raises(ValueError, match="no relationship to train on"):
            prepare_training_relations(images, "mine")
        return
    kept = prepare_training_relations(images, "mine")
    assert rows(kept) == [found for found in expected if found]
    assert [d["image_id"] for d in kept] == [
        d["image_id"] for d, found in zip(images, expected, strict=True) if found
    ]


@pytest.mark.parametrize(
    ("filter_relations", "slow"),
    [(one_relation_per_pair, slow_first_of_pair), (overlapping_relations, slow_overlapping)],
)
@given(images=data_sets())
def test_filtered_relations_are_those_of_a_slow_loop(
    filter_relations: Callable[[Images, str], Images],
    slow: Callable[[dict[str, Any]], list[Row]],
    images: Images,
) -> None:
    before = copy.deepcopy(images)
    kept = filter_relations(images, "mine")
    assert rows(kept) == [slow(image) for image in images]
    assert rows(filter_relations(kept, "mine")) == rows(kept)
    for old, given_, new in zip(before, images, kept, strict=True):
        assert new["annotations"] is given_["annotations"] and new["image_id"] == old["image_id"]
        assert new["relations"].dtype == np.int64 and new["relations"].shape[1:] == (3,)
        np.testing.assert_array_equal(given_["relations"], old["relations"])


def test_filters_say_what_they_dropped(caplog: pytest.LogCaptureFixture) -> None:
    apart = image(1, [(0, 1, 4), (0, 1, 5), (0, 2, 4)])
    apart["annotations"] = Annotations([[0, 0, 5, 5], [5, 0, 9, 5], [4, 4, 6, 6]], [0, 0, 0])
    with caplog.at_level(logging.INFO):
        (first,) = one_relation_per_pair([apart], "a.h5")
        (overlapping,) = overlapping_relations([apart], "a.h5")
    assert first["relations"].tolist() == [[0, 1, 4], [0, 2, 4]]
    # the first two boxes have an edge in common, and no area
    assert overlapping["relations"].tolist() == [[0, 2, 4]]
    assert caplog.messages == [
        "a.h5: dropped 1 relationships of pairs that have an earlier one.",
        "a.h5: dropped 2 relationships whose boxes share no area.",
    ]


def test_rows_that_do_not_fit_are_named() -> None:
    images = [image(1, [(0, 1, 4)]), image(2, [(0, 3, 4)])]
    for filter_relations in (prepare_training_relations, one_relation_per_pair, overlapping_relations):
        with pytest.raises(ValueError, match="row 0 of 'relations' of image 2"):
            filter_relations(images, "mine")


def test_images_without_relationships_can_be_left_out() -> None:
    images = [image(1, []), image(2, np.zeros((0, 3), dtype=np.int64)), image(3, [(0, 1, 4)])]
    assert images_with_relations(images) == [images[2]]


def test_images_with_entities_are_those_that_detectron2_keeps(caplog: pytest.LogCaptureFixture) -> None:
    boxes = [[0, 0, 5, 5], [1, 1, 4, 4]]
    images = [
        {"image_id": 1, "annotations": Annotations(boxes, [0, 1], [False, True])},
        {"image_id": 2, "annotations": Annotations(boxes, [0, 1], [True, True])},
        {"image_id": 3, "annotations": Annotations([], [])},
        {"image_id": 4, "annotations": Annotations(boxes, [0, 1])},
        image(5, []),
        image(6, [], entities=0),
    ]
    with caplog.at_level(logging.INFO):
        kept = images_with_entities(images)
    assert caplog.messages == [
        "Training entities: kept 6 in 3 images; dropped 3 crowds, 0 boxes without area and 3 images without "
        "entities."
    ]
    assert all(x["annotations"].handed_out is None for x in images[:4])
    assert kept == filter_images_with_only_crowd_annotations(images)
    assert [x["image_id"] for x in kept] == [1, 4, 5]


def sized(
    image_id: int, boxes: list[list[float]], relations: Any, crowd: tuple[int, ...] = ()
) -> dict[str, Any]:
    """An image of 100 x 50 pixels."""
    annotations = [
        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": int(row in crowd)}
        for row, box in enumerate(boxes)
    ]
    size = {"width": 100, "height": 50, "file_name": f"{image_id}.jpg"}
    return {"image_id": image_id, "annotations": annotations, "relations": relations, **size}


A, B, POINT, LINE, OUTSIDE = [0, 0, 5, 5], [90, 40, 105, 55], [7, 7, 7, 7], [9, 1, 9, 8], [101, 2, 108, 9]


def test_relationships_of_dropped_entities_are_dropped_counted_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = [
        sized(1, [A, B], [(0, 1, 0)], crowd=(1,)),
        sized(2, [A, B, POINT], [(0, 1, 0), (2, 1, 0), (2, 2, 1), (0, 2, 0), (0, 2, 0), (0, 1, 0)]),
        sized(3, [A, LINE, OUTSIDE], [(0, 1, 0), (2, 0, 0)]),
        sized(4, [A, B], []),
    ]
    with caplog.at_level(logging.INFO):
        kept = prepare_training_relations(given, "mine")
    assert [(x["image_id"], x["relations"].tolist()) for x in kept] == [(2, [[0, 1, 0]])]
    assert kept[0]["annotations"] is given[1]["annotations"]
    assert count_training_relations(given).tolist() == [0, 1, 0, 0]
    assert caplog.messages == [
        "Training relationships of mine: kept 1 in 1 images; dropped 1 of an entity with itself, 1 repeats, "
        "6 of crowds or of boxes without area and 3 images without relationships.",
        "mine: 2 images are not trained on, since all of their relationships are of crowds or of boxes "
        "without area: image 1 (1.jpg), image 3 (3.jpg)",
    ]
    with pytest.raises(
        ValueError, match=r"3 images were read; .* 3 of crowds or of boxes without area were left"
    ):
        prepare_training_relations([given[0], given[2], given[3]], "mine")


def test_what_is_dropped_is_what_the_mapper_drops() -> None:
    """Training gets the numbers that the log says."""
    given = [
        sized(1, [A, B, POINT, LINE, OUTSIDE], [(s, o, 0) for s in range(5) for o in range(5)], crowd=(0,)),
        sized(2, [A, B, [90, 3, 90.0000113, 9], [99.999, 0, 200, 9]], [(0, 1, 0), (1, 2, 0), (3, 0, 1)]),
    ]
    mapper = RelationDatasetMapper(is_train=True, augmentations=[], image_format="BGR")
    picture = np.zeros((50, 100, 3), dtype=np.uint8)
    mapped = [mapper.map_picture(picture, x) for x in given]
    proper = [(x["relations"][:, 0] != x["relations"][:, 1]).sum().item() for x in mapped]
    assert count_training_relations(given).tolist() == proper == [0, 2]
    assert count_training_entities(given).tolist() == [len(x["instances"]) for x in mapped] == [1, 3]


def test_images_of_empty_boxes_are_not_given_to_the_detector(caplog: pytest.LogCaptureFixture) -> None:
    given = [sized(1, [POINT, OUTSIDE], []), sized(2, [A, LINE, B], [], crowd=(2,)), sized(3, [], [])]
    with caplog.at_level(logging.INFO):
        assert images_with_entities(given) == [given[1]]
    assert caplog.messages == [
        "Training entities: kept 1 in 1 images; dropped 1 crowds, 3 boxes without area and 2 images without "
        "entities."
    ]


def test_no_entity_at_all_is_an_error() -> None:
    with pytest.raises(
        ValueError, match="no image has an entity to train on: of 1 images, 1 entities are crowds"
    ):
        images_with_entities([sized(1, [A], [], crowd=(0,))])
