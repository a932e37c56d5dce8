"""Entities, pairs and targets of a batch from the plain tensors of another model."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reldn_d2.structures import EntityBatch, Pairs, PairTargets

LONG = torch.long


def two_images(**changes: Any) -> EntityBatch:
    given = {
        "boxes": [torch.arange(8.0).reshape(2, 4), torch.zeros(0, 4), torch.ones(1, 4)],
        "classes": [torch.tensor([2, 0]), torch.zeros(0, dtype=LONG), torch.tensor([1])],
        "image_sizes": [(10, 20), (11, 21), (12, 22)],
    }
    return EntityBatch.from_images(**given | changes)


def test_entities_of_images_come_one_after_the_other() -> None:
    batch = two_images()
    assert batch.counts == [2, 0, 1] and batch.frames == [(10, 20), (11, 21), (12, 22)]
    assert batch.boxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [1, 1, 1, 1]]
    assert torch.equal(batch.regions, batch.boxes)
    assert batch.classes.tolist() == [2, 0, 1] and batch.image.tolist() == [0, 0, 2]
    assert batch.image_sizes.tolist() == [[10, 20], [11, 21], [12, 22]]
    assert batch.scores.tolist() == [1, 1, 1]
    assert batch.image.dtype == batch.classes.dtype == LONG and batch.image_sizes.is_floating_point()


def test_scores_are_kept_and_other_integers_become_long() -> None:
    scores = [torch.tensor([0.5, 0.25]), torch.zeros(0), torch.tensor([1.0])]
    classes = [table.int() for table in ([torch.tensor([2, 0]), torch.tensor([]), torch.tensor([1])])]
    batch = two_images(scores=scores, classes=classes)
    assert batch.scores.tolist() == [0.5, 0.25, 1.0]
    assert batch.classes.dtype == LONG and batch.classes.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": [], "classes": [], "image_sizes": []}, "no image"),
        ({"image_sizes": [(10, 20)]}, "3 images have boxes, 3 classes and 1 image_sizes"),
        ({"classes": [torch.zeros(2, dtype=LONG)]}, "3 images have boxes, 1 classes and 3 image_sizes"),
        ({"scores": [torch.ones(2)]}, "3 images have boxes, but 1 scores"),
        ({"boxes": [torch.zeros(2, 5), torch.zeros(0, 4), torch.ones(1, 4)]}, r"boxes of image 0 .*\(2, 5\)"),
        ({"classes": [torch.zeros(2, dtype=LONG)] * 3}, r"classes of image 1 must be \(0,\).*\(2,\)"),
        ({"classes": [torch.zeros(2), torch.zeros(0), torch.ones(1)]}, "image 0 must be .* integers"),
        ({"scores": [torch.ones(2), torch.zeros(0), torch.ones(3)]}, r"scores of image 2 must be \(1,\)"),
        ({"num_classes": 2}, "class 2, but there are 2 classes, 0 to 1"),
        ({"classes": torch.tensor([[-1, 0]]), "boxes": torch.zeros(1, 2, 4), "image_sizes": [(1, 1)],
          "num_classes": 3}, "class -1, but there are 3 classes, 0 to 2"),
    ],
)  # fmt: skip
def test_entities_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two_images(**changes)


def test_classes_in_range_pass_the_check() -> None:
    assert len(two_images(num_classes=3)) == 3


def test_pairs_of_images_name_rows_of_the_batch() -> None:
    rows = [torch.tensor([[0, 1], [1, 0]]), torch.zeros(0, 2, dtype=LONG), torch.tensor([[1, 1]])]
    pairs = Pairs.from_images(rows, [2, 3, 2])
    assert pairs.subject.tolist() == [0, 1, 6] and pairs.object.tolist() == [1, 0, 6]
    assert pairs.first[pairs.union].tolist() == [0, 1, 6]
    assert pairs.subject.dtype == LONG
    assert Pairs.from_images([table.to(torch.uint8) for table in rows], [2, 3, 2]).object.dtype == LONG


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5)), min_size=1, max_size=4), st.integers(0, 99))
def test_pairs_of_images_equal_those_image_by_image(sizes: list[tuple[int, int]], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    rows = [torch.randint(0, entities, (pairs, 2), generator=g) for entities, pairs in sizes]
    found = Pairs.from_images(rows, [entities for entities, _ in sizes])
    slow, before = [], 0
    for (entities, _), table in zip(sizes, rows, strict=True):
        slow += [[subject + before, object + before] for subject, object in table.tolist()]
        before += entities
    assert torch.stack([found.subject, found.object], dim=1).tolist() == slow


@pytest.mark.parametrize(
    ("rows", "counts", "message"),
    [
        ([], [], "no image"),
        ([torch.zeros(1, 2, dtype=LONG)], [1, 1], "of 1 images, the entities of 2"),
        ([torch.zeros(1, 3, dtype=LONG)], [1], r"pairs of image 0 must be \(M, 2\) integers.*\(1, 3\)"),
        ([torch.zeros(1, 2)], [1], r"pairs of image 0 must be \(M, 2\) integers.*float32"),
        ([torch.tensor([[0, 1]]), torch.tensor([[0, 0], [0, 2]])], [2, 2], r"pair \[0, 2\] of image 1 .* 2 "),
        ([torch.tensor([[-1, 1]])], [2], r"pair \[-1, 1\] of image 0 .* 2 entities"),
    ],
)  # fmt: skip
def test_pairs_that_do_not_fit_are_refused(rows: list[Tensor], counts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pairs.from_images(rows, counts)


def labels_of(targets: PairTargets) -> list[tuple[int, int]]:
    return list(zip(targets.label_pair.tolist(), targets.label_predicate.tolist(), strict=True))


def assert_all_drawn(targets: PairTargets, drawn: list[bool]) -> None:
    for mask in (targets.in_cross_entropy, targets.subject_side, targets.object_side):
        assert mask.tolist() == drawn


def test_one_label_a_pair_with_the_background_last() -> None:
    targets = PairTargets.from_labels(torch.tensor([1, 2, 0]), num_predicates=2)
    assert labels_of(targets) == [(0, 1), (2, 0)]
    assert targets.related.tolist() == [True, False, True]
    assert targets.unrelated.tolist() == [False, True, False]
    assert_all_drawn(targets, [True] * 3)


def test_a_table_gives_a_pair_several_labels() -> None:
    targets = PairTargets.from_table(torch.tensor([[True, False, True], [False] * 3, [False, True, False]]))
    assert labels_of(targets) == [(0, 0), (0, 2), (2, 1)]
    assert targets.related.tolist() == [True, False, True]
    assert targets.unrelated.tolist() == [False, True, False]
    assert_all_drawn(targets, [True] * 3)


def test_ignored_pairs_are_in_no_loss_whatever_their_label() -> None:
    ignored = torch.tensor([True, False, True, False])
    targets = PairTargets.from_labels(torch.tensor([0, 2, -100, 1]), num_predicates=2, ignored=ignored)
    assert labels_of(targets) == [(3, 1)]
    assert targets.related.tolist() == [False, False, False, True]
    assert targets.unrelated.tolist() == [False, True, False, False]
    assert_all_drawn(targets, [False, True, False, True])


def test_no_pair_has_no_label() -> None:
    targets = PairTargets.from_labels(torch.zeros(0, dtype=LONG), num_predicates=2)
    assert labels_of(targets) == [] and targets.related.shape == (0,)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_label_out_of_range_names_the_remedy_for_a_first_background(wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"label {wrong} of pair 1 .*0 to 1.*background is 2.*% 3"):
        PairTargets.from_labels(torch.tensor([0, wrong]), num_predicates=2)


def test_rolled_labels_of_a_first_background_are_those_of_a_last_one() -> None:
    """The remedy that the message and the documentation name."""
    first = torch.tensor([0, 1, 2, 0])
    assert ((first - 1) % 3).tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "ignored", "message"),
    [
        (torch.zeros(2, 1, dtype=LONG), None, r"labels must be \(M,\) integers, not .*\(2, 1\)"),
        (torch.zeros(2), None, r"labels must be \(M,\) integers, not torch.float32"),
        (torch.zeros(2, dtype=LONG), torch.zeros(3, dtype=torch.bool), r"ignored must be \(2,\) bool.*3"),
        (torch.zeros(2, dtype=LONG), torch.zeros(2), r"ignored must be \(2,\) bool, not torch.float32"),
    ],
)  # fmt: skip
def test_labels_of_another_form_are_refused(labels: Tensor, ignored: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairTargets.from_labels(labels, num_predicates=2, ignored=ignored)


@pytest.mark.parametrize("table", [torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool)])
def test_a_table_of_another_form_is_refused(table: Tensor) -> None:
    with pytest.raises(ValueError, match=r"annotated must be \(M, P\) bool"):
        PairTargets.from_table(table)


def test_batched_tensors_are_lists_of_images() -> None:
    """A model with equally many queries an image has one tensor for all."""
    boxes, classes = torch.rand(2, 3, 4), torch.tensor([[0, 1, 0], [1, 1, 0]])
    batch = EntityBatch.from_images(boxes=boxes, classes=classes, image_sizes=[(1, 1)] * 2)
    assert torch.equal(batch.boxes, boxes.flatten(0, 1)) and batch.counts == [3, 3]
    pairs = Pairs.from_images(torch.tensor([[[0, 1]], [[2, 0]]]), batch.counts)
    assert (pairs.subject.tolist(), pairs.object.tolist()) == ([0, 5], [1, 3])
