"""Box arithmetic and the flat pair types, against definitions in Python numbers."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reldn_d2.structures import (
    EntityBatch,
    Pairs,
    PairTargets,
    boxes_iou,
    boxes_overlap,
    enclosing_boxes,
)

Box = tuple[float, float, float, float]
corner = st.integers(0, 6).map(float)
boxes = st.tuples(corner, corner, st.integers(0, 4), st.integers(0, 4)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def slow_intersection_area(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


@settings(max_examples=200)
@given(st.lists(st.tuples(boxes, boxes), max_size=6))
def test_boxes_match_scalar_definitions(drawn: list[tuple[Box, Box]]) -> None:
    a = torch.tensor([pair[0] for pair in drawn]).reshape(-1, 4)
    b = torch.tensor([pair[1] for pair in drawn]).reshape(-1, 4)
    expected = [[min(p[0], q[0]), min(p[1], q[1]), max(p[2], q[2]), max(p[3], q[3])] for p, q in drawn]
    assert torch.equal(enclosing_boxes(a, b), torch.tensor(expected).reshape(-1, 4))
    assert torch.equal(enclosing_boxes(a, b), enclosing_boxes(b, a))
    overlap = boxes_overlap(a, b)
    assert overlap.dtype == torch.bool and overlap.shape == (len(drawn),)
    assert overlap.tolist() == [slow_intersection_area(p, q) > 0 for p, q in drawn]
    assert torch.equal(overlap, boxes_overlap(b, a))


@settings(max_examples=100)
@given(st.lists(boxes, max_size=6), st.lists(boxes, max_size=6))
def test_iou_is_that_of_detectron2(first: list[Box], second: list[Box]) -> None:
    a, b = (torch.tensor(drawn).reshape(-1, 4) * 1.37 for drawn in (first, second))
    found = boxes_iou(a[:, None], b[None])
    assert torch.equal(found, pairwise_iou(Boxes(a), Boxes(b)))
    for row, box in zip(found.tolist(), first, strict=True):
        for value, other in zip(row, second, strict=True):
            shared = slow_intersection_area(box, other)
            areas = [slow_intersection_area(x, x) for x in (box, other)]
            assert value == pytest.approx(shared / (sum(areas) - shared) if shared else 0.0, rel=1e-5)


def test_enclosing_box_of_nested_and_distant_boxes() -> None:
    outer, inner = torch.tensor([0.0, 0.0, 10.0, 8.0]), torch.tensor([2.0, 1.0, 3.0, 4.0])
    assert enclosing_boxes(outer, inner).tolist() == [0.0, 0.0, 10.0, 8.0]
    far = torch.tensor([20.5, 30.0, 21.0, 31.0])
    assert enclosing_boxes(inner, far).tolist() == [2.0, 1.0, 21.0, 31.0]


@pytest.mark.parametrize(
    ("other", "overlapping"),
    [
        ([10.0, 0.0, 20.0, 10.0], False),  # shares an edge only
        ([10.0, 10.0, 20.0, 20.0], False),  # shares a corner only
        ([9.5, 9.5, 20.0, 20.0], True),
        ([3.0, 20.0, 4.0, 30.0], False),  # above each other
        ([2.0, 2.0, 3.0, 3.0], True),
        ([5.0, 2.0, 5.0, 8.0], False),  # no width
    ],
)
def test_touching_is_not_overlap(other: list[float], overlapping: bool) -> None:
    box = torch.tensor([0.0, 0.0, 10.0, 10.0])
    assert boxes_overlap(box, torch.tensor(other)).item() is overlapping


def test_boxes_overlap_broadcasts_to_all_pairs() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 6.0, 6.0]])
    table = boxes_overlap(a[:, None], a[None])
    assert table.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_both_directions_lists_all_forward_then_all_backward() -> None:
    pairs = Pairs.both_directions(torch.tensor([4, 0, 2]), torch.tensor([1, 3, 5]))
    assert len(pairs) == 6
    assert pairs.subject.tolist() == [4, 0, 2, 1, 3, 5]
    assert pairs.object.tolist() == [1, 3, 5, 4, 0, 2]
    assert pairs.union.tolist() == [0, 1, 2, 0, 1, 2]
    assert pairs.first.tolist() == [4, 0, 2] and pairs.second.tolist() == [1, 3, 5]


def test_one_direction_keeps_order_repeats_and_self_pairs() -> None:
    pairs = Pairs.one_direction(torch.tensor([3, 3, 1]), torch.tensor([0, 3, 2]))
    assert len(pairs) == 3
    assert pairs.subject.tolist() == [3, 3, 1] and pairs.object.tolist() == [0, 3, 2]
    assert pairs.first[pairs.union].tolist() == [3, 3, 1]
    assert pairs.second[pairs.union].tolist() == [0, 3, 2]


@pytest.mark.parametrize("build", [Pairs.both_directions, Pairs.one_direction])
def test_no_pairs(build: Callable[[Tensor, Tensor], Pairs]) -> None:
    empty = torch.zeros(0, dtype=torch.long)
    pairs = build(empty, empty)
    assert len(pairs) == 0
    assert pairs.subject_classes is None and pairs.object_classes is None
    for name in ("first", "second", "subject", "object", "union"):
        value: Tensor = getattr(pairs, name)
        assert value.shape == (0,) and value.dtype == torch.long


def test_union_row_has_the_same_two_entities_as_its_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 9, (20,), generator=generator)
    second = torch.randint(0, 9, (20,), generator=generator)
    pairs = Pairs.both_directions(first, second)
    for row in range(len(pairs)):
        union = int(pairs.union[row])
        ends = {int(pairs.subject[row]), int(pairs.object[row])}
        assert ends == {int(pairs.first[union]), int(pairs.second[union])}


def test_classes_of_pairs_are_those_of_the_entities_or_of_their_roles() -> None:
    entities = EntityBatch.from_images(
        boxes=[torch.zeros(3, 4)], classes=[torch.tensor([4, 5, 6])], image_sizes=[(9, 9)]
    )
    pairs = Pairs.one_direction(torch.tensor([0, 2]), torch.tensor([1, 0]))
    assert [classes.tolist() for classes in pairs.classes(entities)] == [[4, 6], [5, 4]]
    roles = {"subject_classes": torch.tensor([1, 2]), "object_classes": torch.tensor([3, 0])}
    in_roles = dataclasses.replace(pairs, **roles)
    assert [classes.tolist() for classes in in_roles.classes(entities)] == [[1, 2], [3, 0]]


def test_entity_batch_splits_by_image_including_empty_ones() -> None:
    boxes = torch.arange(12.0).reshape(3, 4)
    batch = EntityBatch(
        boxes=boxes,
        regions=boxes * 2,
        classes=torch.tensor([0, 1, 0]),
        scores=torch.ones(3),
        image=torch.tensor([0, 2, 2]),
        image_sizes=torch.tensor([[10.0, 20.0]] * 4),
        frames=[(10, 20), (11, 21), (12, 22), (13, 23)],
        counts=[1, 0, 2, 0],
    )
    assert len(batch) == 3
    split = batch.regions_per_image()
    assert [len(part) for part in split] == [1, 0, 2, 0]
    assert torch.equal(torch.cat(split), boxes * 2)
    assert torch.equal(split[2], boxes[1:] * 2)

    third = batch.of_image(2)
    assert torch.equal(third.boxes, boxes[1:]) and torch.equal(third.regions, boxes[1:] * 2)
    assert third.classes.tolist() == [1, 0] and third.image.tolist() == [0, 0]
    assert third.image_sizes.tolist() == [[10.0, 20.0]]
    assert (third.frames, third.counts) == ([(12, 22)], [2])
    assert len(batch.of_image(3)) == 0 and batch.of_image(3).image_sizes.shape == (1, 2)


@pytest.mark.parametrize("kind", [EntityBatch, Pairs, PairTargets])
def test_records_are_frozen(kind: type) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    record = kind(**dict.fromkeys(names))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, names[0], 1)
