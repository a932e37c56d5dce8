from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.data.datasets.vrd import parse_vrd_annotations
from reldn_d2.evaluation import GroundTruthGraph, TrainingSplit, training_split
from reldn_d2.evaluation.ground_truth import ground_truth_graphs
from tests.builders.evaluation_scenes import (
    NUM_CLASSES,
    NUM_PREDICATES,
    Scene,
    scenes,
    training_labels,
    training_truths,
    truth_graph,
)
from tests.references.evaluation import Labels, slow_groups

A, B, C = (0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9)


def groups_of(counts: list[int]) -> dict[str, list[int]]:
    split = TrainingSplit(2, np.array(counts), np.zeros(0, dtype=np.int64))
    return {name: members.tolist() for name, members in split.predicate_groups().items()}


def test_repeats_count_and_images_without_relationships_bring_nothing() -> None:
    truths = [
        truth_graph([A, B], [0, 1], [(0, 1, 2), (0, 1, 2), (1, 0, 0)]),
        truth_graph([A], [1], []),
        truth_graph([], [], []),
        truth_graph([B, A], [1, 1], [(0, 0, 2)]),
    ]
    assert training_split(truths, 2, 4).predicate_counts.tolist() == [1, 0, 3, 0]


def test_zero_shot_is_about_the_three_labels_and_their_order() -> None:
    known = training_split([truth_graph([A, B], [0, 2], [(0, 1, 1)])], 3, 4)
    # rows: other entities of the same classes; swapped; another subject, object, predicate
    truth = truth_graph(
        [A, B, C, B], [2, 0, 1, 0], [(1, 0, 1), (3, 0, 1), (0, 1, 1), (2, 0, 1), (1, 2, 1), (1, 0, 2)]
    )
    assert known.is_zero_shot(truth).tolist() == [False, False, True, True, True, True]


def test_everything_is_unseen_without_training_images_and_nothing_in_an_image_without_relationships() -> None:
    nothing = training_split([], 2, 3)
    assert nothing.predicate_counts.tolist() == [0, 0, 0]
    assert nothing.is_zero_shot(truth_graph([A, B], [0, 1], [(0, 1, 0)])).tolist() == [True]
    assert nothing.is_zero_shot(truth_graph([], [], [])).shape == (0,)


@given(st.lists(scenes(), max_size=3), scenes())
def test_equals_the_definition(split: list[Scene], scene: Scene) -> None:
    def labels(x: Scene) -> list[Labels]:
        classes = x.truth.classes.tolist()
        return [(classes[s], classes[o], p) for s, o, p in x.truth.relations.tolist()]

    known = training_split([x.truth for x in split], NUM_CLASSES, NUM_PREDICATES)
    seen = [label for x in split for label in labels(x)]
    assert known.is_zero_shot(scene.truth).tolist() == [label not in seen for label in labels(scene)]
    assert known.predicate_counts.tolist() == [sum(s[2] == p for s in seen) for p in range(NUM_PREDICATES)]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 4)), max_size=30), st.data())
def test_no_two_label_triplets_are_taken_for_each_other(seen: list[Labels], data: st.DataObject) -> None:
    known = training_split(training_truths(seen), 7, 5)
    asked = data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 4)))
    assert known.is_zero_shot(training_truths([asked])[0]).item() == (asked not in seen)


def test_labels_of_a_large_vocabulary_do_not_overflow_small_integers() -> None:
    def small(subject_class: int) -> GroundTruthGraph:
        graph = truth_graph([A, B], [subject_class, 1], [(0, 1, 0)])
        return GroundTruthGraph(graph.boxes, graph.classes.astype(np.int32), graph.relations.astype(np.int32))

    # 2**15 * 2**16 * 2 is 0 in 32 bits
    known = training_split([small(0)], 2**16, 2)
    assert known.is_zero_shot(small(2**15)).all() and not known.is_zero_shot(small(0)).any()


@pytest.mark.parametrize(
    ("num_predicates", "sizes"),
    [
        *[(1, (0, 0, 1)), (2, (0, 1, 1)), (4, (1, 1, 2)), (5, (1, 2, 2)), (9, (3, 3, 3))],
        *[(50, (16, 17, 17)), (70, (23, 23, 24))],
    ],
)
def test_sizes_of_the_groups(num_predicates: int, sizes: tuple[int, ...]) -> None:
    groups = groups_of(list(range(num_predicates)))
    assert tuple(map(len, groups.values())) == sizes and list(groups) == ["head", "body", "tail"]


def test_groups_go_by_count_and_equal_counts_by_predicate() -> None:
    assert groups_of([5, 0, 5, 9, 5, 0, 5]) == {"head": [0, 3], "body": [2, 4], "tail": [1, 5, 6]}
    assert groups_of([7] * 6) == {"head": [0, 1], "body": [2, 3], "tail": [4, 5]}
    many = groups_of([p % 2 for p in range(600)])
    assert many["head"] == list(range(1, 400, 2)) and many["tail"] == list(range(200, 600, 2))


@given(training_labels)
def test_groups_equal_the_definition(labels: list[Labels]) -> None:
    groups = training_split(training_truths(labels), NUM_CLASSES, NUM_PREDICATES).predicate_groups()
    expected = slow_groups(labels, NUM_PREDICATES)
    assert {name: members.tolist() for name, members in groups.items()} == {
        name: sorted(members) for name, members in expected.items()
    }


def test_vrd_has_the_known_number_of_zero_shot_relationships(dev_data: Path) -> None:
    splits = {
        split: ground_truth_graphs(
            parse_vrd_annotations(dev_data / "vrd_official" / f"annotations_{split}.json"), 100, 70
        )
        for split in ("train", "test")
    }
    training = training_split(splits["train"].values(), 100, 70)
    assert training.predicate_counts.sum() == 30_355
    assert sum(int(training.is_zero_shot(truth).sum()) for truth in splits["test"].values()) == 1_169
