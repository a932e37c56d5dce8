from collections.abc import Iterator
from typing import Any

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data.registration import register_relation_dataset

NAME = "test_registration"
CALLS: list[dict[str, Any]] = []


@pytest.fixture(autouse=True)
def clean_up() -> Iterator[None]:
    CALLS.clear()
    yield
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog.list():
            catalog.remove(NAME)


def load_nothing(**arguments: Any) -> list[dict[str, Any]]:
    CALLS.append(arguments)
    return []


def load_something(**arguments: Any) -> list[dict[str, Any]]:
    return [arguments]


def test_files_are_read_when_the_data_set_is_loaded() -> None:
    register_relation_dataset(NAME, load_nothing, {"root": "a", "split": "train"})
    assert not CALLS
    assert DatasetCatalog.get(NAME) == []
    assert CALLS == [{"root": "a", "split": "train"}]


def test_the_metadata_is_complete() -> None:
    register_relation_dataset(
        NAME,
        load_nothing,
        {"root": "a"},
        thing_classes=("cat", "dog"),
        predicate_classes=("near",),
        train_dataset="t",
        image_root="b",
    )
    metadata = MetadataCatalog.get(NAME).as_dict()
    assert metadata == {
        "name": NAME,
        "evaluator_type": "relation",
        "thing_classes": ["cat", "dog"],
        "predicate_classes": ["near"],
        "train_dataset": "t",
        "image_root": "b",
        "loaded_by": {"loader": "load_nothing", "root": "a"},
    }


def test_classes_that_are_not_known_yet_are_not_in_the_metadata() -> None:
    register_relation_dataset(NAME, load_nothing, {})
    assert (
        not {"thing_classes", "predicate_classes", "train_dataset"}
        & MetadataCatalog.get(NAME).as_dict().keys()
    )


def test_registering_the_same_again_changes_nothing() -> None:
    register_relation_dataset(NAME, load_nothing, {"root": "a"}, thing_classes=["cat"])
    before = MetadataCatalog.get(NAME).as_dict().copy()
    register_relation_dataset(NAME, load_nothing, {"root": "a"}, thing_classes=["cat"])
    assert MetadataCatalog.get(NAME).as_dict() == before


@pytest.mark.parametrize(("load", "root"), [(load_nothing, "b"), (load_something, "a")])
def test_another_data_set_of_the_name_is_refused_and_the_first_stays(load: Any, root: str) -> None:
    register_relation_dataset(NAME, load_nothing, {"root": "a"})
    with pytest.raises(ValueError, match=rf"'{NAME}' is registered already, .*remove\('{NAME}'\)"):
        register_relation_dataset(NAME, load, {"root": root})
    assert DatasetCatalog.get(NAME) == []
    assert CALLS == [{"root": "a"}]


@pytest.mark.parametrize(
    "metadata", [{"train_dataset": "t"}, {"thing_classes": ["cat"]}, {"image_root": "b"}]
)
def test_the_same_data_with_other_metadata_are_refused(metadata: dict[str, Any]) -> None:
    register_relation_dataset(NAME, load_nothing, {"root": "a"}, thing_classes=["dog"], image_root="a")
    with pytest.raises(
        ValueError, match=f"'{NAME}' is registered already, with other {next(iter(metadata))}"
    ):
        register_relation_dataset(NAME, load_nothing, {"root": "a"}, **metadata)


def test_a_name_of_another_project_is_refused() -> None:
    DatasetCatalog.register(NAME, lambda: ["theirs"])
    with pytest.raises(ValueError, match="another project"):
        register_relation_dataset(NAME, load_nothing, {"root": "a"})
    assert DatasetCatalog.get(NAME) == ["theirs"]
    assert MetadataCatalog.get(NAME).as_dict() == {"name": NAME}


def test_a_name_with_other_metadata_is_not_taken() -> None:
    MetadataCatalog.get(NAME).set(thing_classes=["theirs"])
    with pytest.raises(AssertionError, match="thing_classes"):
        register_relation_dataset(NAME, load_nothing, {}, thing_classes=["ours"])
    assert NAME not in DatasetCatalog
