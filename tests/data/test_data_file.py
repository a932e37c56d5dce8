"""`--data party.yaml`: the splits of own data, and what is said about mistakes in such a file."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data import read_data_file, register_data_file
from tests.builders.own_data import small_party, write_data_file

PAIR = "{annotations: train.json, images: images}"


def test_splits_become_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_party(tmp_path / "own", things=3, predicates=2)
    monkeypatch.chdir(tmp_path)
    data = register_data_file("own/party.yaml")
    assert (data.train, data.test) == ("party_train", "party_test")
    assert data.thing_classes == ("person", "cup", "thing 2")
    assert data.predicate_classes == ("holds", "predicate 1")
    monkeypatch.chdir("/")
    images = DatasetCatalog.get("party_test")
    assert len(images) == 3 and all(Path(image["file_name"]).is_file() for image in images)
    assert MetadataCatalog.get("party_test").train_dataset == "party_train"
    assert MetadataCatalog.get("party_train").get("train_dataset") is None
    assert register_data_file(path).names == data.names, "a second time changes nothing"


def test_class_names_are_known_before_a_data_set_is_loaded(tmp_path: Path) -> None:
    register_data_file(small_party(tmp_path))
    assert MetadataCatalog.get("party_test").thing_classes == ["person", "cup"]


@pytest.mark.parametrize(
    ("splits", "train", "test"),
    [
        ({"val": "test", "train": "train"}, "party_train", "party_val"),
        ({"test": "test"}, None, "party_test"),
        ({"train": "train"}, "party_train", None),
    ],
)
def test_splits_may_be_left_out(
    splits: dict[str, str], train: str | None, test: str | None, tmp_path: Path
) -> None:
    small_party(tmp_path)
    files = {name: {"annotations": f"{file}.json", "images": "images"} for name, file in splits.items()}
    data = register_data_file(write_data_file(tmp_path, **files))
    assert (data.train, data.test) == (train, test)
    if test and not train:
        assert MetadataCatalog.get(test).get("train_dataset") is None


def test_paths_may_be_absolute(tmp_path: Path) -> None:
    small_party(tmp_path / "a")
    files = {"annotations": str(tmp_path / "a" / "train.json"), "images": str(tmp_path / "a" / "images")}
    split = read_data_file(write_data_file(tmp_path, train=files))["train"]
    assert os.fspath(split.annotations) == files["annotations"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no split"),
        ("[]", "names no split"),
        ("train: [", "can't be read as YAML: .*line 1"),
        ("train: !!python/object/apply:os.getcwd []", r"line 1: the tag !!python/\S+ is refused"),
        ("trian: {}", r"the file has the unknown key 'trian'\. Did you mean 'train'"),
        ("photos: {}", r"unknown key 'photos'\. The keys are train, val, test"),
        ("train: train.json", "'train' is 'train.json', not a pair"),
        ("train: {annotation: a}", r"'train' has the unknown key 'annotation'\. Did you mean 'annotations'"),
        ("train: {annotations: train.json}", "'train' lacks 'images'"),
        ("train: {annotations: 3, images: images}", "'annotations' of 'train' is 3"),
        ("train: {annotations: train.json, images: ''}", "'images' of 'train' is ''"),
        ("train: {images: images, images: x}", "the key 'images' occurs twice"),
        ("train: {annotations: no.json, images: x}", r"'annotations' of 'train': .*no file \S+no.json"),
        ("train: {annotations: train.json, images: gone}", r"'images' of 'train': .*no folder \S+gone\."),
        (f"train: {PAIR}\ntest: {PAIR}", "'train' and 'test' have the same annotations"),
    ],
)  # fmt: skip
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    small_party(tmp_path)
    path = tmp_path / "party.yaml"
    path.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        register_data_file(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert "party_train" not in DatasetCatalog


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data file \S+/no.yaml does not exist: correct --data"):
        read_data_file(tmp_path / "no.yaml")


def reordered(names: list[dict[str, object]]) -> None:
    names[0]["name"], names[1]["name"] = names[1]["name"], names[0]["name"]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("categories", lambda x: x.append({"id": 9, "name": "hat"}), ".*number 3, None and 'hat'"),
        ("categories", reordered, "has 2 .* has 2; .*number 1, 'person' and 'cup'"),
        ("predicates", lambda x: x[0].update(name="held"), "has 1 .*number 1, 'holds' and 'held'"),
    ],
)  # fmt: skip
def test_class_lists_that_differ_are_an_error(
    kind: str, change: Callable[[list[dict[str, object]]], None], message: str, tmp_path: Path
) -> None:
    path = small_party(tmp_path)
    content = json.loads((tmp_path / "test.json").read_text())
    change(content[kind])
    (tmp_path / "test.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: 'train' {message}"):
        register_data_file(path)
    assert "party_train" not in DatasetCatalog


def test_another_file_of_the_same_name_is_an_error(tmp_path: Path) -> None:
    register_data_file(small_party(tmp_path / "a"))
    with pytest.raises(ValueError, match=r"/b/party.yaml: .*party_train and party_test .*Rename the file"):
        register_data_file(small_party(tmp_path / "b"))
    (tmp_path / "a" / "party.yaml").rename(tmp_path / "a" / "reldn_scenes.yaml")
    with pytest.raises(ValueError, match="reldn_scenes_train and reldn_scenes_test"):
        register_data_file(tmp_path / "a" / "reldn_scenes.yaml")


def test_changed_classes_are_noticed(tmp_path: Path) -> None:
    register_data_file(small_party(tmp_path))
    small_party(tmp_path, things=3)
    with pytest.raises(ValueError, match=r"party_train.* is registered already, with other thing_classes"):
        register_data_file(tmp_path / "party.yaml")
