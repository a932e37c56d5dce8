import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.data import parse_vrd_annotations, predicate_counts, statistics
from reldn_d2.structures import predicate_counts as counts_of_predicates
from tests.builders.dataset_images import CLASSES, PREDICATES, compact, image, images
from tests.references.statistics import slow_counts

OPTIONS = [(overlap, background) for overlap in (False, True) for background in ("unrelated", "all")]


@given(st.lists(images(), max_size=4), st.sampled_from(OPTIONS), st.sampled_from([1, 3, 10, 2**16]))
def test_counts_equal_a_count_pair_by_pair(
    data: list[dict[str, Any]], options: tuple[bool, Any], pairs_at_once: int
) -> None:
    """The result must not depend on the number of pairs that are compared at once."""
    with mock.patch.object(statistics, "_PAIRS_AT_ONCE", pairs_at_once):
        found = predicate_counts(
            data, CLASSES, PREDICATES, overlap_only=options[0], background_count=options[1]
        )
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, slow_counts(data, CLASSES, PREDICATES, *options))


@given(st.lists(images(), max_size=4), st.sampled_from(OPTIONS))
def test_counts_of_a_large_vocabulary_are_the_same(
    data: list[dict[str, Any]], options: tuple[bool, Any]
) -> None:
    arguments: Any = {"overlap_only": options[0], "background_count": options[1]}
    with mock.patch.object(counts_of_predicates, "DENSE_LIMIT", 0):
        found = predicate_counts(data, CLASSES, PREDICATES, **arguments)
    assert isinstance(found, counts_of_predicates.SparsePredicateCounts)
    assert (found.occurrences > 0).all() and (np.diff(found.triplets) > 0).all()
    np.testing.assert_array_equal(np.asarray(found), predicate_counts(data, CLASSES, PREDICATES, **arguments))


def test_the_vocabulary_of_gqa_is_counted_in_little_memory() -> None:
    """As one array its counts would take 7.2 GB."""
    data = [image(THREE, [0, 1702, i], [(0, 1, 310), (2, 0, i)]) for i in range(20)]
    tracemalloc.start()
    counts = predicate_counts(data, 1703, 311)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6  # a number for each pair of classes takes 23 MB
    assert isinstance(counts, counts_of_predicates.SparsePredicateCounts)
    assert counts.occurrences.sum() == 40 and counts.background.sum() == 20 * (6 - 2)


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


# 0 overlaps 1, 2 is apart
THREE = [(0, 0, 10, 10), (5, 5, 15, 15), (50, 50, 60, 60)]
APART = [(0, 0, 1, 1), (2, 2, 3, 3)]
TOUCHING = [(0, 0, 1, 1), (1, 1, 3, 3), (4, 0, 5, 9)]
# 0 and 1 are the same box
TWICE = [(0, 0, 5, 5), (0, 0, 5, 5), (8, 8, 9, 9)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # background pairs: unrelated, all (of entities in relationships); then the same of overlapping pairs
        (image([], [], []), (0, 0, 0, 0)),
        (image(THREE[:1], [0], []), (0, 0, 0, 0)),
        (image(THREE[:1], [0], [(0, 0, 1)]), (0, 0, 0, 0)),
        (image(THREE, [0, 1, 2], []), (6, 0, 2, 0)),
        (image(THREE, [0, 1, 2], [(1, 1, 0)]), (6, 0, 2, 0)),
        (image(THREE, [0, 1, 2], [(0, 1, 0)]), (5, 2, 1, 2)),
        (image(THREE, [0, 1, 2], [(0, 1, 0), (0, 2, 0)]), (4, 6, 1, 2)),
        (image(THREE, [0, 1, 2], [(0, 1, 0), (0, 1, 0), (0, 1, 1)]), (5, 2, 1, 2)),
        (image(THREE, [0, 1, 2], [(0, 1, 0), (1, 0, 0)]), (4, 2, 0, 2)),
        (image(THREE, [0, 1, 2], [(0, 2, 0)]), (5, 2, 2, 2)),
        (image(APART, [0, 1], [(0, 1, 0)]), (1, 2, 0, 2)),
        (image(APART, [0, 1], []), (2, 0, 0, 0)),
        # Touching pixels overlap for the published code (last column): 0 and 1 do, 2 is apart.
        (image(TOUCHING, [0, 1, 2], [(0, 1, 0), (0, 2, 0)]), (4, 6, 0, 2)),
        # Equal boxes are one entity there, if they are in a relationship.
        (image(TWICE, [0, 1, 2], [(0, 2, 0), (1, 2, 0)]), (4, 2, 2, 2)),
        (image(TWICE, [0, 1, 2], [(0, 2, 0)]), (5, 2, 2, 2)),
        (image(TWICE, [0, 1, 2], [(0, 1, 0)]), (5, 0, 1, 0)),
    ],
)
@pytest.mark.parametrize("form", [lambda x: x, compact])
def test_background_pairs_of_an_image(
    given: dict[str, Any], expected: tuple[int, ...], form: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """The image alone, and between other images, whose pairs must not be mixed with its pairs."""
    found = []
    for overlap, background in OPTIONS:
        options: Any = {"overlap_only": overlap, "background_count": background}
        alone = predicate_counts([form(given)], CLASSES, PREDICATES, **options)
        others = [form(image(THREE, [0, 1, 2], [(2, 1, 0)])), form(image(APART, [2, 2], [(0, 1, 1)]))]
        together = predicate_counts([others[0], form(given), others[1]], CLASSES, PREDICATES, **options)
        np.testing.assert_array_equal(
            together - predicate_counts(others, CLASSES, PREDICATES, **options), alone
        )
        found.append(alone[..., PREDICATES].sum())
        assert alone[..., :PREDICATES].sum() == len(given["relations"])
    assert tuple(found) == expected


def test_a_box_has_the_class_of_its_first_entity() -> None:
    """Relationships keep the classes that they are annotated with."""
    data = [image(TWICE, [1, 0, 2], [(1, 2, 0), (0, 2, 1)])]
    counts = predicate_counts(data, CLASSES, PREDICATES, background_count="all")
    assert counts[0, 2].tolist() == [1, 0, 0] and counts[1, 2].tolist() == [0, 1, 1]
    assert counts[2, 1].tolist() == [0, 0, 1]
    # Only of the entities that are in a relationship; and equal boxes of two images are two.
    data = [image(TWICE, [1, 0, 2], [(1, 2, 0)]), image(TWICE, [2, 2, 2], [(0, 2, 0)])]
    counts = predicate_counts(data, CLASSES, PREDICATES, background_count="all")
    assert counts[..., PREDICATES].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 2]]


@pytest.mark.parametrize(("gap", "overlaps"), [(-0.5, True), (0.0, True), (0.75, True), (1.0, False)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_box_holds_its_last_pixel(gap: float, overlaps: bool, axis: int) -> None:
    # A pair that overlaps at any rate, because otherwise all pairs would count.
    second = [10.0 + gap, 0, 20, 10] if axis == 0 else [0, 10.0 + gap, 10, 20]
    boxes = [(0, 0, 10, 10), tuple(second), (100, 0, 200, 10), (100, 0, 200, 20)]
    data = [image(boxes, [0, 1, 2, 2], [(0, 1, 0), (2, 3, 0)])]
    counts = predicate_counts(data, CLASSES, PREDICATES, overlap_only=True, background_count="all")
    assert counts[0, 1, PREDICATES] == counts[1, 0, PREDICATES] == int(overlaps)
    assert counts[2, 2, PREDICATES] == 2


def test_memory_is_bounded_by_the_pairs_of_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [image([(0, 0, 2, 2)] * (2 + i % 3), [0] * (2 + i % 3), []) for i in range(50)]
    monkeypatch.setattr(statistics, "_PAIRS_AT_ONCE", 10)
    pieces = [len(first) for first, _ in statistics._entity_pairs(statistics.dataset_arrays(data))]
    assert sum(pieces) == sum((2 + i % 3) * (1 + i % 3) // 2 for i in range(50))
    assert len(pieces) > 10 and max(pieces) < 10 + 6


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


@pytest.mark.parametrize("options", OPTIONS)
def test_vrd_is_counted_in_a_second(dev_data: Path, options: tuple[bool, Any]) -> None:
    data = parse_vrd_annotations(dev_data / "vrd_official" / "annotations_train.json")
    start = time.process_time()
    counts = predicate_counts(data, 100, 70, overlap_only=options[0], background_count=options[1])
    assert time.process_time() - start < 1.0
    assert counts[..., :70].sum() == 30355
    if options == (True, "all"):
        assert counts[..., 70].sum() == 77048, "as the published code counts"
    np.testing.assert_array_equal(counts, slow_counts(data, 100, 70, *options))
