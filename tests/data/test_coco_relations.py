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
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.data import load_coco_relations, load_vrd, register_coco_relations, save_coco_relations
from reldn_d2.structures.annotations import Annotations

NAME = "test_coco_relations"


def content() -> dict[str, Any]:
    """Two images. The ids of the classes are not in order and have gaps."""
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


def test_annotations_have_crowd_flags_only_if_there_are_crowds(tmp_path: Path) -> None:
    second, first = load_coco_relations(write(tmp_path, content()), tmp_path)
    assert isinstance(first["annotations"], Annotations)
    assert isinstance(second["annotations"], Annotations)
    assert first["annotations"].crowd is not None
    assert second["annotations"].crowd is None


def test_verified_categories_become_classes(tmp_path: Path) -> None:
    data = content()
    data["images"][1]["verified_category_ids"] = [7, 2]
    data["images"][0]["verified_category_ids"] = []
    second, first = load_coco_relations(write(tmp_path, data), tmp_path)
    assert first["verified_classes"].tolist() == [1, 0]
    assert second["verified_classes"].tolist() == []
    assert first["verified_classes"].dtype == second["verified_classes"].dtype == np.int64
    del data["images"][0]["verified_category_ids"]
    second, _ = load_coco_relations(write(tmp_path, data), tmp_path)
    assert "verified_classes" not in second


def test_labels_for_submissions_go_to_the_metadata(tmp_path: Path, catalog_name: str) -> None:
    data = content()
    for kind, labels in (("categories", ["/m/01", "/m/02"]), ("predicates", ["holds_it", "near_it"])):
        for record, label in zip(data[kind], labels, strict=True):
            record["label"] = label
    load_coco_relations(write(tmp_path, data), tmp_path, catalog_name)
    metadata = MetadataCatalog.get(catalog_name)
    assert metadata.class_labels == ["/m/02", "/m/01"]
    assert metadata.predicate_labels == ["near_it", "holds_it"]
    data["categories"][0]["label"] = "/m/03"
    with pytest.raises(ValueError, match="class_labels are"):
        load_coco_relations(write(tmp_path, data), tmp_path, catalog_name)


def test_files_without_labels_leave_those_of_the_registration(tmp_path: Path, catalog_name: str) -> None:
    register_coco_relations(catalog_name, {"class_labels": ["a", "b"]}, write(tmp_path, content()), tmp_path)
    DatasetCatalog.get(catalog_name)
    assert MetadataCatalog.get(catalog_name).class_labels == ["a", "b"]
    assert MetadataCatalog.get(catalog_name).get("predicate_labels") is None


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


def test_self_relations_must_be_allowed_and_are_reported(
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


@pytest.mark.parametrize("word", ["no", "false", 1, None])
def test_whether_self_relations_are_allowed_is_true_or_false(tmp_path: Path, word: Any) -> None:
    data = {**content(), "allow_self_relations": word}
    with pytest.raises(ValueError, match=f"'allow_self_relations': it is {word!r}.* Write true or false"):
        load_coco_relations(write(tmp_path, data), tmp_path)


def test_boxes_are_clipped_by_a_pixel_at_most(tmp_path: Path) -> None:
    data = content()
    data["annotations"][1]["bbox"] = [-1, -0.25, 82, 51.25]
    second, _ = load_coco_relations(write(tmp_path, data), tmp_path)
    assert second["annotations"][0]["bbox"] == [0, 0, 80, 50]


def test_a_file_without_images_is_valid(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {key: [] for key in content()}
    assert load_coco_relations(write(tmp_path, nothing), tmp_path) == []


def test_relations_need_neither_id_nor_image(tmp_path: Path) -> None:
    expected = load_coco_relations(write(tmp_path, content()), tmp_path)
    data = content()
    del data["relations"][0]["id"], data["relations"][0]["image_id"], data["relations"][1]["image_id"]
    same_datasets(expected, load_coco_relations(write(tmp_path, data), tmp_path))


def test_relations_without_image_are_still_inside_one(tmp_path: Path) -> None:
    data = content()
    data["relations"] = [{"subject_id": 5, "object_id": 3, "predicate_id": 9}]
    problem = "record 0 of 'relations': it is of image 10, but annotation 3 is of image 20"
    with pytest.raises(ValueError, match=problem):
        load_coco_relations(write(tmp_path, data), tmp_path)


def test_self_relations_without_id_are_named_by_position(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = content()
    data["relations"] = [{"subject_id": 5, "object_id": 5, "predicate_id": 9}]
    with pytest.raises(ValueError, match="record 0 of 'relations': it joins annotation 5 with itself"):
        load_coco_relations(write(tmp_path, data), tmp_path)
    with caplog.at_level(logging.WARNING):
        load_coco_relations(write(tmp_path, {**data, "allow_self_relations": True}), tmp_path)
    assert "the first being record 0 of 'relations'" in caplog.text


def test_one_message_names_every_record_with_a_wrong_id(tmp_path: Path) -> None:
    data = content()
    wrong = [{"id": i, "subject_id": 4, "object_id": 100 + i, "predicate_id": 9} for i in range(10, 50)]
    data["relations"] += wrong
    named = ", ".join(f"relation {i}" for i in range(11, 41))
    with pytest.raises(ValueError, match=f"has no id 110.* fails for 39 more: {named}, ") as error:
        load_coco_relations(write(tmp_path, data), tmp_path)
    assert "relation 10:" in str(error.value) and "relation 41" not in str(error.value)


def test_one_message_names_every_wrong_box(tmp_path: Path) -> None:
    data = content()
    data["annotations"][0]["bbox"] = [1, 2, 0, 5]
    data["annotations"][2]["bbox"] = [1, 2, -3, 5]
    with pytest.raises(ValueError, match=r"annotation 5: .*no positive size.* 1 more: annotation 4\.$"):
        load_coco_relations(write(tmp_path, data), tmp_path)


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
        (setter("relations", 0, predicate_id="holds"), "no id 'holds', which is a name.*: write 9"),
        (setter("relations", 0, predicate_id="hold"), "no id 'hold'; the name 'holds' is similar.*: write 9"),
        (setter("annotations", 0, category_id="cup"), "annotation 5: .*'cup', which is a name.*: write 2"),
        (
            lambda data: (data["relations"][1].pop("id"), data["relations"][1].update(predicate_id=5)),
            "record 1 of 'relations': 'predicates' has no id 5",
        ),
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
        (setter("annotations", 2, bbox=[10, 10, 2, True]), "annotation 4: .* not four numbers"),
        (setter("annotations", 2, bbox="1234"), "annotation 4: .* not four numbers"),
        (setter("annotations", 2, bbox=None), "annotation 4: .* not four numbers"),
        (setter("annotations", 2, bbox=[50, 10, 12, 3]), "annotation 4: .*outside the 60 x 40 pixels of"),
        (setter("annotations", 2, bbox=[50, 30, 2, 12]), "annotation 4: .*outside"),
        (setter("annotations", 2, bbox=[-2, 30, 9, 2]), "annotation 4: .*outside"),
        (setter("annotations", 2, bbox=[9, -2, 9, 9]), "annotation 4: .*outside"),
        (setter("annotations", 2, bbox=[60, 5, 1, 9]), "annotation 4: .*outside"),
        (setter("annotations", 2, bbox=[10, 10, 10**400, 3]), "annotation 4: .* not four numbers"),
        (setter("annotations", 2, iscrowd="no"), "annotation 4: iscrowd is 'no'"),
        (setter("images", 0, verified_category_ids=[7, 8]), "image 20: 'categories' has no id 8"),
        (setter("images", 0, verified_category_ids=7), "image 20: verified_category_ids is 7"),
        (setter("categories", 1, label="cup"), "record 7 of 'categories': it has no label"),
        (setter("predicates", 0, label=9), "record 9 of 'predicates': it has no label that is a string"),
        (
            setter("categories", 0, name="cup"),
            "record 2 of 'categories': it has the name 'cup', as record 7 has",
        ),
        (
            setter("predicates", 1, name="holds"),
            "record 4 of 'predicates': it has the name 'holds', as record 9 has",
        ),
        (
            lambda data: (data["predicates"][0].update(id=1), data["relations"][0].update(predicate_id=True)),
            "relation 1: 'predicates' has no id True",
        ),
        (setter("relations", 0, id=True), "record 0 of 'relations': its id True"),
        (setter("images", 0, height=True), "image 20: height is True"),
        (setter("images", 0, width=2**31), "image 20: width is 2147483648"),
        (setter("images", 0, height=10**400), "image 20: height is 1000"),
        (setter("images", 0, height=0), "image 20: height is 0"),
        (setter("images", 0, width="80"), "image 20: width is '80'"),
        (setter("images", 0, file_name=None), "image 20: file_name is None"),
        (setter("images", 0, id=True), "record 0 of 'images': its id True"),
        (setter("images", 0, id=1.5), "record 0 of 'images': its id 1.5"),
        (setter("categories", 0, id="7"), "record '7' of 'categories': the id is not an integer"),
        (setter("predicates", 0, name=3), "record 9 of 'predicates': .*the name is not a string"),
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "the top level is not an object"),
        ('{"images": [{"id": 1, "id": 2}]}', "the key 'id' occurs twice"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        load_coco_relations(path, tmp_path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.json does not exist"):
        load_coco_relations(tmp_path / "no.json", tmp_path)


IDS = st.one_of(st.integers(-9, 9), st.text("ab", max_size=3))


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Valid files whose records and ids are in any order."""
    images = [
        {"id": identity, "file_name": f"{row}.jpg", "height": 30, "width": 40}
        for row, identity in enumerate(draw(st.lists(IDS, max_size=4, unique=True)))
    ]
    classes = {
        kind: [
            {"id": i, "name": f"{kind} {i}"}
            for i in draw(st.lists(st.integers(-5, 20), min_size=1, max_size=3, unique=True))
        ]
        for kind in ("categories", "predicates")
    }
    annotations, relations = [], []
    for identity in draw(st.lists(IDS, max_size=8, unique=True)) if images else []:
        x, y, w, h = (draw(st.integers(*ends)) for ends in ((0, 30), (0, 20), (1, 10), (1, 10)))
        annotations.append(
            {
                "id": identity,
                "image_id": draw(st.sampled_from(images))["id"],
                "category_id": draw(st.sampled_from(classes["categories"]))["id"],
                "bbox": [x, y, w, h],
                "iscrowd": draw(st.integers(0, 1)),
            }
        )
    for identity in draw(st.lists(IDS, max_size=8, unique=True)) if annotations else []:
        subject = draw(st.sampled_from(annotations))
        others = [a for a in annotations if a["image_id"] == subject["image_id"]]
        relations.append(
            {
                "id": identity,
                "image_id": subject["image_id"],
                "subject_id": subject["id"],
                "object_id": draw(st.sampled_from(others))["id"],
                "predicate_id": draw(st.sampled_from(classes["predicates"]))["id"],
            }
        )
    lists = {"images": images, "annotations": annotations, "relations": relations, **classes}
    return {**lists, "allow_self_relations": True}


def slowly_read(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The images of a valid file, record by record."""
    numbers = {
        kind: {identity: number for number, identity in enumerate(sorted(r["id"] for r in data[kind]))}
        for kind in ("categories", "predicates")
    }
    result = []
    for image in data["images"]:
        own = [a for a in data["annotations"] if a["image_id"] == image["id"]]
        position = {a["id"]: row for row, a in enumerate(own)}
        annotations = []
        for a in own:
            x, y, w, h = a["bbox"]
            category = numbers["categories"][a["category_id"]]
            box = {"bbox": [x, y, x + w, y + h], "bbox_mode": BoxMode.XYXY_ABS}
            annotations.append({**box, "category_id": category, "iscrowd": a["iscrowd"]})
        relations = [
            [position[r["subject_id"]], position[r["object_id"]], numbers["predicates"][r["predicate_id"]]]
            for r in data["relations"]
            if r["image_id"] == image["id"]
        ]
        result.append({"image_id": image["id"], "annotations": annotations, "relations": relations})
    return result


@given(files())
def test_files_in_any_order_are_read_as_record_by_record(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    loaded = load_coco_relations(write(tmp_path_factory.mktemp("file"), data), "")
    expected = slowly_read(data)
    assert [d["image_id"] for d in loaded] == [d["image_id"] for d in expected]
    for found, right in zip(loaded, expected, strict=True):
        assert found["annotations"] == right["annotations"]
        assert found["relations"].tolist() == right["relations"]
        assert found["relations"].shape[1] == 3


def same_datasets(first: list[dict[str, Any]], second: list[dict[str, Any]], tolerance: float = 0) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["relations"], other["relations"])
        assert [a["category_id"] for a in one["annotations"]] == [
            a["category_id"] for a in other["annotations"]
        ]
        assert [a["iscrowd"] for a in one["annotations"]] == [a["iscrowd"] for a in other["annotations"]]
        for a, b in zip(one["annotations"], other["annotations"], strict=True):
            np.testing.assert_allclose(a["bbox"], b["bbox"], rtol=0, atol=tolerance)
        for key in ("file_name", "height", "width", "image_id"):
            assert one[key] == other[key]
        assert ("verified_classes" in one) == ("verified_classes" in other)
        np.testing.assert_array_equal(one.get("verified_classes", ()), other.get("verified_classes", ()))


WIDTH, HEIGHT = 53, 41
NAMES = SimpleNamespace(
    thing_classes=["cup", "person"],
    predicate_classes=["near", "holds"],
    class_labels=["/m/1", "/m/2"],
    predicate_labels=["is_near", "does_hold"],
)


@st.composite
def dataset_dict(draw: st.DrawFn) -> dict[str, Any]:
    """An image in which many boxes touch, because they share edges."""
    edges = {
        limit: sorted(draw(st.lists(st.floats(0, limit, width=32), min_size=2, max_size=4, unique=True)))
        for limit in (WIDTH, HEIGHT)
    }
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        (left, right), (top, bottom) = (
            sorted(draw(st.lists(st.sampled_from(edges[limit]), min_size=2, max_size=2, unique=True)))
            for limit in (WIDTH, HEIGHT)
        )
        # not a multiple of a power of two
        boxes.append([left / 1.1, top / 1.1, right / 1.1, bottom / 1.1])
    boxes = [b for b in boxes if b[2] - b[0] > 1e-6 and b[3] - b[1] > 1e-6]
    size, bit = len(boxes), st.integers(0, 1)
    row = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1), bit)
    relations = draw(st.lists(row, max_size=4)) if size else []
    result = {
        "file_name": f"/photos/{draw(st.integers(0, 9))}.jpg",
        "width": WIDTH,
        "height": HEIGHT,
        "annotations": Annotations(
            boxes, [draw(bit) for _ in boxes], [draw(st.booleans()) for _ in boxes] if draw(bit) else None
        ),
        "relations": np.array(relations, dtype=np.int64).reshape(-1, 3),
    }
    if draw(st.booleans()):
        result["verified_classes"] = np.array(draw(st.lists(bit, max_size=2, unique=True)), dtype=np.int64)
    return result


@given(st.lists(dataset_dict(), max_size=3), st.booleans())
def test_nothing_is_lost_by_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, given_dicts: list[dict[str, Any]], text_ids: bool
) -> None:
    images = [{**d, "image_id": str(i) if text_ids else i} for i, d in enumerate(given_dicts)]
    folder = tmp_path_factory.mktemp("round")
    save_coco_relations(images, NAMES, folder / "a.json", "/photos")
    once = load_coco_relations(folder / "a.json", "/photos")
    same_datasets(images, once, tolerance=2**-32)
    save_coco_relations(once, NAMES, folder / "b.json", "/photos")
    assert (folder / "a.json").read_bytes() == (folder / "b.json").read_bytes()


def test_boxes_that_touch_still_touch(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    edges = random.uniform(0, (WIDTH, HEIGHT), (20, 2))
    near, far = np.sort(random.permuted(np.repeat(edges[None], 200, axis=0), axis=1)[:, :2], axis=1).swapaxes(
        0, 1
    )
    boxes = np.concatenate([near, far], axis=1)
    assert (near + (far - near) != far).any(), "COCO's width alone would move no edge"
    image = {"file_name": "a.jpg", "width": WIDTH, "height": HEIGHT, "image_id": 1}
    annotations = Annotations(boxes, np.zeros(len(boxes)))
    save_coco_relations([{**image, "annotations": annotations, "relations": []}], NAMES, tmp_path / "a.json")
    (found,) = load_coco_relations(tmp_path / "a.json", "")
    for axis in (0, 1):
        old = boxes[:, [axis, axis + 2]].ravel()
        new = found["annotations"].boxes[:, [axis, axis + 2]].ravel()
        np.testing.assert_array_equal(new[:, None] == new[None], old[:, None] == old[None])


def test_names_and_labels_survive_the_round_trip(tmp_path: Path, catalog_name: str) -> None:
    save_coco_relations([], NAMES, tmp_path / "names.json")
    assert load_coco_relations(tmp_path / "names.json", "", catalog_name) == []
    found = MetadataCatalog.get(catalog_name).as_dict()
    assert found.items() >= vars(NAMES).items()


def test_detectron2_reads_a_written_file_as_coco(tmp_path: Path) -> None:
    loaded = load_coco_relations(write(tmp_path, content()), "")
    save_coco_relations(loaded, NAMES, tmp_path / "copy.json")
    # sorted by image id
    first, second = load_coco_json(str(tmp_path / "copy.json"), "")
    assert (first["image_id"], second["image_id"]) == (10, 20)
    assert [a["bbox"] for a in first["annotations"]] == [[1, 2, 10, 20], [5.5, 6, 7, 8.25]]
    assert [(a["category_id"], a["iscrowd"]) for a in first["annotations"]] == [(2, 0), (1, 1)]
    assert [a["category_id"] for a in second["annotations"]] == [1]
    written = json.loads((tmp_path / "copy.json").read_text())["annotations"]
    assert [annotation["area"] for annotation in written] == [4000, 200, 57.75]


@pytest.mark.parametrize(
    "box",
    [
        [0, 0, 0, 5],
        [0, 5, 5, 2],
        [-2, 0, 5, 5],
        [0, 0, 62, 5],
        [0, 38, 5, 41.5],
        [-0.5, 0, -0.25, 5],
        [0, 0, float("nan"), 5],
        [0, 0, float("inf"), 5],
    ],
)
def test_boxes_that_could_not_be_read_are_not_written(tmp_path: Path, box: list[float]) -> None:
    loaded = load_coco_relations(write(tmp_path, content()), "")
    loaded[1]["annotations"].boxes[1] = box
    with pytest.raises(
        ValueError, match=r"no\.json: not written: annotation 1 of image 10 .*not inside the 60 x 40"
    ):
        save_coco_relations(loaded, NAMES, tmp_path / "no.json")
    assert not (tmp_path / "no.json").exists()


@pytest.mark.parametrize("root", [None, "images"])
def test_saving_and_loading_gives_the_same(tmp_path: Path, catalog_name: str, root: str | None) -> None:
    images = tmp_path / "images"
    loaded = load_coco_relations(write(tmp_path, content()), images, catalog_name)
    path = tmp_path / "copy.json"
    relative_to = None if root is None else images
    metadata = MetadataCatalog.get(catalog_name)
    save_coco_relations(loaded, metadata, path, relative_to, outside_root=root is None)
    names = [image["file_name"] for image in json.loads(path.read_text())["images"]]
    assert (names == ["b/second.jpg", "first.jpg"]) == (root is not None)
    assert json.loads(path.read_text())["allow_self_relations"] is False
    read = (
        load_coco_relations(path, "", outside_root=True)
        if root is None
        else load_coco_relations(path, images)
    )
    same_datasets(loaded, read)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.json", "relations.json"]


def test_vrd_survives_the_round_trip(tmp_path: Path, dev_data: Path) -> None:
    given = load_vrd(dev_data / "vrd_mini", "test")
    path = tmp_path / "vrd.json"
    save_coco_relations(given, MetadataCatalog.get("reldn_vrd_mini_test"), path, dev_data)
    same_datasets(given, load_coco_relations(path, dev_data))


@pytest.mark.parametrize("key", ["thing_classes", "predicate_classes"])
def test_classes_without_a_name_are_not_written(tmp_path: Path, key: str) -> None:
    loaded = load_coco_relations(write(tmp_path, content()), tmp_path)
    metadata = SimpleNamespace(
        **{"thing_classes": ["cup", "person"], "predicate_classes": ["a", "b"], key: ["a"]}
    )
    with pytest.raises(ValueError, match=r"copy\.json: not written: image 10 has .*names only 1"):
        save_coco_relations(loaded, metadata, tmp_path / "copy.json", tmp_path)
    assert not (tmp_path / "copy.json").exists()


def test_verified_classes_without_a_name_are_not_written(tmp_path: Path) -> None:
    loaded = load_coco_relations(write(tmp_path, content()), tmp_path)
    loaded[1]["verified_classes"] = [0, -1]
    with pytest.raises(ValueError, match="image 10 has verified_classes -1"):
        save_coco_relations(loaded, NAMES, tmp_path / "copy.json", tmp_path)
