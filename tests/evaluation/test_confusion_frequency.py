"""The frequency of confusable cases in a data set, against a slow count and known numbers."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.data import parse_vrd_annotations
from reldn_d2.evaluation.graphs import GroundTruthGraph
from reldn_d2.evaluation.ground_truth import iterate_ground_truth
from reldn_d2.evaluation.protocols.confusion import confusion_frequency
from tests.builders.confusion_examples import APART, INSTANCE, NEIGHBOURS, ONE_GLASS, Example
from tests.references.confusion import slow_cases


def graph(boxes: list, classes: list, relations: list) -> GroundTruthGraph:
    return GroundTruthGraph(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(classes, dtype=np.int64),
        np.array(relations, dtype=np.int64).reshape(-1, 3),
    )


def of_example(example: Example) -> GroundTruthGraph:
    rows = [example.rows(triplet) for triplet in example.relations]
    return graph([e.box for e in example.entities], [e.category for e in example.entities], rows)


def test_the_scenes_of_the_documentation() -> None:
    found = confusion_frequency(map(of_example, [INSTANCE, NEIGHBOURS, APART, ONE_GLASS]))
    assert found.relationships.tolist() == [1, 2, 2, 1]
    assert {kind: counts.tolist() for kind, counts in found.cases.items()} == {
        "instance": [1, 2, 2, 0],
        "proximity": [0, 2, 0, 0],
    }
    assert found.confusable_images == 3


def test_repeats_count_once() -> None:
    truth = of_example(INSTANCE)
    twice = GroundTruthGraph(truth.boxes, truth.classes, np.repeat(truth.relations, 2, axis=0))
    assert confusion_frequency([twice]).relationships.tolist() == [1]


def test_no_image_and_no_relationship() -> None:
    assert confusion_frequency([]).confusable_images == 0
    found = confusion_frequency([graph([], [], [])])
    assert (found.relationships.tolist(), found.confusable_images) == ([0], 0)


SIDES = st.tuples(st.integers(0, 4), st.integers(1, 3))
BOX = st.tuples(SIDES, SIDES).map(lambda s: (s[0][0], s[1][0], s[0][0] + s[0][1], s[1][0] + s[1][1]))


@st.composite
def images(draw: st.DrawFn) -> tuple[list, list, list]:
    boxes = draw(st.lists(BOX, max_size=5))
    classes = draw(st.lists(st.integers(0, 1), min_size=len(boxes), max_size=len(boxes)))
    end = st.integers(0, max(len(boxes) - 1, 0))
    relations = draw(st.lists(st.tuples(end, end, st.integers(0, 1)), max_size=5)) if boxes else []
    return boxes, classes, relations


@given(st.lists(images(), max_size=3))
def test_counts_are_those_of_a_slow_count(given_images: list[tuple[list, list, list]]) -> None:
    found = confusion_frequency(graph(*one) for one in given_images)
    slow = [slow_cases(boxes, classes, {*relations}) for boxes, classes, relations in given_images]
    for kind, counts in found.cases.items():
        assert counts.tolist() == [len(cases[kind]) for cases in slow]
    assert found.relationships.tolist() == [len({*relations}) for _, _, relations in given_images]
    assert found.confusable_images == sum(any(cases.values()) for cases in slow)


def test_the_known_numbers_of_vrd(dev_data: Path) -> None:
    dataset_dicts = parse_vrd_annotations(dev_data / "vrd_official" / "annotations_test.json")
    found = confusion_frequency(truth for _, truth in iterate_ground_truth(dataset_dicts, 100, 70))
    numbers = {kind: (counts.sum(), (counts > 0).sum()) for kind, counts in found.cases.items()}
    assert numbers == {"instance": (3476, 544), "proximity": (1547, 385)}
    # 7,638 without 160 repeats
    assert found.relationships.sum() == 7478
