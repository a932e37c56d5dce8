import logging
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data import register_all
from reldn_d2.data.registration import datasets_root
from reldn_d2.data.synthetic import BUILTIN_DATASETS

VRD = ["vrd_train", "vrd_test", "vrd_mini_train", "vrd_mini_test"]


def test_importing_registers_every_builtin_set_with_metadata() -> None:
    for name in [*VRD, *BUILTIN_DATASETS]:
        assert name in DatasetCatalog
        metadata = MetadataCatalog.get(name)
        assert metadata.evaluator_type == "relation"
        assert metadata.thing_classes
        assert metadata.predicate_classes


@pytest.mark.parametrize("name", ["vrd", "vrd_mini", "scenes", "scenes_tiny"])
def test_a_test_split_names_its_training_split(name: str) -> None:
    assert MetadataCatalog.get(f"{name}_test").train_dataset == f"{name}_train"
    assert f"{name}_train" in DatasetCatalog
    assert "train_dataset" not in MetadataCatalog.get(f"{name}_train").as_dict()


def test_registering_again_leaves_all_names_alone(caplog: pytest.LogCaptureFixture) -> None:
    before = dict(DatasetCatalog)
    with caplog.at_level(logging.DEBUG):
        register_all("elsewhere")
    assert dict(DatasetCatalog) == before
    assert any("vrd_mini_test is registered already" in message for message in caplog.messages)


def test_names_of_other_projects_stay_and_the_rest_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def theirs() -> list[str]:
        return ["theirs"]

    # the dicts inside, because get() of the catalogs takes no default and monkeypatch needs one
    monkeypatch.setitem(DatasetCatalog.data, "vrd_train", theirs)
    for catalog in (DatasetCatalog, MetadataCatalog):
        monkeypatch.delitem(catalog.data, "vrd_test")
    register_all(str(tmp_path))
    assert DatasetCatalog.get("vrd_train") == ["theirs"]
    folder = str(tmp_path / "vrd" / "sg_dataset" / "sg_test_images")
    assert MetadataCatalog.get("vrd_test").image_root == folder
    assert MetadataCatalog.get("vrd_test").train_dataset == "vrd_train"
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        DatasetCatalog.get("vrd_test")


def test_the_root_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/sets")
    assert datasets_root() == str(Path.home() / "sets")
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert datasets_root() == "datasets"
