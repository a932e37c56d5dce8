import gzip
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

from reldn_d2.data.datasets.visual_genome.raw import load_visual_genome_raw, register_visual_genome_raw
from reldn_d2.data.datasets.visual_genome.vg150 import OBJECT_CLASSES, PREDICATE_CLASSES
from reldn_d2.structures.annotations import Annotations
from tests.builders.visual_genome_files import (
    HEIGHT,
    PREDICATES,
    THINGS,
    WIDTH,
    relationship,
    thing,
    write_files,
    write_pictures,
)

MAN, CUP, TABLE = thing(1, "man", 5, 10, 20, 40), thing(2, "cup", 20, 15, 8, 9), thing(3, "table")


def load(root: Path, **options: Any) -> list[dict[str, Any]]:
    return load_visual_genome_raw(root, thing_classes=THINGS, predicate_classes=PREDICATES, **options)


def loaded(root: Path, objects: list[Any], relationships: list[Any], **options: Any) -> dict[str, Any]:
    """The only image of a data set."""
    write_files(root, {7: objects}, {7: relationships})
    (image,) = load(root, **options)
    return image


def triplets(image: dict[str, Any]) -> list[tuple[str, str, str]]:
    classes = image["annotations"].classes
    return [(THINGS[classes[s]], PREDICATES[p], THINGS[classes[o]]) for s, o, p in image["relations"]]


def test_the_dataset_dicts_of_a_small_set(tmp_path: Path) -> None:
    write_files(tmp_path, {8: [TABLE], 7: [MAN, CUP]}, {7: [relationship(MAN, "holding", CUP)], 8: []})
    write_pictures(tmp_path, "VG_100K/7.jpg", "VG_100K_2/8.jpg")
    first, second = load(tmp_path)
    assert (first["image_id"], first["file_name"]) == (8, str(tmp_path / "VG_100K_2" / "8.jpg"))
    assert (second["image_id"], second["file_name"]) == (7, str(tmp_path / "VG_100K" / "7.jpg"))
    assert (second["width"], second["height"]) == (WIDTH, HEIGHT)
    assert second["annotations"] == [
        {"bbox": [5, 10, 25, 50], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0},
        {"bbox": [20, 15, 28, 24], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1, "iscrowd": 0},
    ]
    assert second["relations"].tolist() == [[0, 1, 0]]
    assert isinstance(first["annotations"], Annotations)
    assert (first["relations"].shape, first["relations"].dtype) == ((0, 3), np.int64)


def test_a_set_without_images_is_an_empty_list(tmp_path: Path) -> None:
    write_files(tmp_path, {}, {})
    assert load(tmp_path) == []


def test_a_set_without_a_known_name_keeps_its_images(tmp_path: Path) -> None:
    image = loaded(tmp_path, [thing(1, "sky")], [relationship(thing(1, "sky"), "above", thing(1, "sky"))])
    assert len(image["annotations"]) == 0
    assert image["relations"].shape == (0, 3)


def test_images_of_either_file_are_loaded(tmp_path: Path) -> None:
    write_files(tmp_path, {9: [MAN], 7: []}, {5: [relationship(MAN, "near", CUP)], 7: []})
    assert [(d["image_id"], len(d["annotations"])) for d in load(tmp_path)] == [(9, 1), (7, 0), (5, 2)]


def test_an_unlisted_subject_or_object_is_added_as_first_described(tmp_path: Path) -> None:
    other_box = {**CUP, "x": 50}
    image = loaded(
        tmp_path,
        [MAN],
        [
            relationship(MAN, "holding", CUP),
            relationship(MAN, "near", other_box),
            relationship(TABLE, "near", CUP),
        ],
    )
    assert image["annotations"].classes.tolist() == [0, 1, 2]
    assert image["annotations"].boxes[1].tolist() == [20, 15, 28, 24]
    assert image["relations"].tolist() == [[0, 1, 0], [0, 1, 1], [2, 1, 1]]


def shifted(images: int) -> tuple[dict[int, list[Any]], dict[int, list[Any]]]:
    """Objects and relationships by image. Relationships are listed under the id of the next image."""
    entities = {i: [thing(10 * i, "man"), thing(10 * i + 1, "cup")] for i in range(1, images + 1)}
    return entities, {i + 1: [relationship(entities[i][0], "near", entities[i][1])] for i in entities}


def test_relationships_under_the_ids_of_other_images_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, *shifted(10))
    with pytest.raises(ValueError, match="different releases") as error:
        load(tmp_path)
    assert str(error.value).startswith(
        f"{tmp_path / 'relationships.json'}: 20 of 20 subjects and objects are in no object of "
        f"{tmp_path / 'objects.json'}, the first being object 10 of image 2. "
    )


def test_a_few_subjects_that_are_no_objects_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(tmp_path, *shifted(9))
    assert len(load(tmp_path)) == 10
    (message,) = caplog.messages
    assert "18 of 18 subjects and objects are in no object" in message


@pytest.mark.parametrize(("unknown", "refused"), [(0, False), (10, False), (11, True)])
def test_files_with_mostly_unknown_subjects_and_objects_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, unknown: int, refused: bool
) -> None:
    man = thing(1, "man", merged=(4,))
    # an id that was merged into an object is known, too
    records = [relationship(thing(4, "man"), "near", thing(1, "man"))] * 10
    for i in range(unknown):
        records[i // 2] = {**records[i // 2], ("subject", "object")[i % 2]: thing(50 + i, "cup")}
    if refused:
        with pytest.raises(ValueError, match=f"{unknown} of 20 subjects and objects"):
            loaded(tmp_path, [man], records)
        return
    loaded(tmp_path, [man], records)
    assert [f"{unknown} of 20 subjects and objects" in message for message in caplog.messages] == (
        [True] if unknown else []
    )


def test_objects_json_is_right_if_the_files_differ(tmp_path: Path) -> None:
    other = thing(MAN["object_id"], "cup", 0, 0, 9, 9)
    image = loaded(tmp_path, [MAN, TABLE], [relationship(other, "near", TABLE)])
    assert triplets(image) == [("man", "near", "table")]
    assert image["annotations"].boxes[0].tolist() == [5, 10, 25, 50]


def test_an_object_of_unknown_name_is_not_brought_back_by_a_relationship(tmp_path: Path) -> None:
    image = loaded(tmp_path, [thing(1, "sky"), TABLE], [relationship(MAN, "near", TABLE)])
    assert triplets(image) == []
    assert image["annotations"].classes.tolist() == [2]


def test_a_merged_id_stands_for_its_object(tmp_path: Path) -> None:
    man = thing(1, "man", merged=(55, 56))
    image = loaded(
        tmp_path,
        [CUP, man],
        [
            relationship(thing(56, "man", 0, 0, 3, 3), "holding", CUP),
            relationship(thing(55, "boy"), "near", CUP),
        ],
    )
    assert image["relations"].tolist() == [[1, 0, 0], [1, 0, 1]]
    assert len(image["annotations"]) == 2


def test_an_object_of_its_own_is_not_merged(tmp_path: Path) -> None:
    image = loaded(tmp_path, [thing(1, "man", merged=(2,)), CUP], [relationship(MAN, "holding", CUP)])
    assert triplets(image) == [("man", "holding", "cup")]


def test_ids_mean_something_in_their_image_only(tmp_path: Path) -> None:
    records = [relationship(thing(1, "cup"), "near", TABLE)]
    write_files(tmp_path, {7: [thing(1, "man", merged=(3,))], 8: [TABLE]}, {7: [], 8: records})
    first, second = load(tmp_path)
    assert first["annotations"].classes.tolist() == [0]
    assert triplets(second) == [("cup", "near", "table")]


def test_self_relations_and_repeats_stay(tmp_path: Path) -> None:
    records = [relationship(MAN, "near", MAN), relationship(MAN, "near", MAN, 901)]
    assert loaded(tmp_path, [MAN], records)["relations"].tolist() == [[0, 0, 1], [0, 0, 1]]


def test_a_repeated_object_id_means_the_first_object_and_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    again = thing(1, "cup", 0, 0, 5, 5)
    with caplog.at_level(logging.WARNING):
        image = loaded(tmp_path, [MAN, again, again], [relationship(MAN, "near", MAN)])
    assert image["annotations"].classes.tolist() == [0, 1, 1]
    assert image["relations"].tolist() == [[0, 0, 1]]
    (message,) = caplog.messages
    assert "objects.json: 2 objects have the id of an earlier object" in message
    assert "object 1 of image 7" in message


def test_names_are_cleaned_and_aliases_followed(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {7: [thing(1, " MAN. "), thing(2, "mugs")]},
        {7: [relationship(thing(1, "man"), "next  To", thing(2, "cup"))]},
    )
    (tmp_path / "object_alias.txt").write_text("cup,mug\nmug,mugs\n")
    (tmp_path / "predicate_alias.txt").write_text("near,next to\n")
    (image,) = load(tmp_path)
    assert triplets(image) == [("man", "near", "cup")]
    assert triplets(load(tmp_path, predicate_alias=None)[0]) == []
    assert len(load(tmp_path, object_alias=None)[0]["annotations"]) == 1


def test_alias_tables_are_required_unless_they_are_switched_off(tmp_path: Path) -> None:
    loaded(tmp_path, [MAN], [])
    for kind in ("object_alias", "predicate_alias"):
        (tmp_path / f"{kind}.txt").rename(tmp_path / "elsewhere.txt")
        with pytest.raises(FileNotFoundError, match=f"{kind}.txt does not exist"):
            load(tmp_path)
        load(tmp_path, **{kind: None})
        load(tmp_path, **{kind: "elsewhere.txt"})
        (tmp_path / "elsewhere.txt").rename(tmp_path / f"{kind}.txt")


def test_the_first_of_several_names_that_is_a_class_counts(tmp_path: Path) -> None:
    objects = [thing(1, "sky"), thing(2, "sky"), thing(3, "sky")]
    objects[0]["names"] = ["boy", "cup", "man"]
    objects[1]["names"] = []
    objects[2]["names"] = ["sky", "cloud"]
    assert loaded(tmp_path, objects, [])["annotations"].classes.tolist() == [1]


def test_excluded_entities_and_relationships_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sky, cloud, clouds = thing(11, "sky"), thing(12, "cloud"), thing(13, "Cloud.")
    with caplog.at_level(logging.INFO):
        image = loaded(
            tmp_path,
            [MAN, CUP, sky, cloud, clouds],
            [
                relationship(MAN, "eats", CUP),
                relationship(MAN, "eats", sky),
                relationship(sky, "above", MAN),
                relationship(MAN, "near", sky),
                relationship(thing(14, "sun"), "near", MAN),
                relationship(MAN, "holding", CUP),
            ],
        )
    assert triplets(image) == [("man", "holding", "cup")]
    unknown, entities, predicates, joined = caplog.messages
    # sky is an object of another name
    assert f"relationships.json: 1 of 12 subjects and objects are in no object of {tmp_path}" in unknown
    assert "objects.json, the first being object 14 of image 7." in unknown
    assert f"{tmp_path}: 4 entities are left out" in entities
    assert entities.endswith("most frequent are 'cloud' (2), 'sky' (1), 'sun' (1).")
    assert "relationships.json: 3 relationships are left out" in predicates
    assert predicates.endswith("most frequent are 'eats' (2), 'above' (1).")
    assert (
        "relationships.json: 4 of 6 relationships are left out because their subject or object is." in joined
    )


def test_known_names_give_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        loaded(tmp_path, [MAN, thing(2, "cup", 0, 0, WIDTH, HEIGHT)], [relationship(MAN, "holding", CUP)])
    assert not caplog.messages


def test_boxes_are_fitted_to_the_image_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sticking_out, flat = thing(1, "man", -2, 70, 30, 30), thing(2, "cup", 20, 15, 0, 9)
    with caplog.at_level(logging.WARNING):
        image = loaded(tmp_path, [thing(9, "sky"), sticking_out], [relationship(sticking_out, "near", flat)])
    assert image["annotations"].boxes.tolist() == [[0, 70, 28, HEIGHT], [20, 15, 21, 24]]
    assert image["changed_boxes"].tolist() == [0, 1]
    # the first message says that flat is not in objects.json
    _, message = caplog.messages
    assert "1 boxes that stick out of their image were clipped, and 1 boxes of less than one pixel" in message
    assert "the first in objects.json: image 7, object 1." in message


@pytest.mark.parametrize(
    "box", [(5, 5, -1, 4), (5, 5, 4, -1), (float("nan"), 5, 4, 4), (5, 5, float("inf"), 4)]
)
@pytest.mark.parametrize("in_objects", [True, False])
def test_impossible_boxes_are_named(tmp_path: Path, box: tuple[float, ...], in_objects: bool) -> None:
    bad = thing(22, "cup", *box)
    file_name = "objects.json" if in_objects else "relationships.json"
    with pytest.raises(ValueError, match=rf"{file_name}: image 7, object 22: x, y, w and h are .*Correct"):
        loaded(
            tmp_path, [thing(9, "sky"), MAN, *([bad] if in_objects else [])], [relationship(MAN, "near", bad)]
        )


def without(record: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name != key}


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (["man"], "record 0 of 'objects' (object_id None): 'man' cannot be read"),
        ([MAN, None], "record 1 of 'objects' (object_id None)"),
        ([without(MAN, "object_id")], "KeyError: 'object_id'"),
        ([{**MAN, "object_id": "1"}], "(object_id 1)"),
        ([{**MAN, "object_id": 2**70}], "OverflowError"),
        ([without(MAN, "x")], "(object_id 1)"),
        ([{**MAN, "w": None}], "(object_id 1)"),
        ([{**MAN, "h": "40"}], "(object_id 1)"),
        ([without(MAN, "names")], "KeyError: 'name'"),
        ([{**MAN, "names": "man"}], "its names 'man' are not a list"),
        ([{**MAN, "names": [4]}], "(object_id 1)"),
        ([{**MAN, "merged_object_ids": 5}], "(object_id 1)"),
        ([{**MAN, "merged_object_ids": ["5"]}], "(object_id 1)"),
    ],
)
def test_bad_objects_are_named(tmp_path: Path, objects: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        loaded(tmp_path, objects, [])
    assert str(tmp_path / "objects.json: image 7, ") in str(error.value)
    assert str(error.value).endswith("It needs object_id, names, x, y, w and h.")


@pytest.mark.parametrize(
    "record",
    [
        "near",
        without(relationship(MAN, "near", CUP), "predicate"),
        without(relationship(MAN, "near", CUP), "subject"),
        without(relationship(MAN, "near", CUP), "object"),
        {**relationship(MAN, "near", CUP), "predicate": 3},
        {**relationship(MAN, "near", CUP), "object": 3},
        {**relationship(MAN, "near", CUP), "subject": without(MAN, "object_id")},
    ],
)
def test_bad_relationships_are_named(tmp_path: Path, record: Any) -> None:
    identity = "None" if isinstance(record, str) else "900"
    with pytest.raises(ValueError, match="It needs predicate, and subject and object") as error:
        loaded(tmp_path, [MAN], [relationship(MAN, "near", MAN), record])
    where = f"relationships.json: image 7, record 1 of 'relationships' (relationship_id {identity})"
    assert str(tmp_path / where) in str(error.value)


@pytest.mark.parametrize("file_name", ["objects.json", "relationships.json"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file: not a JSON list"),
        ("{}", "the file: not a JSON list"),
        ("[", "the file: not valid JSON"),
        ('[{"image_id": 7, "KIND": []}', "the file: not a JSON list, or it is cut off"),
        ('[{"image_id": 7, "KIND": []},', "the file: not valid JSON"),
        ('[{"image_id": 7, "KIND": [', "the file: not valid JSON"),
        ('[{"image_id": 7, "KIND": []} {"image_id": 8, "KIND": []}]', "not a JSON list"),
        ('[{"image_id": 7, "KIND": []}] and more', "the file: not"),
        ("[7]", "image number 0: 7 lacks image_id or KIND"),
        ('[{"image_id": 7, "KIND": []}, {"image_id": 8}]', "image number 1"),
        ('[{"KIND": []}]', "image number 0"),
        ('[{"image_id": "7", "KIND": []}]', "image '7': the id is not a 64-bit integer"),
        (f'[{{"image_id": {-(10**30)}, "KIND": []}}]', "the id is not a 64-bit integer"),
        ("[" * 200_000, "the file: not valid JSON (maximum recursion"),
        (gzip.compress(b"[]", mtime=0), "is not text in UTF-8"),
        ("[]".encode("utf-16"), "is not text in UTF-8"),
        ('[{"image_id": 7, "KIND": {}}]', "image 7: the id is not a 64-bit integer, or 'KIND' is not a list"),
        ('[{"image_id": 7, "KIND": []}, {"image_id": 7, "KIND": []}]', "image 7: it is listed twice"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file_name: str, text: str | bytes, message: str) -> None:
    loaded(tmp_path, [MAN], [])
    kind = file_name.removesuffix(".json")
    content = text if isinstance(text, bytes) else text.replace("KIND", kind).encode()
    (tmp_path / file_name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message.replace("KIND", kind))) as error:
        load(tmp_path)
    assert str(tmp_path / file_name) in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["[]", " [ ] ", "\ufeff[]", '\n[\n{"image_id": 7, "objects": [ ]}\n ,\n{"image_id":8,"objects":[]}]\n'],
)
def test_white_space_is_ignored(tmp_path: Path, text: str) -> None:
    write_files(tmp_path, {}, {7: [], 8: []})
    (tmp_path / "objects.json").write_text(text)
    assert [d["image_id"] for d in load(tmp_path)] == [7, 8]


@pytest.mark.parametrize("file_name", ["objects.json", "relationships.json"])
def test_a_missing_file_is_named(tmp_path: Path, file_name: str) -> None:
    loaded(tmp_path, [MAN], [])
    (tmp_path / file_name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file_name} does not exist.*DETECTRON2_DATASETS"):
        load(tmp_path)


def test_images_can_be_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = {i: [relationship(MAN, "near", thing(i, "sky"))] for i in (5, 6, 7)}
    write_files(tmp_path, {i: [MAN] for i in (5, 6, 7)}, records)
    with caplog.at_level(logging.INFO):
        chosen = load(tmp_path, image_ids=[7, 5, 7])
    assert [(d["image_id"], len(d["annotations"])) for d in chosen] == [(7, 1), (5, 1)]
    # only the chosen images are counted
    assert "2 of 4 subjects and objects are in no object" in caplog.messages[0]
    assert "2 entities are left out" in caplog.messages[1]
    assert "2 of 2 relationships" in caplog.messages[2]
    assert load(tmp_path, image_ids=[]) == []
    with pytest.raises(
        ValueError, match=r"image_ids has 8, but neither objects\.json nor relationships\.json"
    ):
        load(tmp_path, image_ids=[5, 8])


def test_images_with_a_corrupt_picture_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    ids = [1592, 1593, 1722, 4616, 4617, 4618]
    write_files(tmp_path, {i: [MAN] for i in ids}, {i: [] for i in ids})
    assert [d["image_id"] for d in load(tmp_path)] == [1593, 4618]
    assert [d["image_id"] for d in load(tmp_path, image_ids=[1722, 1593])] == [1722, 1593]


def test_sizes_are_read_from_the_pictures_if_no_file_has_them(tmp_path: Path) -> None:
    write_files(tmp_path, {7: [MAN], 8: []}, {}, sizes=False)
    with pytest.raises(FileNotFoundError, match=r"7\.jpg does not exist"):
        load(tmp_path)
    write_pictures(tmp_path, "VG_100K/7.jpg", "images/8.jpg")
    assert [(d["width"], d["height"]) for d in load(tmp_path)] == [(WIDTH, HEIGHT)] * 2


def test_each_image_has_its_own_size(tmp_path: Path) -> None:
    write_files(tmp_path, {7: [MAN], 8: [MAN]}, {})
    sizes = [{"image_id": 9, "width": 1, "height": 2}, {"image_id": 8, "width": 21, "height": 22}]
    (tmp_path / "image_data.json").write_text(
        json.dumps([*sizes, {"image_id": 7, "width": 31, "height": 32}])
    )
    first, second = load(tmp_path)
    assert (first["width"], first["height"]) == (31, 32)
    assert (second["width"], second["height"]) == (21, 22)
    assert second["annotations"].boxes.tolist() == [[5, 10, 21, 22]]


def test_an_image_without_a_size_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, {7: [MAN], 8: []}, {9: []})
    (tmp_path / "image_data.json").write_text(json.dumps([{"image_id": 7, "width": 9, "height": 9}]))
    with pytest.raises(
        ValueError, match=r"image_data\.json: image 8: the file does not list it.*or remove it"
    ):
        load(tmp_path)


@pytest.fixture
def name() -> Iterator[str]:
    name = "test_visual_genome_raw_registration"
    yield name
    if name in DatasetCatalog:
        DatasetCatalog.remove(name)
    MetadataCatalog.pop(name, None)


def test_registration_is_lazy_and_can_be_repeated(tmp_path: Path, name: str) -> None:
    classes = {"thing_classes": list(THINGS), "predicate_classes": PREDICATES}
    for _ in range(2):
        register_visual_genome_raw(name, tmp_path, **classes, image_ids=[8], train_dataset="other")
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == list(THINGS)
    assert metadata.predicate_classes == list(PREDICATES)
    assert (metadata.evaluator_type, metadata.train_dataset) == ("relation", "other")
    write_files(tmp_path, {7: [MAN], 8: [MAN]}, {})
    assert [d["image_id"] for d in DatasetCatalog.get(name)] == [8]
    with pytest.raises(ValueError, match="registered already"):
        register_visual_genome_raw(name, tmp_path, **classes, image_ids=[7])


def test_the_vocabulary_is_that_of_vg150_unless_another_is_given(tmp_path: Path, name: str) -> None:
    register_visual_genome_raw(name, tmp_path, object_alias=None, predicate_alias=None)
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == list(OBJECT_CLASSES)
    assert metadata.predicate_classes == list(PREDICATE_CLASSES)
    write_files(tmp_path, {7: [MAN, TABLE]}, {7: [relationship(MAN, "near", TABLE)]})
    (tmp_path / "object_alias.txt").unlink()
    (image,) = DatasetCatalog.get(name)
    assert image["annotations"].classes.tolist() == [
        OBJECT_CLASSES.index("man"),
        OBJECT_CLASSES.index("table"),
    ]
    assert image["relations"].tolist() == [[0, 1, PREDICATE_CLASSES.index("near")]]


def slow_image(
    objects: list[Any], relationships: list[Any], things: dict[str, int], predicates: dict[str, int]
) -> tuple[list[tuple[int, list[float]]], list[list[int]]]:
    """(class, box) of the entities of one image, and its rows, by the rules in the loader's docstring.

    Args:
        objects, relationships: records of the image.
        things, predicates: name -> number.
    """
    entities = list(objects)
    meaning: dict[int, Any] = {}
    for record in objects:
        meaning.setdefault(record["object_id"], record)
    for record in objects:
        for merged in record["merged_object_ids"]:
            meaning.setdefault(merged, record)
    for record in relationships:
        for end in (record["subject"], record["object"]):
            if end["object_id"] not in meaning:
                meaning[end["object_id"]] = end
                entities.append(end)

    def number(record: Any) -> int | None:
        return next((things[n] for n in record.get("names") or [record.get("name")] if n in things), None)

    # compared by identity: two records may be equal
    kept = [record for record in entities if number(record) is not None]
    places = {id(record): place for place, record in enumerate(kept)}
    rows = []
    for record in relationships:
        ends = [places.get(id(meaning[record[end]["object_id"]])) for end in ("subject", "object")]
        if None not in ends and record["predicate"].lower() in predicates:
            rows.append([*ends, predicates[record["predicate"].lower()]])
    return [(number(r), [r["x"], r["y"], r["x"] + r["w"], r["y"] + r["h"]]) for r in kept], rows


def assert_equal_to_slow(
    images: list[dict[str, Any]],
    objects: dict[int, list[Any]],
    relationships: dict[int, list[Any]],
    things: dict[str, int],
    predicates: dict[str, int],
) -> None:
    assert [d["image_id"] for d in images] == list(dict.fromkeys([*objects, *relationships]))
    for image in images:
        records = objects.get(image["image_id"], []), relationships.get(image["image_id"], [])
        entities, rows = slow_image(*records, things, predicates)
        annotations = image["annotations"]
        found = list(zip(annotations.classes.tolist(), annotations.boxes.tolist(), strict=True))
        assert found == entities
        assert image["relations"].tolist() == rows


# few ids, so that many records repeat or contradict each other
few_ids = st.integers(1, 6)
entity_records = st.builds(
    lambda object_id, name, box, merged: thing(object_id, name, *box, merged=merged),
    few_ids,
    st.sampled_from([*THINGS, "sky", "boy"]),
    st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2),
    st.lists(few_ids, max_size=2).map(tuple),
)
relationship_records = st.builds(
    relationship, entity_records, st.sampled_from([*PREDICATES, "NEAR", "above"]), entity_records
)
few_images = st.sampled_from([3, 4, 11])


@given(
    st.dictionaries(few_images, st.lists(entity_records, max_size=5)),
    # at most 18 subjects and objects: with more, mostly unknown ones would be refused
    st.dictionaries(few_images, st.lists(relationship_records, max_size=3)),
)
def test_equals_one_record_after_the_other(
    tmp_path: Path, objects: dict[int, list[Any]], relationships: dict[int, list[Any]]
) -> None:
    write_files(tmp_path, objects, relationships)
    numbers = [{name: i for i, name in enumerate(names)} for names in (THINGS, PREDICATES)]
    assert_equal_to_slow(load(tmp_path), objects, relationships, *numbers)


def slow_numbers(classes: tuple[str, ...], table: Path) -> dict[str, int]:
    """Number of each name of a real alias table, whose chains have at most two links."""
    numbers = {name: i for i, name in enumerate(classes)}
    lines = [[" ".join(part.split()) for part in line.split(",")] for line in table.read_text().splitlines()]
    for _ in range(2):
        for name, *spellings in lines:
            if name in numbers:
                numbers |= dict.fromkeys(spellings, numbers[name])
    return numbers


def test_real_annotations_equal_one_record_after_the_other(dev_data: Path, tmp_path: Path) -> None:
    names = ("object_alias.txt", "predicate_alias.txt")
    for name in names:
        (tmp_path / name).symlink_to(dev_data / "vg150" / name)
    for name in ("objects.json", "relationships.json", "images"):
        (tmp_path / name).symlink_to(dev_data / "vg_mini" / name)
    images = load_visual_genome_raw(tmp_path)
    assert [(d["image_id"], d["width"], d["height"]) for d in images] == [
        (1, 800, 600), (2, 800, 600), (4, 640, 480), (5, 800, 600),
    ]  # fmt: skip
    records = {
        kind: {r["image_id"]: r[kind] for r in json.loads((tmp_path / f"{kind}.json").read_text())}
        for kind in ("objects", "relationships")
    }
    (sticking_out,) = [r for r in records["objects"][4] if r["object_id"] == 1060302]
    sticking_out["w"] = min(sticking_out["w"], 640 - sticking_out["x"])
    sticking_out["h"] = min(sticking_out["h"], 480 - sticking_out["y"])
    numbers = [
        slow_numbers(classes, tmp_path / name)
        for classes, name in zip((OBJECT_CLASSES, PREDICATE_CLASSES), names, strict=True)
    ]
    assert_equal_to_slow(images, records["objects"], records["relationships"], *numbers)
    assert sum(len(d["relations"]) for d in images) == 42
