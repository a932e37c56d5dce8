import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reldn_d2.data import load_vrd
from reldn_d2.data.datasets.authors_json import load_authors_json, register_authors_json
from reldn_d2.data.datasets.vrd import OBJECT_CLASSES, PREDICATE_CLASSES
from reldn_d2.structures.annotations import Annotations
from tests.builders.vrd_records import end, relationship

WIDTH, HEIGHT = 40, 30
THINGS = ["person", "cup", "table"]
PREDICATES = ["at", "on", "holds", "near"]
PERSON, CUP, TABLE = end(0, 2, 20, 5, 15), end(1, 8, 12, 14, 18), end(2, 20, 28, 0, 40)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A set of two images; c.jpg is a picture that the annotations do not list."""
    write(tmp_path, "rel.json", {"a.jpg": [relationship(PERSON, CUP)], "b.jpg": []})
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / name)
    return tmp_path


def write(root: Path, name: str, content: Any) -> None:
    (root / name).write_text(content if isinstance(content, str) else json.dumps(content))


def load(root: Path, detections: Any = None, **options: Any) -> list[dict[str, Any]]:
    if detections is not None:
        write(root, "detections.json", detections)
        options["detections_json"] = root / "detections.json"
    classes = {"thing_classes": THINGS, "predicate_classes": PREDICATES}
    return load_authors_json(root / "rel.json", root, **{**classes, **options})


def coco(annotations: list[Any], **lists: Any) -> dict[str, Any]:
    """Detections in COCO's format, with image sizes larger than the pictures."""
    images = [
        {"id": i, "file_name": name, "width": 50, "height": 60} for i, name in ((3, "a.jpg"), (1, "b.jpg"))
    ]
    # other numbers than those of THINGS, which count from 0
    categories = [{"id": 9, "name": "cup"}, {"id": 4, "name": "person"}, {"id": 5, "name": "table"}]
    return {"images": images, "annotations": annotations, "categories": categories, **lists}


def box(image_id: Any, category_id: Any, *bbox: Any) -> dict[str, Any]:
    return {"id": 77, "image_id": image_id, "category_id": category_id, "bbox": list(bbox)}


def test_the_dataset_dicts_of_a_small_set(root: Path) -> None:
    first, second = load(root)
    assert first["file_name"] == str(root / "a.jpg")
    assert (first["width"], first["height"], first["image_id"]) == (WIDTH, HEIGHT, "a.jpg")
    assert first["annotations"] == [
        {"bbox": [5, 2, 15, 20], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0},
        {"bbox": [14, 8, 18, 12], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "iscrowd": 0},
    ]
    assert isinstance(first["annotations"], Annotations)
    assert first["relations"].tolist() == [[0, 1, 3]]
    assert (second["relations"].shape, second["relations"].dtype) == ((0, 3), np.int64)


def test_a_set_without_images_is_an_empty_list(root: Path) -> None:
    write(root, "rel.json", {})
    assert load(root) == []
    assert load(root, {}) == []
    assert load(root, {"images": [], "annotations": [], "categories": []}) == []


def test_names_may_be_files(root: Path) -> None:
    write(root, "objects.json", THINGS)
    write(root, "predicates.json", PREDICATES)
    expected = load(root)
    files = {"thing_classes": root / "objects.json", "predicate_classes": str(root / "predicates.json")}
    for image, other in zip(expected, load(root, **files), strict=True):
        assert image["annotations"] == other["annotations"]
        assert image["relations"].tolist() == other["relations"].tolist()


@pytest.mark.parametrize("content", [{"0": "person"}, [0, 1]])
def test_a_file_that_lists_no_names_is_refused(root: Path, content: Any) -> None:
    write(root, "objects.json", content)
    with pytest.raises(ValueError, match=r"objects\.json is not a JSON list of names.*belongs to"):
        load(root, thing_classes=root / "objects.json")


def test_a_name_listed_twice_is_refused(root: Path) -> None:
    write(root, "objects.json", ["a", "b", "a"])
    with pytest.raises(ValueError, match=r"objects\.json: the name 'a' is listed twice"):
        load(root, thing_classes=root / "objects.json")
    with pytest.raises(ValueError, match="predicate_classes: the name 'on' is listed twice"):
        load(root, predicate_classes=["on", "near", "on", "at"])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({}, "not a list of relationships"),
        ([relationship(PERSON, end(3, 1, 2, 3, 4))], r"category 3 is not in [0, 3)"),
        ([relationship(PERSON, end(-1, 1, 2, 3, 4))], r"category -1 is not in [0, 3)"),
        (
            [relationship(PERSON, CUP, 4)],
            r"predicate 4 is not in [0, 4). Classes and predicates count from 0.",
        ),
        (
            [relationship(PERSON, end(1, 1, 2, 4, 3))],
            "[1, 2, 4, 3] is not in the order [y1, y2, x1, x2] or not finite. Correct the box",
        ),
        ([relationship(PERSON, end(1, 1, 2, 3, float("inf")))], "not finite"),
    ],
)
def test_bad_relationships_are_named(root: Path, records: Any, message: str) -> None:
    write(root, "rel.json", {"b.jpg": [], "a.jpg": records})
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load(root)
    assert str(root / "rel.json: image a.jpg") in str(error.value)


def test_another_kind_of_file_is_named(root: Path) -> None:
    write(root, "rel.json", [])
    with pytest.raises(ValueError, match=r"rel\.json is not an object.*authors' rel_annotations_\*\.json"):
        load(root)


def test_a_missing_picture_is_named(root: Path) -> None:
    (root / "b.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"rel\.json: image 'b\.jpg'"):
        load(root)


DETECTIONS = {"a.jpg": [CUP, TABLE, PERSON, TABLE, end(1, 20, 28, 0, 40)], "b.jpg": [TABLE], "c.jpg": [CUP]}
COCO = coco(
    [
        box(3, 9, 14, 8, 4, 4), box(3, 5, 0, 20, 40, 8), box(3, 4, 5, 2, 10, 18), box(1, 5, 0, 20, 40, 8),
        box(3, 5, 0, 20, 40, 8), box(3, 9, 0, 20, 40, 8),
    ]
)  # fmt: skip


@pytest.mark.parametrize("detections", [DETECTIONS, COCO])
def test_all_entities_are_there_and_each_once(
    root: Path, detections: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        first, second = load(root, detections)
    assert first["annotations"].classes.tolist() == [0, 1, 2, 1]
    assert first["annotations"].boxes.tolist() == [
        [5, 2, 15, 20],
        [14, 8, 18, 12],
        [0, 20, 40, 28],
        [0, 20, 40, 28],
    ]
    assert first["relations"].tolist() == [[0, 1, 3]]
    assert second["annotations"].classes.tolist() == [2]
    assert not caplog.messages


def test_coco_gives_the_sizes(root: Path) -> None:
    far = box(3, 4, 30, 40, 99, 99)
    (root / "a.jpg").write_text("no picture that could be opened")
    with_coco = load(root, coco([far], images=coco([])["images"][:1]))
    assert [(d["width"], d["height"]) for d in with_coco] == [(50, 60), (WIDTH, HEIGHT)]
    assert with_coco[0]["annotations"].boxes[2].tolist() == [30, 40, 50, 60]


@pytest.mark.parametrize(
    "detections", [{"b.jpg": [TABLE]}, coco([box(1, 5, 0, 20, 40, 8)], images=coco([])["images"][1:])]
)
def test_images_without_detections_are_counted(
    root: Path, detections: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        first, second = load(root, detections)
    assert (len(first["annotations"]), len(second["annotations"])) == (2, 1)
    (message,) = caplog.messages
    assert "detections.json lists no boxes for 1 of 2 images, the first being 'a.jpg'" in message


def test_entities_that_only_relationships_have_are_counted(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(root, "rel.json", {"a.jpg": [relationship(PERSON, CUP)]})
    with caplog.at_level(logging.WARNING):
        (first,) = load(root, {"a.jpg": [end(1, 8, 13, 14, 19), PERSON, TABLE]})
    assert first["annotations"].classes.tolist() == [0, 1, 1, 2]
    (message,) = caplog.messages
    assert "1 of 2 entities of relationships are not in it, the first in image 'a.jpg'" in message
    assert "load without this file" in message


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        ("{", "is not valid JSON"),
        ([], "the file: it is not an object. Use COCO"),
        ({"a.jpg": PERSON}, "image a.jpg: its value is not a list of boxes"),
        (
            {"b.jpg": [], "a.jpg": [PERSON, [2, 20, 5, 15]]},
            "image a.jpg, box 1: [2, 20, 5, 15] has no category",
        ),
        (
            {"a.jpg": [{"category": 1, "bbox": "1234"}]},
            "image a.jpg, box 0: {'category': 1, 'bbox': '1234'} has no",
        ),
        ({"a.jpg": [end(3, 2, 20, 5, 15)]}, "image a.jpg, box 0: category 3 is not in [0, 3)"),
        ({"a.jpg": [end(1, 20, 2, 5, 15)]}, "not in the order [y1, y2, x1, x2]"),
        ({"images": [], "annotations": []}, "'categories': it is missing or not a list. COCO's format has"),
        ({"images": []}, "'annotations': it is missing or not a list"),
        ({**coco([]), "images": {}}, "'images': it is missing or not a list"),
        (coco([7]), "record 0 of 'annotations': 7 lacks one of"),
        (
            coco([box(3, 4, 1, 2, 3, 4), {"id": 1, "image_id": 3, "bbox": [1, 2, 3, 4]}]),
            "record 1 of 'annotations'",
        ),
        (coco([], images=[{"id": 3, "file_name": "a.jpg", "width": 5}]), "record 0 of 'images'"),
        (
            coco([], images=[{"id": 3, "file_name": "a.jpg", "width": 0, "height": 9}]),
            "image 'a.jpg': its width",
        ),
        (coco([], images=[{"id": 3, "file_name": ["a.jpg"], "width": 8, "height": 9}]), "of another type"),
        (
            coco([], images=[{"id": 3, "file_name": "a.jpg", "width": "8", "height": 9}]),
            "image 'a.jpg': its width",
        ),
        (
            coco([], images=[*coco([])["images"], {**coco([])["images"][0], "id": 8}]),
            "image 'a.jpg': it or its id 8",
        ),
        (
            coco([], images=[*coco([])["images"], {**coco([])["images"][0], "file_name": "d.jpg"}]),
            "its id 3 is listed",
        ),
        (coco([], categories=[{"id": 1, "name": "dog"}]), "category 1: 'dog' is not in thing_classes"),
        (coco([], categories=[{"id": [1], "name": "cup"}]), "of another type"),
        (
            coco([], categories=[{"id": 5, "name": "cup"}, {"id": 5, "name": "person"}]),
            "category 5: its id or its name 'person' is",
        ),
        (
            coco([], categories=[{"id": 5, "name": "cup"}, {"id": 6, "name": "cup"}]),
            "category 6: its id or its name 'cup' is listed twice",
        ),
        (coco([], categories=[{"id": True, "name": "cup"}]), "record 0 of 'categories'"),
        (coco([box(True, 5, 0, 20, 40, 8)]), "record 0 of 'annotations'"),
        (
            coco([box(1, True, 0, 20, 40, 8)], categories=[{"id": 1, "name": "cup"}]),
            "record 0 of 'annotations'",
        ),
        (
            coco([], images=[{"id": 3, "file_name": "a.jpg", "width": 10**30, "height": 9}]),
            "image 'a.jpg': its width",
        ),
        (
            coco([], images=[{"id": 3, "file_name": "a.jpg", "width": 9, "height": 2**31}]),
            "image 'a.jpg': its width",
        ),
        (coco([], images=[{"id": 3, "file_name": "a.jpg", "width": 9, "height": True}]), "of another type"),
        (coco([box(5, 4, 1, 2, 3, 4)]), "record 0 of 'annotations' (id 77): image_id 5 is not in 'images'"),
        (coco([box([5], 4, 1, 2, 3, 4)]), "of another type"),
        (coco([box(3, 1, 1, 2, 3, 4)]), "(id 77) of image 'a.jpg': category_id 1 is not in 'categories'"),
        (
            coco([box(3, 4, 1, 2, 3)]),
            "(id 77) of image 'a.jpg': bbox [1, 2, 3] is not four numbers. COCO's order is",
        ),
        (coco([box(3, 4, 1, 2, 3, "x")]), "is not four numbers"),
        (coco([box(3, 4, 1, 2, 3, "4")]), "is not four numbers"),
        (coco([box(3, 4, 1, 2, 3, True)]), "is not four numbers"),
        (coco([box(3, 4, 1, 2, 3, 10**400)]), "is not four numbers"),
        (coco([{**box(3, 4), "bbox": "1234"}]), "bbox '1234' is not four numbers"),
        (
            coco([box(3, 4, 1, 2, -3, 4)]),
            "bbox [1, 2, -3, 4] is not finite or has a negative size. COCO's order is",
        ),
        (coco([box(3, 4, 1, 2, 3, -4)]), "negative size"),
        (coco([box(3, 4, 1, float("nan"), 3, 4)]), "not finite"),
        (coco([box(3, 4, 1, 2, float("inf"), 4)]), "not finite"),
    ],
)  # fmt: skip
def test_bad_detections_are_named(root: Path, detections: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load(root, detections)
    assert str(root / "detections.json") in str(error.value)


@pytest.mark.parametrize("file_name", ["rel.json", "detections.json", "objects.json"])
def test_a_missing_file_is_named(root: Path, file_name: str) -> None:
    write(root, "objects.json", THINGS)
    write(root, "detections.json", DETECTIONS)
    (root / file_name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{file_name} does not exist.*registered with"):
        load(root, thing_classes=root / "objects.json", detections_json=root / "detections.json")


# Few different entities, so that records repeat.
entities = st.builds(
    lambda category, y, x, h, w: end(category, y, y + h, x, x + w),
    st.integers(0, 1), *[st.integers(0, 2)] * 2, *[st.sampled_from([1, 20])] * 2,
)  # fmt: skip
listed = st.fixed_dictionaries(
    {}, optional={name: st.lists(entities, max_size=6) for name in ("a.jpg", "b.jpg")}
)
related = st.fixed_dictionaries(
    {name: st.lists(st.builds(relationship, entities, entities), max_size=4) for name in ("a.jpg", "b.jpg")}
)


@given(related, listed, st.booleans())
def test_relationships_name_the_entities_that_were_written(
    root: Path, relationships: dict[str, list[Any]], detections: dict[str, list[Any]], as_coco: bool
) -> None:
    write(root, "rel.json", relationships)
    content: Any = detections
    if as_coco:
        annotations = []
        for image_id, name in ((3, "a.jpg"), (1, "b.jpg")):
            for record in detections.get(name, []):
                y1, y2, x1, x2 = record["bbox"]
                annotations.append(box(image_id, (4, 9)[record["category"]], x1, y1, x2 - x1, y2 - y1))
        content = coco(annotations)
    for image in load(root, content):
        name = image["image_id"]
        boxes, classes = image["annotations"].boxes.tolist(), image["annotations"].classes.tolist()
        found = [(c, [y1, y2, x1, x2]) for c, (x1, y1, x2, y2) in zip(classes, boxes, strict=True)]
        written = [record[side] for record in relationships[name] for side in ("subject", "object")]
        expected: list[Any] = []
        for record in [*written, *detections.get(name, [])]:
            entity = (record["category"], record["bbox"])
            if entity not in expected:
                expected.append(entity)
        assert found == expected
        ends = [found[row] for subject, object, _ in image["relations"].tolist() for row in (subject, object)]
        assert ends == [(record["category"], record["bbox"]) for record in written]


def test_vrd_reads_the_same_from_either_loader(dev_data: Path) -> None:
    root = dev_data / "vrd_mini"
    names = {"thing_classes": OBJECT_CLASSES, "predicate_classes": PREDICATE_CLASSES}
    images = load_authors_json(
        root / "json_dataset" / "annotations_test.json", root / "sg_dataset" / "sg_test_images", **names
    )
    for image, other in zip(images, load_vrd(root, "test"), strict=True):
        assert image["file_name"] == other["file_name"]
        assert image["annotations"] == other["annotations"]
        np.testing.assert_array_equal(image["relations"], other["relations"])


@pytest.fixture
def name() -> Iterator[str]:
    name = "test_authors_json_registration"
    yield name
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
    MetadataCatalog.pop(name, None)


def test_registration_is_lazy_and_can_be_repeated(root: Path, name: str) -> None:
    for _ in range(2):
        register_authors_json(
            name,
            root / "rel.json",
            root,
            thing_classes=THINGS,
            predicate_classes=tuple(PREDICATES),
            train_dataset="other",
        )
    metadata = MetadataCatalog.get(name)
    assert (metadata.thing_classes, metadata.predicate_classes) == (THINGS, PREDICATES)
    assert (metadata.evaluator_type, metadata.train_dataset) == ("relation", "other")
    write(root, "rel.json", {"c.jpg": []})
    assert [d["image_id"] for d in DatasetCatalog.get(name)] == ["c.jpg"]
    assert len(DatasetCatalog.get(name)) == 1
    with pytest.raises(ValueError, match="registered already"):
        register_authors_json(
            name, root / "rel.json", root, thing_classes=PREDICATES, predicate_classes=PREDICATES
        )


def test_names_of_files_are_in_the_metadata_once_loaded(root: Path, name: str) -> None:
    files = {"thing_classes": root / "objects.json", "predicate_classes": str(root / "predicates.json")}
    options = {"detections_json": root / "detections.json"}
    register_authors_json(name, root / "rel.json", root, **options, **files)
    assert "thing_classes" not in MetadataCatalog.get(name).as_dict()
    write(root, "objects.json", THINGS)
    write(root, "predicates.json", PREDICATES)
    write(root, "detections.json", DETECTIONS)
    for _ in range(2):
        assert [len(d["annotations"]) for d in DatasetCatalog.get(name)] == [4, 1]
    metadata = MetadataCatalog.get(name)
    assert (metadata.thing_classes, metadata.predicate_classes) == (THINGS, PREDICATES)
