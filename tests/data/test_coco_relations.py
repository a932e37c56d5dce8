import copy
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from reldn_d2.data import load_coco_relations, load_vrd, register_coco_relations, save_coco_relations

NAME = "test_coco_relations"


def content() -> dict[str, Any]:
    """Two images; ids of classes out of order and with gaps."""
    return {
        "images": [
            {"id": 20, "file_name": "b/second.jpg", "height": 50, "width": 80},
            {"id": 10, "file_name": "first.jpg", "height": 40, "width": 60},
        ],
        "annotations": [
            {"id": 5, "image_id": 10, "category_id": 7, "bbox": [1, 2, 10, 20]},
            {"id": 3, "image_id": 20, "category_id": 2, "bbox": [0, 0, 80, 50]},
            {"id": 4, "image_id": 10, "category_id": 2, "bbox": [5.5, 6, 7, 8.25], "iscrowd": 1},
        ],
        "categories": [{"id": 7, "name": "person"}, {"id": 2, "name": "cup"}],
        "predicates": [{"id": 9, "name": "holds"}, {"id": 4, "name": "near"}],
        "relations": [
            {"id": 1, "image_id": 10, "subject_id": 4, "object_id": 5, "predicate_id": 9},
            {"id": 2, "image_id": 10, "subject_id": 5, "object_id": 4, "predicate_id": 4},
        ],
    }


def write(folder: Path, data: Any) -> Path:
    path = folder / "relations.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


@pytest.fixture
def catalog_name() -> Iterator[str]:
    yield NAME
    if NAME in DatasetCatalog:
        DatasetCatalog.remove(NAME)
    MetadataCatalog.pop(NAME, None)


def test_ids_become_positions_and_contiguous_classes(tmp_path: Path) -> None:
    second, first = load_coco_relations(write(tmp_path, content()), tmp_path / "images")
    assert first["file_name"] == str(tmp_path / "images" / "first.jpg")
    assert (first["image_id"], first["height"], first["width"]) == (10, 40, 60)
    assert first["annotations"] == [
        {"bbox": [1, 2, 11, 22], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "iscrowd": 0},
        {"bbox": [5.5, 6, 12.5, 14.25], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 1},
    ]
    assert first["relations"].tolist() == [[1, 0, 1], [0, 1, 0]]
    assert second["relations"].shape == (0, 3)
    assert first["relations"].dtype == second["relations"].dtype == np.int64


def test_registration_is_lazy_and_loading_fills_the_metadata(tmp_path: Path, catalog_name: str) -> None:
    register_coco_relations(catalog_name, {"source": "ours"}, tmp_path / "relations.json", tmp_path)
    metadata = MetadataCatalog.get(catalog_name)
    assert metadata.evaluator_type == "relation"
    assert metadata.source == "ours"
    assert metadata.annotation_file == str(tmp_path / "relations.json")
    assert metadata.get("thing_classes") is None
    assert "train_dataset" not in metadata.as_dict()
    write(tmp_path, content())
    for _ in range(2):
        assert len(DatasetCatalog.get(catalog_name)) == 2
    assert metadata.thing_classes == ["cup", "person"]
    assert metadata.predicate_classes == ["near", "holds"]
    assert metadata.thing_dataset_id_to_contiguous_id == {2: 0, 7: 1}
    assert metadata.predicate_dataset_id_to_contiguous_id == {4: 0, 9: 1}


def test_metadata_given_at_registration_is_checked(tmp_path: Path, catalog_name: str) -> None:
    path = write(tmp_path, content())
    register_coco_relations(catalog_name, {"thing_classes": ["cup", "person"]}, path, tmp_path)
    assert MetadataCatalog.get(catalog_name).thing_classes == ["cup", "person"]
    assert len(DatasetCatalog.get(catalog_name)) == 2


def test_the_training_split_can_be_named(tmp_path: Path, catalog_name: str) -> None:
    register_coco_relations(catalog_name, {}, write(tmp_path, content()), tmp_path, train_dataset="own_train")
    assert MetadataCatalog.get(catalog_name).train_dataset == "own_train"


@pytest.mark.parametrize("key", ["thing_classes", "predicate_classes"])
def test_metadata_that_disagrees_is_an_error(tmp_path: Path, catalog_name: str, key: str) -> None:
    path = write(tmp_path, content())
    register_coco_relations(catalog_name, {key: ["person", "cup"]}, path, tmp_path)
    with pytest.raises(ValueError, match=f"{key} are .*'{NAME}' says") as error:
        DatasetCatalog.get(catalog_name)
    assert str(path) in str(error.value)


def test_relations_of_an_annotation_with_itself_need_leave_and_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = content()
    data["relations"][1]["object_id"] = 5
    with pytest.raises(ValueError, match=r"relation 2.*joins annotation 5 with itself.*allow_self_relations"):
        load_coco_relations(write(tmp_path, data), tmp_path)
    data["allow_self_relations"] = True
    with caplog.at_level(logging.WARNING):
        _, first = load_coco_relations(write(tmp_path, data), tmp_path)
    assert first["relations"].tolist() == [[1, 0, 1], [0, 0, 0]]
    (message,) = caplog.messages
    assert "1 relations join an annotation with itself, the first being relation 2" in message


def test_boxes_are_clipped_by_a_pixel_at_most(tmp_path: Path) -> None:
    data = content()
    data["annotations"][1]["bbox"] = [-1, -0.25, 82, 51.25]
    second, _ = load_coco_relations(write(tmp_path, data), tmp_path)
    assert second["annotations"][0]["bbox"] == [0, 0, 80, 50]


def test_a_file_of_no_images_is_a_file(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {key: [] for key in content()}
    assert load_coco_relations(write(tmp_path, nothing), tmp_path) == []


Change = Callable[[dict[str, Any]], Any]


def setter(kind: str, row: int, **fields: Any) -> Change:
    return lambda data: data[kind][row].update(fields)


def without(kind: str, row: int, key: str) -> Change:
    return lambda data: data[kind][row].pop(key)


def repeated(kind: str) -> Change:
    return lambda data: data[kind].append(copy.deepcopy(data[kind][0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setter("relations", 1, predicate_id=5), "relation 2: 'predicates' has no id 5"),
        (setter("relations", 0, subject_id=99), "relation 1: 'annotations' has no id 99"),
        (setter("relations", 0, object_id=[5]), r"relation 1: 'annotations' has no id \[5\]"),
        (setter("relations", 0, image_id=11), "relation 1: 'images' has no id 11"),
        (setter("annotations", 0, image_id=11), "annotation 5: 'images' has no id 11"),
        (setter("annotations", 0, category_id=1), "annotation 5: 'categories' has no id 1"),
        (setter("relations", 0, object_id=3), "relation 1: .*image 10, but annotation 3 is of image 20"),
        (setter("relations", 0, image_id=20), "relation 1: .*image 20, but annotation 4 is of image 10"),
        (repeated("images"), "record 2 of 'images': the id 20 occurs twice"),
        (repeated("annotations"), "record 3 of 'annotations': the id 5 occurs twice"),
        (repeated("relations"), "record 2 of 'relations': the id 1 occurs twice"),
        (repeated("categories"), "record 2 of 'categories': the id 7 occurs twice"),
        (repeated("predicates"), "record 2 of 'predicates': the id 9 occurs twice"),
        (setter("annotations", 2, bbox=[10, 10, -2, 3]), "annotation 4: .* no positive size"),
        (setter("annotations", 2, bbox=[10, 10, 2, 0]), "annotation 4: .* no positive size"),
        (setter("annotations", 2, bbox=[10, 10, float("nan"), 3]), "annotation 4: .* not finite"),
        (setter("annotations", 2, bbox=[float("-inf"), 10, 2, 3]), "annotation 4: .* not finite"),
        (setter("annotations", 2, bbox=[10, 10, 2]), "annotation 4: .* not four numbers"),
        (setter("annotations", 2, bbox=[10, 10, 2, "3"]), "annotation 4: .* not four numbers"),
        (setter("annotations", 2, bbox=None), "annotation 4: .* not four numbers"),
        (setter("annotations", 2, bbox=[50, 10, 12, 3]), "annotation 4: .*outside the 60 x 40 pixels of"),
        (setter("annotations", 2, bbox=[50, 30, 2, 12]), "annotation 4: .*outside"),
        (setter("annotations", 2, bbox=[-2, 30, 9, 2]), "annotation 4: .*outside"),
        (setter("annotations", 2, bbox=[9, -2, 9, 9]), "annotation 4: .*outside"),
        (setter("annotations", 2, bbox=[60, 5, 1, 9]), "annotation 4: .*outside"),
        (setter("images", 0, height=0), "image 20: height is 0"),
        (setter("images", 0, width="80"), "image 20: width is '80'"),
        (setter("images", 0, file_name=None), "image 20: file_name is None"),
        (setter("images", 0, id=1.5), "record 0 of 'images': its id 1.5"),
        (setter("categories", 0, id="7"), "record '7' of 'categories': the id is no integer"),
        (setter("predicates", 0, name=3), "record 9 of 'predicates': .*the name no string"),
        (without("images", 1, "height"), r"record 1 of 'images' \(id 10\): lacks \['height'\]"),
        (without("annotations", 0, "bbox"), r"record 0 of 'annotations' \(id 5\): lacks \['bbox'\]"),
        (without("relations", 1, "subject_id"), r"\(id 2\): lacks \['subject_id'\]"),
        (without("categories", 0, "name"), r"\(id 7\): lacks \['name'\]"),
        (without("predicates", 0, "id"), r"record 0 of 'predicates' \(id None\): lacks \['id'\]"),
        (lambda data: data.pop("predicates"), "'predicates': missing or not a list"),
        (lambda data: data.update(relations={}), "'relations': missing or not a list"),
        (lambda data: data["images"].append(3), "record 2 of 'images': not an object"),
    ],
)  # fmt: skip
def test_bad_records_are_named(tmp_path: Path, change: Change, message: str) -> None:
    data = content()
    change(data)
    path = write(tmp_path, data)
    with pytest.raises(ValueError, match=message) as error:
        load_coco_relations(path, tmp_path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert text.count(". ") >= 1, "the remedy follows the problem"


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "the top level is no object")])
def test_files_of_other_kinds_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        load_coco_relations(path, tmp_path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.json does not exist"):
        load_coco_relations(tmp_path / "no.json", tmp_path)


def same_datasets(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["relations"], other["relations"])
        assert [a["category_id"] for a in one["annotations"]] == [
            a["category_id"] for a in other["annotations"]
        ]
        assert [a["iscrowd"] for a in one["annotations"]] == [a["iscrowd"] for a in other["annotations"]]
        for a, b in zip(one["annotations"], other["annotations"], strict=True):
            np.testing.assert_allclose(a["bbox"], b["bbox"], rtol=1e-12)
        for key in ("file_name", "height", "width", "image_id"):
            assert one[key] == other[key]


@pytest.mark.parametrize("root", [None, "images"])
def test_saving_and_loading_gives_the_same(tmp_path: Path, catalog_name: str, root: str | None) -> None:
    images = tmp_path / "images"
    loaded = load_coco_relations(write(tmp_path, content()), images, catalog_name)
    path = tmp_path / "copy.json"
    relative_to = None if root is None else images
    save_coco_relations(loaded, MetadataCatalog.get(catalog_name), path, relative_to)
    names = [image["file_name"] for image in json.loads(path.read_text())["images"]]
    assert (names == ["b/second.jpg", "first.jpg"]) == (root is not None)
    same_datasets(loaded, load_coco_relations(path, "" if root is None else images))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.json", "relations.json"]


def test_vrd_survives_the_round_trip(tmp_path: Path, dev_data: Path) -> None:
    given = load_vrd(dev_data / "vrd_mini", "test")
    path = tmp_path / "vrd.json"
    save_coco_relations(given, MetadataCatalog.get("vrd_mini_test"), path)
    same_datasets(given, load_coco_relations(path, ""))


@pytest.mark.parametrize("key", ["thing_classes", "predicate_classes"])
def test_classes_without_a_name_are_not_written(tmp_path: Path, key: str) -> None:
    loaded = load_coco_relations(write(tmp_path, content()), tmp_path)
    metadata = SimpleNamespace(
        **{"thing_classes": ["cup", "person"], "predicate_classes": ["a", "b"], key: ["a"]}
    )
    with pytest.raises(ValueError, match=r"copy\.json: not written: image 10 has .*names only 1"):
        save_coco_relations(loaded, metadata, tmp_path / "copy.json")
    assert not (tmp_path / "copy.json").exists()
