import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

from reldn_d2.data import RelationDatasetMapper, load_vrd, parse_vrd_annotations, register_vrd
from reldn_d2.data.datasets.vrd_classes import OBJECT_CLASSES, PREDICATE_CLASSES

WIDTH, HEIGHT = 40, 30


def end(category: Any, *box: Any) -> dict[str, Any]:
    return {"category": category, "bbox": list(box)}


def relationship(subject: Any, object: Any, predicate: Any = 3) -> dict[str, Any]:
    return {"subject": subject, "object": object, "predicate": predicate}


PERSON = end(0, 2, 20, 5, 15)
CUP = end(52, 8, 12, 14, 18)


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


def write(root: Path, annotations: Any) -> Path:
    path = root / "json_dataset" / "annotations_train.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(annotations if isinstance(annotations, str) else json.dumps(annotations))
    return path


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


def test_entities_are_distinct_boxes_with_a_class(tmp_path: Path) -> None:
    other_class = {**PERSON, "category": 1}
    records = [
        relationship(PERSON, CUP),
        relationship(other_class, PERSON, 4),
        relationship(CUP, CUP, 5),
        relationship(PERSON, CUP),
    ]
    (image,) = parse_vrd_annotations(write(tmp_path, {"a.jpg": records}))
    assert [a["category_id"] for a in image["annotations"]] == [0, 52, 1]
    assert image["annotations"][0]["bbox"] == image["annotations"][2]["bbox"]
    assert image["relations"].tolist() == [[0, 1, 3], [2, 0, 4], [1, 1, 5], [0, 1, 3]]


def test_boxes_are_fitted_to_the_image_and_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    sticking_out = end(0, 2, HEIGHT + 3, -2, WIDTH + 1)
    beyond = end(1, HEIGHT + 2, HEIGHT + 9, 5, 10)
    one_pixel = end(2, 7, 7, WIDTH, WIDTH)
    records = [relationship(sticking_out, beyond), relationship(one_pixel, beyond)]
    write(root, {"a.jpg": records, "b.jpg": [relationship(PERSON, CUP)]})
    with caplog.at_level(logging.WARNING):
        first, _ = load_vrd(root, "train")
    assert [a["bbox"] for a in first["annotations"]] == [
        [0, 2, WIDTH, HEIGHT],
        [5, HEIGHT - 1, 10, HEIGHT],
        [WIDTH - 1, 7, WIDTH, 8],
    ]
    assert len(first["relations"]) == 2
    (message,) = caplog.messages
    assert "2 boxes that stick out of their image were clipped, and 2 boxes of less than one pixel" in message
    assert "a.jpg" in message


def test_the_boxes_of_a_sound_set_are_not_touched(root: Path, caplog: pytest.LogCaptureFixture) -> None:
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
    with pytest.raises(
        FileNotFoundError, match=r"annotations_train\.json lists image 'b\.jpg'.*no such file"
    ):
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
    with pytest.raises(ValueError, match=f"{file_name} is not VRD's list"):
        load_vrd(root, "train")


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(ValueError, match="not 'val'"):
        load_vrd("anywhere", "val")
    with pytest.raises(ValueError, match="not 'val'"):
        register_vrd("unused_name", "anywhere", "val")
    assert "unused_name" not in DatasetCatalog


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ('{"a.jpg": [], "a.jpg": []}', "'a.jpg' occurs twice"),
        ([], "not an object of image names"),
        ({"a.jpg": {}}, "not a list of relationships"),
        ({"a.jpg": ["on"]}, "relationship 0: 'on' lacks subject"),
        ({"a.jpg": [{"subject": PERSON, "object": CUP}]}, "lacks subject, object or predicate"),
        ({"a.jpg": [relationship({"category": 0}, CUP)]}, "no box of four numbers"),
        ({"a.jpg": [relationship(end(0, 1, 2, 3), CUP)]}, "no box of four numbers"),
        ({"a.jpg": [relationship(end(0, 1, 2, 3, "x"), CUP)]}, "no box of four numbers"),
        ({"a.jpg": [relationship(PERSON, CUP), relationship(end(0, 9, 2, 3, 4), CUP)]}, "relationship 1"),
        ({"a.jpg": [relationship(end(0, 1, 2, 4, 3), CUP)]}, "not in the order"),
        ({"a.jpg": [relationship(end(0, 1, 2, 3, float("nan")), CUP)]}, "not finite"),
        ({"a.jpg": [relationship(end(0, float("-inf"), 2, 3, 4), CUP)]}, "not finite"),
        ({"a.jpg": [relationship(PERSON, end(100, 1, 2, 3, 4))]}, r"category 100 is not in \[0, 100\)"),
        ({"a.jpg": [relationship(PERSON, end("0", 1, 2, 3, 4))]}, "category '0'"),
        ({"a.jpg": [relationship(PERSON, CUP, 70)]}, r"predicate 70 is not in \[0, 70\)"),
        ({"a.jpg": [relationship(PERSON, CUP, -1)]}, "predicate -1"),
        ({"a.jpg": [relationship(PERSON, CUP, True)]}, "predicate True"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        parse_vrd_annotations(path)
    assert str(path) in str(error.value)
    if "a.jpg" in str(content):
        assert "a.jpg" in str(error.value)


def test_registration_is_lazy_and_its_metadata_constant(root: Path) -> None:
    name = "test_vrd_registration"
    try:
        register_vrd(name, root / "not yet there", "train")
        metadata = MetadataCatalog.get(name)
        assert (metadata.thing_classes[0], len(metadata.thing_classes)) == ("person", 100)
        assert (metadata.predicate_classes[-1], len(metadata.predicate_classes)) == ("skate on", 70)
        assert metadata.evaluator_type == "relation"
        root.rename(root.with_name("moved"))
        root.mkdir()
        root.with_name("moved").rename(root / "not yet there")
        assert len(DatasetCatalog.get(name)) == 2
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    ("split", "images_", "empty", "relationships", "self_relations", "repeats", "several", "two_classes"),
    [("train", 4000, 220, 30355, 83, 494, 2424, 141), ("test", 1000, 45, 7638, 26, 160, 576, 42)],
)
def test_the_official_annotations_have_their_known_counts(
    dev_data: Path,
    split: str,
    images_: int,
    empty: int,
    relationships: int,
    self_relations: int,
    repeats: int,
    several: int,
    two_classes: int,
) -> None:
    data = parse_vrd_annotations(dev_data / "vrd_official" / f"annotations_{split}.json")
    rows = [[tuple(row) for row in d["relations"].tolist()] for d in data]
    assert len(data) == images_
    assert sum(not r for r in rows) == empty
    assert sum(map(len, rows)) == relationships
    assert sum(s == o for r in rows for s, o, _ in r) == self_relations
    assert sum(len(r) - len(set(r)) for r in rows) == repeats
    predicates = [Counter((s, o) for s, o, _ in set(r)) for r in rows]
    assert sum(n > 1 for pairs in predicates for n in pairs.values()) == several
    classes = [Counter(tuple(a["bbox"]) for a in d["annotations"]) for d in data]
    assert sum(n > 1 for boxes in classes for n in boxes.values()) == two_classes


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
