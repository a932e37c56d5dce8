import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

from reldn_d2.data import RelationDatasetMapper, load_vrd, register_vrd
from reldn_d2.data.datasets.vrd import OBJECT_CLASSES, PREDICATE_CLASSES
from tests.builders.vrd_records import CUP, PERSON, end, relationship

WIDTH, HEIGHT = 40, 30


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, {"a.jpg": [relationship(PERSON, CUP)], "b.jpg": []})
    (tmp_path / "json_dataset" / "objects.json").write_text(json.dumps(OBJECT_CLASSES))
    (tmp_path / "json_dataset" / "predicates.json").write_text(json.dumps(PREDICATE_CLASSES))
    folder = tmp_path / "sg_dataset" / "sg_train_images"
    folder.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    return tmp_path


def write(root: Path, annotations: dict[str, Any]) -> None:
    path = root / "json_dataset" / "annotations_train.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(annotations))


def images(root: Path) -> Path:
    return root / "sg_dataset" / "sg_train_images"


def test_the_dataset_dicts_of_a_small_set(root: Path) -> None:
    first, second = load_vrd(root, "train")
    assert first["file_name"] == str(images(root) / "a.jpg")
    assert (first["width"], first["height"], first["image_id"]) == (WIDTH, HEIGHT, "a.jpg")
    assert first["annotations"] == [
        {"bbox": [5, 2, 15, 20], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0},
        {"bbox": [14, 8, 18, 12], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 52, "iscrowd": 0},
    ]
    assert first["relations"].tolist() == [[0, 1, 3]]
    assert second["annotations"] == []
    assert second["relations"].shape == (0, 3)
    assert second["relations"].dtype == np.int64


def test_boxes_are_fitted_to_the_image_and_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    sticking_out = end(0, 2, HEIGHT + 3, -2, WIDTH + 1)
    beyond = end(1, HEIGHT + 2, HEIGHT + 9, 5, 10)
    one_pixel = end(2, 7, 7, WIDTH, WIDTH)
    records = [relationship(sticking_out, beyond), relationship(one_pixel, beyond)]
    write(root, {"a.jpg": records, "b.jpg": [relationship(PERSON, CUP)]})
    with caplog.at_level(logging.WARNING):
        first, second = load_vrd(root, "train")
    assert first["changed_boxes"].tolist() == [0, 1, 2] and "changed_boxes" not in second
    assert [a["bbox"] for a in first["annotations"]] == [
        [0, 2, WIDTH, HEIGHT],
        [5, HEIGHT - 1, 10, HEIGHT],
        [WIDTH - 1, 7, WIDTH, 8],
    ]
    assert len(first["relations"]) == 2
    (message,) = caplog.messages
    assert "2 boxes that stick out of their image were clipped, and 2 boxes of less than one pixel" in message
    assert "a.jpg" in message


def test_the_boxes_of_a_valid_set_are_not_changed(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = end(0, 1, HEIGHT, 1, WIDTH)
    write(root, {"a.jpg": [relationship(whole, CUP)]})
    with caplog.at_level(logging.WARNING):
        (image,) = load_vrd(root, "train")
    assert image["annotations"][0]["bbox"] == [1, 1, WIDTH, HEIGHT]
    assert not caplog.messages


def test_sizes_are_those_of_the_upright_image(root: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(images(root) / "a.jpg", exif=exif)
    first, second = load_vrd(root, "train")
    assert (first["width"], first["height"]) == (HEIGHT, WIDTH)
    assert (second["width"], second["height"]) == (WIDTH, HEIGHT)
    mapper = RelationDatasetMapper(False, augmentations=[], image_format="BGR")
    assert mapper(first)["image"].shape == (3, WIDTH, HEIGHT)


@pytest.mark.parametrize(("kind", "mode"), [("GIF", "P"), ("PNG", "RGBA"), ("BMP", "RGB"), ("PNG", "L")])
@pytest.mark.parametrize("ending", [".jpg", None])
def test_images_are_read_by_content(root: Path, kind: str, mode: str, ending: str | None) -> None:
    (images(root) / "a.jpg").unlink()
    name = "a" + (ending or f".{kind.lower()}")
    Image.new("RGB", (WIDTH, HEIGHT), (250, 10, 10)).convert(mode).save(images(root) / name, format=kind)
    first, _ = load_vrd(root, "train")
    assert first["file_name"] == str(images(root) / name)
    assert first["image_id"] == "a.jpg"
    output = RelationDatasetMapper(False, augmentations=[], image_format="BGR")(first)
    assert output["image"].shape == (3, HEIGHT, WIDTH)
    if mode != "L":
        np.testing.assert_allclose(output["image"][:, 0, 0].numpy(), [10, 10, 250], atol=10)


def test_a_missing_image_is_named(root: Path) -> None:
    (images(root) / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"annotations_train\.json: image 'b\.jpg': .*no such file"):
        load_vrd(root, "train")


def test_a_missing_image_folder_is_named(root: Path) -> None:
    images(root).rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match="sg_train_images has no such file"):
        load_vrd(root, "train")


def test_an_ambiguous_image_is_named(root: Path) -> None:
    for name in ("b.png", "b.gif"):
        (images(root) / "b.jpg").with_name(name).write_bytes(b"")
    (images(root) / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"several files of that name: \['b\.gif', 'b\.png'\]"):
        load_vrd(root, "train")


def test_a_file_that_is_no_image_is_named(root: Path) -> None:
    (images(root) / "b.jpg").write_text("<html>")
    with pytest.raises(ValueError, match=r"b\.jpg cannot be read"):
        load_vrd(root, "train")


@pytest.mark.parametrize("file_name", ["objects.json", "predicates.json", "annotations_train.json"])
def test_a_missing_annotation_file_is_named(root: Path, file_name: str) -> None:
    (root / "json_dataset" / file_name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file_name} does not exist.*DETECTRON2_DATASETS"):
        load_vrd(root, "train")


@pytest.mark.parametrize("file_name", ["objects.json", "predicates.json"])
def test_other_class_lists_are_refused(root: Path, file_name: str) -> None:
    path = root / "json_dataset" / file_name
    path.write_text(json.dumps(sorted(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=f"{file_name}: the file: it is not VRD's list"):
        load_vrd(root, "train")


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(ValueError, match="not 'val'"):
        load_vrd("anywhere", "val")
    with pytest.raises(ValueError, match="not 'val'"):
        register_vrd("unused_name", "anywhere", "val")
    assert "unused_name" not in DatasetCatalog


def test_registration_is_lazy_and_its_metadata_constant(root: Path) -> None:
    name = "test_vrd_registration"
    try:
        register_vrd(name, root / "not yet there", "train")
        metadata = MetadataCatalog.get(name)
        assert (metadata.thing_classes[0], len(metadata.thing_classes)) == ("person", 100)
        assert (metadata.predicate_classes[-1], len(metadata.predicate_classes)) == ("skate on", 70)
        assert metadata.evaluator_type == "relation"
        assert "train_dataset" not in metadata.as_dict()
        root.rename(root.with_name("moved"))
        root.mkdir()
        root.with_name("moved").rename(root / "not yet there")
        assert len(DatasetCatalog.get(name)) == 2
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_the_training_split_can_be_named() -> None:
    name = "test_vrd_registration"
    try:
        register_vrd(name, "anywhere", "test", "vrd_own_train")
        assert MetadataCatalog.get(name).train_dataset == "vrd_own_train"
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("counts", [None, {"images": 2, "relationships": 1}])
def test_the_official_counts_are_metadata_if_given(counts: dict[str, int] | None) -> None:
    name = "test_vrd_registration"
    try:
        register_vrd(name, "anywhere", "test", expected_counts=counts)
        assert MetadataCatalog.get(name).get("expected_counts") == counts
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_the_class_names_are_those_of_the_official_files(dev_data: Path) -> None:
    for file_name, names in (("objects.json", OBJECT_CLASSES), ("predicates.json", PREDICATE_CLASSES)):
        assert json.loads((dev_data / "vrd_official" / file_name).read_text()) == list(names)


@pytest.mark.parametrize(("split", "size", "relationships"), [("train", 640, 4858), ("test", 160, 1291)])
def test_real_photos_load_with_every_box_as_given(
    dev_data: Path, caplog: pytest.LogCaptureFixture, split: str, size: int, relationships: int
) -> None:
    with caplog.at_level(logging.WARNING):
        data = load_vrd(dev_data / "vrd_mini", split)
    assert len(data) == size
    assert sum(len(d["relations"]) for d in data) == relationships
    assert not caplog.messages
    mapper = RelationDatasetMapper(False, augmentations=[], image_format="BGR")
    assert len(mapper(data[0])["instances"]) == len(data[0]["annotations"])
