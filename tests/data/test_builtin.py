import logging
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data import register_all
from reldn_d2.data.registration import datasets_root
from reldn_d2.data.synthetic import BUILTIN_DATASETS

VRD = ["reldn_vrd_train", "reldn_vrd_test", "reldn_vrd_mini_train", "reldn_vrd_mini_test"]
VG150 = ["reldn_vg150_train", "reldn_vg150_val", "reldn_vg150_trainval", "reldn_vg150_test"]
OPENIMAGES = [
    f"reldn_openimages_vrd_{subset}{split}" for subset in ("", "mini_") for split in ("train", "val")
]


def test_importing_registers_every_builtin_set_with_metadata() -> None:
    for names, classes, predicates in (
        (VRD, 100, 70),
        (VG150, 150, 50),
        (OPENIMAGES, 57, 9),
        (BUILTIN_DATASETS, 6, 7),
    ):
        for name in names:
            assert name in DatasetCatalog
            metadata = MetadataCatalog.get(name)
            assert metadata.evaluator_type == "relation"
            assert len(metadata.thing_classes) == classes
            assert len(metadata.predicate_classes) == predicates


@pytest.mark.parametrize("name", OPENIMAGES)
def test_submissions_to_the_challenge_have_its_labels(name: str) -> None:
    metadata = MetadataCatalog.get(name)
    assert metadata.class_labels[metadata.thing_classes.index("Man")] == "/m/04yx4"
    assert metadata.predicate_labels[metadata.predicate_classes.index("inside of")] == "inside_of"


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("reldn_vrd_train", 4000),
        ("reldn_vrd_test", 1000),
        ("reldn_vg150_train", 57723),
        ("reldn_vg150_val", 5000),
        ("reldn_vg150_trainval", 62723),
        ("reldn_vg150_test", 26446),
        ("reldn_openimages_vrd_train", 53953),
        ("reldn_openimages_vrd_val", 3234),
        ("reldn_openimages_vrd_mini_train", 4500),
        ("reldn_openimages_vrd_mini_val", 1000),
    ],
)
def test_the_official_numbers_are_known(name: str, images: int) -> None:
    assert MetadataCatalog.get(name).expected_counts["images"] == images
    assert "expected_counts" not in MetadataCatalog.get("reldn_vrd_mini_train").as_dict()


@pytest.mark.parametrize(
    ("test", "train"),
    [
        *(
            (f"reldn_{name}_test", f"reldn_{name}_train")
            for name in ("vrd", "vrd_mini", "scenes", "scenes_tiny")
        ),
        ("reldn_vg150_test", "reldn_vg150_trainval"),
        ("reldn_vg150_val", "reldn_vg150_train"),
        ("reldn_openimages_vrd_val", "reldn_openimages_vrd_train"),
        ("reldn_openimages_vrd_mini_val", "reldn_openimages_vrd_mini_train"),
    ],
)
def test_a_test_split_names_its_training_split(test: str, train: str) -> None:
    assert MetadataCatalog.get(test).train_dataset == train
    assert train in DatasetCatalog
    assert "train_dataset" not in MetadataCatalog.get(train).as_dict()


def test_registering_again_leaves_all_names_alone(caplog: pytest.LogCaptureFixture) -> None:
    before = dict(DatasetCatalog)
    with caplog.at_level(logging.DEBUG):
        register_all("elsewhere")
    assert dict(DatasetCatalog) == before
    assert any("reldn_vrd_mini_test is registered already" in message for message in caplog.messages)


def test_names_of_other_projects_stay_and_the_rest_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def theirs() -> list[str]:
        return ["theirs"]

    # patch the inner dicts: get() of the catalogs takes no default, which monkeypatch needs
    monkeypatch.setitem(DatasetCatalog.data, "reldn_vrd_train", theirs)
    for catalog in (DatasetCatalog, MetadataCatalog):
        monkeypatch.delitem(catalog.data, "reldn_vrd_test")
    register_all(str(tmp_path))
    assert DatasetCatalog.get("reldn_vrd_train") == ["theirs"]
    folder = str(tmp_path / "vrd" / "sg_dataset" / "sg_test_images")
    assert MetadataCatalog.get("reldn_vrd_test").image_root == folder
    assert MetadataCatalog.get("reldn_vrd_test").train_dataset == "reldn_vrd_train"
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        DatasetCatalog.get("reldn_vrd_test")


def test_a_name_that_has_somebody_elses_metadata_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for catalog in (DatasetCatalog, MetadataCatalog):
        monkeypatch.delitem(catalog.data, "reldn_vg150_train")
    MetadataCatalog.get("reldn_vg150_train").set(thing_classes=["theirs"])
    register_all(str(tmp_path))
    assert "reldn_vg150_train" not in DatasetCatalog
    assert MetadataCatalog.get("reldn_vg150_train").as_dict() == {
        "name": "reldn_vg150_train",
        "thing_classes": ["theirs"],
    }


def test_the_root_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/sets")
    assert datasets_root() == str(Path.home() / "sets")
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert datasets_root() == "datasets"
