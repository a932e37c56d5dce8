from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.data import parse_vrd_annotations
from reldn_d2.data.statistics import zero_shot_triplets
from tests.builders.dataset_images import CLASSES, PREDICATES, compact, image, images
from tests.references.statistics import slow_labels

TRAIN, TEST = "test_zero_shot_train", "test_zero_shot_test"
THINGS = ["cat", "dog", "man"]
NAMES = {"thing_classes": THINGS, "predicate_classes": ["on", "by"]}
BOXES = [(0, 0, 4, 4)] * 3
READ: list[str] = []


def remove() -> None:
    READ.clear()
    for name in (TRAIN, TEST):
        for catalog in (DatasetCatalog, MetadataCatalog):
            if name in catalog.list():
                catalog.remove(name)


@pytest.fixture(autouse=True)
def clean_up() -> Iterator[None]:
    yield
    remove()


def register(name: str, load: Callable[[], list[dict[str, Any]]], **metadata: Any) -> None:
    def read() -> list[dict[str, Any]]:
        READ.append(name)
        return load()

    DatasetCatalog.register(name, read)
    MetadataCatalog.get(name).set(**metadata)


def register_both(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> None:
    register(TRAIN, lambda: train, **NAMES)
    register(TEST, lambda: test, train_dataset=TRAIN, **NAMES)


def test_a_worked_example() -> None:
    train = [image(BOXES, [0, 1, 2], [(0, 1, 0)]), image(BOXES[:2], [2, 0], [(0, 1, 1)])]
    # repeated labels, also of other entities; known labels in reverse, with another class, and with another
    # predicate
    rows = [(2, 1, 0), (1, 0, 0), (0, 1, 0), (1, 0, 0), (0, 1, 1), (2, 0, 1), (0, 0, 0)]
    test = [image(BOXES, [0, 1, 2], rows), image(BOXES[:2], [1, 0], [(0, 1, 0)]), image([], [], [])]
    register_both([compact(one) for one in train], [compact(one) for one in test])
    found = zero_shot_triplets(TEST)
    assert found.tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 0], [2, 1, 0]]
    assert found.dtype == np.int64


@given(st.lists(images(), max_size=3), st.lists(images(), max_size=3))
def test_equals_the_definition(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> None:
    assert (CLASSES, PREDICATES) == (3, 2)
    register_both(train, test)
    try:
        found = zero_shot_triplets(TEST)
        assert [tuple(row) for row in found.tolist()] == sorted(slow_labels(test) - slow_labels(train))
        assert found.shape[1:] == (3,)
    finally:
        remove()


def test_both_data_sets_are_read_once_and_the_metadata_keep_a_list() -> None:
    register_both([], [image(BOXES, [0, 1, 2], [(0, 1, 0)])])
    first = zero_shot_triplets(TEST)
    assert sorted(READ) == [TEST, TRAIN]
    assert MetadataCatalog.get(TEST).zero_shot_triplets == [[0, 1, 0]]
    first[:] = 9
    assert zero_shot_triplets(TEST).tolist() == [[0, 1, 0]]
    assert len(READ) == 2
    assert "zero_shot_triplets" not in MetadataCatalog.get(TRAIN).as_dict()


def test_a_list_in_the_metadata_is_used_as_it_is() -> None:
    register(TEST, lambda: [], zero_shot_triplets=[(2, 0, 1)], **NAMES)
    assert zero_shot_triplets(TEST).tolist() == [[2, 0, 1]]
    assert not READ


def test_an_empty_list_of_unseen_triplets_is_kept_too() -> None:
    data = [image(BOXES, [0, 1, 2], [(0, 1, 0)])]
    register_both(data, data)
    for _ in range(2):
        assert zero_shot_triplets(TEST).shape == (0, 3)
    assert len(READ) == 2


def test_class_names_may_come_with_the_file() -> None:
    """The loader may read the names from the file, as it does for a COCO file."""

    def loader(name: str, data: list[dict[str, Any]]) -> Callable[[], list[dict[str, Any]]]:
        def load() -> list[dict[str, Any]]:
            MetadataCatalog.get(name).set(**NAMES)
            return data

        return load

    register(TRAIN, loader(TRAIN, []))
    register(TEST, loader(TEST, [image(BOXES, [0, 1, 2], [(0, 1, 0)])]), train_dataset=TRAIN)
    assert zero_shot_triplets(TEST).tolist() == [[0, 1, 0]]


def test_a_data_set_without_training_split_is_refused() -> None:
    register(TEST, lambda: [], **NAMES)
    with pytest.raises(ValueError, match=f"'{TEST}' name no training split.*train_dataset"):
        zero_shot_triplets(TEST)
    assert not READ


@pytest.mark.parametrize("other", [{"thing_classes": THINGS[::-1]}, {"predicate_classes": ["on", "under"]}])
def test_a_training_split_with_other_names_is_refused(other: dict[str, list[str]]) -> None:
    register(TRAIN, lambda: [], **{**NAMES, **other})
    register(TEST, lambda: [], train_dataset=TRAIN, **NAMES)
    with pytest.raises(ValueError, match=f"'{TRAIN}' is not a training split of '{TEST}'"):
        zero_shot_triplets(TEST)
    assert "zero_shot_triplets" not in MetadataCatalog.get(TEST).as_dict()


@pytest.mark.parametrize("broken", [TRAIN, TEST])
def test_a_label_without_name_is_named(broken: str) -> None:
    sound, wrong = [image(BOXES, [0, 1, 2], [(0, 1, 0)])], [image(BOXES, [0, 1, 2], [(0, 1, 2)], 7)]
    register_both(*((wrong if name == broken else sound) for name in (TRAIN, TEST)))
    with pytest.raises(ValueError, match=r"image 7 .*predicate 2, outside \[0, 2\)"):
        zero_shot_triplets(TEST)


def test_an_unregistered_name_is_an_error() -> None:
    register(TEST, lambda: [], train_dataset=TRAIN, **NAMES)
    with pytest.raises(KeyError, match=TRAIN):
        zero_shot_triplets(TEST)


def test_vrd_has_the_known_number_of_zero_shot_relationships(dev_data: Path) -> None:
    splits = {
        name: parse_vrd_annotations(dev_data / "vrd_official" / f"annotations_{split}.json")
        for name, split in ((TRAIN, "train"), (TEST, "test"))
    }
    names = {key: MetadataCatalog.get("reldn_vrd_test").get(key) for key in NAMES}
    register(TRAIN, lambda: splits[TRAIN], **names)
    register(TEST, lambda: splits[TEST], train_dataset=TRAIN, **names)
    unseen = set(map(tuple, zero_shot_triplets(TEST).tolist()))
    assert unseen == slow_labels(splits[TEST]) - slow_labels(splits[TRAIN])
    relationships = 0
    for one in splits[TEST]:
        classes = [a["category_id"] for a in one["annotations"]]
        relationships += sum((classes[s], classes[o], p) in unseen for s, o, p in one["relations"].tolist())
    assert relationships == 1_169
