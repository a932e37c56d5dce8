"""Zero-shot recall from the metadata's list of unseen label triplets, without the training split."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation import DatasetScorer, training_split
from reldn_d2.evaluation.training_split import unseen_triplets
from tests.builders.evaluation_scenes import (
    NUM_CLASSES,
    NUM_PREDICATES,
    Scene,
    predicted_graph,
    scenes,
    truth_graph,
)
from tests.builders.registered_scenes import PREDICATES, RECORDS, A, B, register

NAME, TRAIN = "zero_shot_metadata_test", "zero_shot_metadata_train"
SEEN = {**RECORDS[0], "relations": np.array([[0, 1, 0]])}  # cat on dog
UNSEEN = [[0, 1, 1], [1, 0, 0]]  # cat by dog of image 1, dog on cat of image 2
PREDICTIONS = {
    "1": predicted_graph([A, B], [0, 1], [(0, 1, 1, 0.9, 1), (0, 1, 0, 0.8, 2)]),
    "2": predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)]),
    "3": predicted_graph([], [], []),
}


@pytest.fixture(autouse=True)
def clean_up() -> Iterator[None]:
    yield
    for name in (NAME, TRAIN):
        for catalog in (DatasetCatalog, MetadataCatalog):
            if name in catalog.list():
                catalog.remove(name)


def register_lost_training_split() -> None:
    def not_there() -> None:
        raise FileNotFoundError("train.json")

    DatasetCatalog.register(TRAIN, not_there)
    MetadataCatalog.get(TRAIN).set(thing_classes=["cat", "dog"], predicate_classes=PREDICATES)


def score(train_dataset: str | None = None, **metadata: Any) -> dict[str, float]:
    register(NAME, RECORDS, **metadata)
    scorer = DatasetScorer(NAME, "sgdet", ["motifs", "vrd2016"], train_dataset=train_dataset)
    results = scorer.score(PREDICTIONS)
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)
    return {f"{task}/{name}": value for task, metrics in results.items() for name, value in metrics.items()}


def test_the_list_alone_gives_the_same_recall_without_groups() -> None:
    register(TRAIN, [SEEN])
    full = score(train_dataset=TRAIN)
    listed = score(zero_shot_triplets=UNSEEN)
    assert listed == {name: value for name, value in full.items() if "mR_" not in name or "mR_all" in name}
    assert any("mR_head" in name or "mR_tail" in name for name in full)
    # the unseen relationship of image 1 is found, and that of image 2 is not
    assert listed["sgdet/motifs/zR@50"] == 50.0
    assert not any("zR" in name for name in score())


@pytest.mark.parametrize("triplets", [[], np.zeros((0, 3))])
def test_an_empty_list_says_that_everything_has_been_seen(triplets: Any) -> None:
    assert not any("zR" in name for name in score(zero_shot_triplets=triplets)), (
        "undefined numbers are left out"
    )


def test_a_training_split_that_can_be_loaded_is_used_instead_of_the_list() -> None:
    register(TRAIN, [SEEN])
    assert score(train_dataset=TRAIN, zero_shot_triplets=[]) == score(train_dataset=TRAIN)
    named = {"zero_shot_triplets": [[0, 0, 0]]}
    MetadataCatalog.get(NAME).set(train_dataset=TRAIN)
    assert score(**named)["sgdet/motifs/zR@50"] == 50.0


def test_the_list_replaces_a_training_split_that_cannot_be_loaded(caplog: pytest.LogCaptureFixture) -> None:
    register_lost_training_split()
    with caplog.at_level(logging.WARNING, logger="reldn_d2"):
        MetadataCatalog.get(NAME).set(train_dataset=TRAIN)
        assert score(zero_shot_triplets=UNSEEN)["sgdet/motifs/zR@50"] == 50.0
    assert f"No groups of predicates: {TRAIN} can't be read: train.json" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="reldn_d2"):
        MetadataCatalog.get(NAME).set(train_dataset=TRAIN)
        assert not any("zR" in name for name in score())
    assert (
        f"No zero-shot recall and no groups of predicates: {TRAIN} can't be read: train.json" in caplog.text
    )


def test_the_list_does_not_replace_a_training_split_that_was_asked_for() -> None:
    register_lost_training_split()
    with pytest.raises(FileNotFoundError, match=r"train\.json"):
        score(train_dataset=TRAIN, zero_shot_triplets=UNSEEN)


@pytest.mark.parametrize(
    ("triplets", "message"),
    [
        ([[0, 1]], r"must be rows of three integers, not int64 of shape \(1, 2\)"),
        ([0, 1, 0], "must be rows of three integers"),
        ([[0, 1, 0.5]], "must be rows of three integers, not float64"),
        ([[2, 0, 0]], r"range of \(subject class, object class, predicate\), \(2, 2, 3\)"),
        ([[0, 2, 0]], "range"),
        ([[0, 0, 0], [0, 1, 3]], "range"),
        ([[0, -1, 0]], "range"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_is_predicted(triplets: Any, message: str) -> None:
    register(NAME, RECORDS, zero_shot_triplets=triplets)
    with pytest.raises(ValueError, match=f"metadata zero_shot_triplets of '{NAME}': .*{message}"):
        DatasetScorer(NAME, "sgdet", ["motifs"])


@given(st.lists(scenes(), max_size=3), scenes())
def test_unseen_triplets_give_the_same_result_as_their_training_split(
    split: list[Scene], scene: Scene
) -> None:
    seen, asked = [
        {(one.truth.classes[s], one.truth.classes[o], p) for one in some for s, o, p in one.truth.relations}
        for some in (split, [scene])
    ]
    listed = unseen_triplets([tuple(map(int, row)) for row in asked - seen], NUM_CLASSES, NUM_PREDICATES)
    known = training_split([one.truth for one in split], NUM_CLASSES, NUM_PREDICATES)
    np.testing.assert_array_equal(listed.is_zero_shot(scene.truth), known.is_zero_shot(scene.truth))
    assert listed.is_zero_shot(truth_graph([], [], [])).shape == (0,)


def test_a_large_vocabulary_does_not_overflow_small_integers() -> None:
    # 2**15 * 2**16 * 2 is 0 in 32 bits
    listed = unseen_triplets(np.array([[2**15, 1, 0]], dtype=np.int32), 2**16, 2)
    assert listed.is_zero_shot(truth_graph([A, B], [2**15, 1], [(0, 1, 0)])).all()
    assert not listed.is_zero_shot(truth_graph([A, B], [0, 1], [(0, 1, 0)])).any()
