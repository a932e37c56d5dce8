"""Records that loaders refuse: an error at the first in training; all of them, counted, in the checker."""

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from reldn_d2.data.checking.checks import check_dataset
from reldn_d2.data.checking.problems import refused_records
from reldn_d2.data.datasets.visual_genome.vg150 import load_vg150
from reldn_d2.utils.refusals import MOST_KEPT, Group, Refusal, collected, refuse, refuse_one
from tests.builders import vg150_files as vg150_format
from tests.builders.dataset_formats import authors_json, openimages_vrd, visual_genome_raw, vrd
from tests.builders.dataset_formats.damage import Damage, Format, Refused
from tests.builders.visual_genome_files import relationship as raw_relationship
from tests.builders.visual_genome_files import write_files
from tests.builders.vrd_records import CUP, PERSON, end, relationship

NAMES = (
    *("vg150", "visual_genome_raw", "openimages_vrd", "vrd", "authors_json", "coco_relations"),
    "label_studio",
)
FORMATS: list[Format] = [import_module(f"tests.builders.dataset_formats.{name}").FORMAT for name in NAMES]
# Damage of single records, which leaves the others as they are.
OF_RECORDS = (
    Damage.MISSING_IMAGE,
    Damage.BOX_ORDER,
    Damage.BOX_NOT_FINITE,
    Damage.DANGLING_ID,
    Damage.UNKNOWN_CLASS,
    Damage.UNKNOWN_PREDICATE,
)
CASES = [
    pytest.param(one, damage, id=f"{one.name}-{damage.name}")
    for one in FORMATS
    for damage in OF_RECORDS
    if isinstance(one.outcomes.get(damage), Refused)
]


def counts(groups: dict[tuple[str, str], Group]) -> dict[str, int]:
    return {kind: group.count for (_, kind), group in groups.items()}


def records(count: int) -> Any:
    return lambda k: Refusal(f"line {k}", f"it is {k} of {count}", "Correct it.")


def test_the_first_is_an_error_that_counts_the_others() -> None:
    refuse("a.json", "odd line", 0, records(0))
    with pytest.raises(ValueError, match=r"^a\.json: line 0: it is 0 of 1\. Correct it\.$"):
        refuse(Path("a.json"), "odd line", 1, records(1))
    with pytest.raises(OSError, match=r"Correct it\. The same check fails for 2 more: line 1, line 2\.$"):
        refuse("a.json", "odd line", 3, records(3), OSError)
    with pytest.raises(ValueError, match=r"for 98 more: line 1, .*, line 30, \.\.\.\.$"):
        refuse("a.json", "odd line", 99, records(99))


def test_all_are_collected_by_file_and_kind() -> None:
    with collected() as groups:
        refuse("a.json", "odd line", 3, records(3))
        refuse_one("b.json", "odd line", "line 7", "it is 7", "Correct it.")
        refuse("a.json", "odd line", 1000, records(1000))
        refuse_one("a.json", "no line", "the file", "it is empty", "Fill it.")
    assert [(*key, group.count) for key, group in groups.items()] == [
        ("a.json", "odd line", 1003), ("b.json", "odd line", 1), ("a.json", "no line", 1),
    ]  # fmt: skip
    first = groups["a.json", "odd line"].first
    assert [refusal.where for refusal in first] == ["line 0", "line 1", "line 2", "line 0", "line 1"]
    assert len(first) == MOST_KEPT
    # Afterwards everything is an error again, also where the block has failed.
    with pytest.raises(KeyError), collected():
        raise KeyError
    with pytest.raises(ValueError, match="it is 7"):
        refuse_one("b.json", "odd line", "line 7", "it is 7", "Correct it.")


def test_each_group_is_a_problem_of_the_checker() -> None:
    with collected() as groups:
        refuse("a.json", "odd line", 9, records(9))
        refuse_one("a.json", "no line", "the file", "it is empty", "Fill it.")
    first, second = refused_records(groups.values())
    assert (first.kind, first.about, first.count, first.is_error) == ("refused", "odd line", 9, True)
    assert str(first.records[1]) == "a.json: line 1: it is 1 of 9" and len(first.records) == 5
    assert (second.about, second.remedy) == ("no line", "Fill it.")


@pytest.mark.parametrize(("one", "damage"), CASES)
def test_the_checker_reads_past_a_damaged_record(one: Format, damage: Damage, tmp_path: Path) -> None:
    one.write(tmp_path, damage)
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        one.load(tmp_path)
    with collected() as groups:
        dataset_dicts = one.load(tmp_path)
    assert groups and len(dataset_dicts) >= 2
    group = next(iter(groups.values()))
    refusal = group.first[0]
    assert str(raised.value).startswith(f"{group.path}: {refusal.where}: {refusal.problem}. {refusal.remedy}")
    left = check_dataset(dataset_dicts, one.num_classes, one.num_predicates)
    assert not [problem for problem in left.problems if problem.is_error]
    assert all(len(dataset_dict["relations"]) for dataset_dict in dataset_dicts[-2:])


@pytest.mark.parametrize("one", [vrd, openimages_vrd], ids=lambda one: one.FORMAT.name)
def test_pictures_that_are_missing_or_unreadable_are_counted_with_other_damage(
    one: ModuleType, tmp_path: Path
) -> None:
    form: Format = one.FORMAT
    form.write(tmp_path, Damage.BOX_ORDER)
    first, second, third = sorted(tmp_path.rglob("*.jpg"))
    second.write_text("<html>")
    third.unlink()
    with collected() as groups:
        assert {image["file_name"] for image in form.load(tmp_path)} <= {str(first)}
    assert sum(counts(groups).values()) == len(groups) == 3
    unreadable = groups[str(first.parent), "picture that can't be read"].first[0]
    assert unreadable.where == f"picture {second.name!r}" and "cannot be read (" in unreadable.problem
    (lost,) = [group for (_, kind), group in groups.items() if kind == "missing or unclear picture"]
    assert lost.first[0].where == f"image {third.name!r}" and " 1 of " in lost.first[0].problem


def test_a_data_set_without_any_picture_is_counted(tmp_path: Path) -> None:
    vrd.write(tmp_path, Damage.NONE)
    for file in tmp_path.rglob("*.jpg"):
        file.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"3 of 3 images.* for 2 more: image 'b\.jpg', image 'c\.jpg'"
    ):
        vrd.load(tmp_path)
    with collected() as groups:
        assert vrd.load(tmp_path) == []
    assert counts(groups) == {"missing or unclear picture": 3}


def test_an_error_in_its_own_words_is_raised_as_it_is() -> None:
    refuse("a.json", "odd line", 0, records(0), KeyError("line 0"))
    with pytest.raises(KeyError, match="line 0"):
        refuse("a.json", "odd line", 2, records(2), KeyError("line 0"))
    with collected() as groups:
        refuse("a.json", "odd line", 2, records(2), KeyError("line 0"))
    assert counts(groups) == {"odd line": 2}


def test_all_damages_of_a_file_of_vrd_are_counted(tmp_path: Path) -> None:
    vrd.write(tmp_path, Damage.NONE)
    content = {
        "a.jpg": [
            relationship(PERSON, end(52, 12, 8, 14, 18)),
            relationship(PERSON, end(100, 8, 12, 14, 18), 70),
            relationship(PERSON, CUP),
        ],
        "b.jpg": [{"subject": 3, "object": 4, "predicate": 5}, {"subject": PERSON}, 7],
        "c.jpg": None,
        "../d.jpg": [],
    }
    text = json.dumps(content)
    (tmp_path / "json_dataset" / vrd.JSON).write_text(f'{text[:-1]}, "c.jpg": null}}')
    (tmp_path / "json_dataset" / "objects.json").write_text("[]")
    with collected() as groups:
        first, second, third = vrd.load(tmp_path)
    assert counts(groups) == {
        "other names": 1,
        "key that occurs twice": 1,
        "name outside the image folder": 1,
        "box in another order or not finite": 1,
        "unknown category": 1,
        "unknown predicate": 1,
        "entity without a category or a box": 2,
        "relationship that lacks a part": 2,
        "image without a list": 1,
    }
    assert [len(image["relations"]) for image in (first, second, third)] == [1, 0, 0]


def test_all_damages_of_the_authors_boxes_are_counted(tmp_path: Path) -> None:
    authors_json.write(tmp_path, Damage.NONE)
    content = authors_json.coco(Damage.NONE)
    content["annotations"][0]["bbox"] = [1, 2, 3]
    content["annotations"][1]["bbox"] = [1, 2, -3, 4]
    content["annotations"][2]["category_id"] = 9
    content["annotations"][3]["image_id"] = 9
    del content["annotations"][4]["bbox"]
    content["images"].append(dict(content["images"][0]))
    (tmp_path / authors_json.DETECTIONS).write_text(json.dumps(content))
    with collected() as groups:
        assert len(authors_json.load(tmp_path)) == 3
    assert sum(counts(groups).values()) == len(groups) == 6


def openimages(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    openimages_vrd.FORMAT.write(folder, Damage.NONE)
    openimages_vrd.write_csv(folder / openimages_vrd.CSV, rows)


def test_all_damages_of_a_file_of_openimages_are_counted(tmp_path: Path) -> None:
    left, right = openimages_vrd.LEFT, openimages_vrd.RIGHT
    man, guitar = openimages_vrd.MAN, openimages_vrd.GUITAR
    ids = ("a0", "b1", "c2")
    openimages(
        tmp_path,
        [
            *(openimages_vrd.row(i, man, left, "plays", guitar, right) for i in ids),
            openimages_vrd.row("a0", "/m/0000", left, "plays", guitar, right),
            openimages_vrd.row("a0", man, left, "juggles", guitar, right),
            openimages_vrd.row("a0", man, (0.1, 0.2, 1.3, 0.9), "plays", guitar, right),
            openimages_vrd.row("b1", man, (0.3, 0.2, 0.1, 0.9), "plays", guitar, right),
            openimages_vrd.row("b1", man, ("x", 0.2, 0.3, 0.9), "plays", guitar, right),
            openimages_vrd.row("b1", man, (0.1, "", 0.3, 0.9), "plays", guitar, right),
            openimages_vrd.row("../c2", man, left, "plays", guitar, right),
        ],
    )
    path = tmp_path / openimages_vrd.CSV
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], f"{lines[2]},x", "", f"{lines[2]},y,z", *lines[3:], ""]))
    (tmp_path / "challenge-2018-train-vrd-labels.csv").write_text(
        f"ImageID,LabelName,Confidence\na0,{man},1\nb1,{man}\nb1,{man},1,2\nc2,{guitar},0\n"
    )
    with collected() as groups:
        dataset_dicts = openimages_vrd.FORMAT.load(tmp_path)
    assert sum(counts(groups).values()) == 11 and len(groups) == 9
    long = groups[str(path), "line with too many fields"].first
    assert [refusal.where for refusal in long] == ["line 4, image b1", "line 6, image b1"]
    # Lines behind them keep their numbers.
    assert groups[str(path), "box with swapped corners"].first[0].where == "line 11, image b1"
    assert ["verified_classes" in image for image in dataset_dicts] == [True, False, True]
    assert all(group.first[0].where.startswith("line ") for group in groups.values())
    assert [len(image["relations"]) for image in dataset_dicts] == [1, 1, 1]


def vg150_files(folder: Path, change: Callable[[vg150_format.Arrays, list[Any]], None]) -> None:
    """Ten images of two boxes and a relationship each, whose arrays and image_data.json are changed."""
    photos = [vg150_format.Photo(i) for i in range(10, 20)]
    arrays, images = vg150_format.h5_arrays(photos), vg150_format.image_data(photos)
    change(arrays, images)
    vg150_format.write_files(folder, arrays, images)


def test_all_damages_of_the_files_of_vg150_are_counted(tmp_path: Path) -> None:
    def change(arrays: vg150_format.Arrays, images: list[Any]) -> None:
        arrays["labels"][[3, 4]] = 151
        arrays["predicates"][4] = 0
        arrays["boxes_1024"][10, 2] = -1
        arrays["relationships"][6] = 999
        arrays["split"][7] = 1
        images[8] = {"image_id": 18, "width": 5}
        images[9]["height"] = 0

    vg150_files(tmp_path, change)
    names = tmp_path / "VG-SGG-dicts-with-attri.json"
    names.write_text(json.dumps({**vg150_format.dicts(), "label_to_idx": {}}))
    with collected() as groups:
        dataset_dicts = load_vg150(tmp_path, "trainval", keep_empty=True)
    assert counts(groups) == {
        "other names": 1,
        "record that lacks a key": 1,
        "impossible id or size": 1,
        "row of 'split'": 1,
        "row of 'boxes_1024'": 1,
        "row of 'labels'": 2,
        "row of 'predicates'": 1,
        "row of 'relationships'": 1,
    }
    assert groups[str(tmp_path / "VG-SGG-with-attri.h5"), "row of 'labels'"].first[0].where == (
        "row 3 of 'labels' (image 11)"
    )
    found = {x["image_id"]: (len(x["annotations"]), x["relations"].tolist()) for x in dataset_dicts}
    one = [[0, 1, 0]]
    assert found == {
        **{10: (2, one), 11: (1, []), 12: (1, []), 13: (2, one), 14: (2, []), 15: (1, [])},
        16: (2, []),
    }
    assert not [x for x in check_dataset(dataset_dicts, 150, 50).problems if x.is_error]


def test_relationships_follow_boxes_of_vg150_when_others_are_refused(tmp_path: Path) -> None:
    three = vg150_format.Photo(
        5,
        boxes=[(100, 100, 0, 60), (400, 300, 200, 100), (200, 300, 100, 100)],
        labels=[1, 2, 3],
        relations=[(0, 1, 1), (2, 1, 2), (1, 0, 3), (1, 2, 4)],
    )
    vg150_format.write_vg150(tmp_path, [vg150_format.Photo(4), three, vg150_format.Photo(6)])
    with collected() as groups:
        _, found, last = load_vg150(tmp_path, "trainval")
    assert counts(groups) == {"row of 'boxes_1024'": 1}
    assert found["annotations"].classes.tolist() == [1, 2]
    assert found["relations"].tolist() == [[1, 0, 1], [0, 1, 3]] and last["relations"].tolist() == [[0, 1, 0]]


def test_where_rows_of_vg150_have_no_image_their_values_are_counted_all_the_same(tmp_path: Path) -> None:
    def change(arrays: vg150_format.Arrays, images: list[Any]) -> None:
        arrays["labels"][3] = 151
        arrays["predicates"] = arrays["predicates"].astype(float)
        arrays["img_to_last_box"] = arrays["img_to_last_box"][:-1]
        del arrays["relationships"], images[4]

    vg150_files(tmp_path, change)
    with collected() as groups, pytest.raises(ValueError, match="not read further"):
        load_vg150(tmp_path, "trainval")
    assert counts(groups) == {
        "array of another form": 1,
        "array of another length": 1,
        "missing array": 1,
        "row of 'labels'": 1,
    }

    def moved(arrays: vg150_format.Arrays, images: list[Any]) -> None:
        arrays["img_to_last_box"][2] += 1
        arrays["img_to_last_rel"][9] += 1
        arrays["img_to_first_rel"][5] = 7
        arrays["predicates"][3] = 51
        del images[4]

    vg150_files(tmp_path, moved)
    with collected() as groups, pytest.raises(ValueError, match="not read further"):
        load_vg150(tmp_path, "trainval")
    # One wrong end is one wrong row, not all rows behind it.
    assert counts(groups) == {
        "other number of images": 1,
        "row of 'img_to_first_box'": 1,
        "row of 'img_to_last_rel'": 1,
        "row of 'img_to_first_rel'": 1,
        "row of 'predicates'": 1,
    }


def test_files_of_vg150_that_do_not_belong_together_are_counted_with_other_damage(tmp_path: Path) -> None:
    shapes = [(512, 384), (384, 512)]
    photos = [
        vg150_format.Photo(i, boxes=[(w, h, w, h), (w, h, 2 * w, 2 * h)], width=w, height=h)
        for i, (w, h) in enumerate(shapes[i % 2] for i in range(60))
    ]
    arrays = vg150_format.h5_arrays(photos)
    arrays["labels"][3] = 151
    vg150_format.write_files(tmp_path, arrays, vg150_format.image_data(photos[1:] + photos[:1]))
    with collected() as groups:
        load_vg150(tmp_path, "trainval")
    assert counts(groups) == {
        "row of 'labels'": 1,
        "rows of other images": 1,
        "boxes of another order, scale or image": 1,
    }


def test_records_of_raw_visual_genome_that_break_off_leave_no_trace(tmp_path: Path) -> None:
    man, cup = visual_genome_raw.MAN, visual_genome_raw.CUP
    right = raw_relationship(man, "holding", cup)
    # Each breaks off at another place: after the merged ids, the box, the subject.
    objects = [{**man, "merged_object_ids": [5], "object_id": "x"}, man, {**cup, "names": "cup"}, 7, cup]
    relationships = [
        raw_relationship(man, "near", {**cup, "w": None}), right, raw_relationship(man, 5, cup),
        {"predicate": "on"},
    ]  # fmt: skip
    others: dict[int, Any] = {8: [man, cup], 9: [man, cup]}
    related: dict[int, Any] = {8: [right], 9: [right]}
    visual_genome_raw.write(tmp_path, Damage.NONE)
    expected = visual_genome_raw.load(tmp_path)
    write_files(tmp_path, {7: objects, **others}, {7: relationships, **related})
    with pytest.raises(ValueError, match=r"objects\.json: image 7, record 0 of 'objects'"):
        visual_genome_raw.load(tmp_path)
    with collected() as groups:
        found = visual_genome_raw.load(tmp_path)
    assert counts(groups) == {
        "record of 'objects' of another form": 3,
        "record of 'relationships' of another form": 3,
    }
    for one, other in zip(found, expected, strict=True):
        assert list(one["annotations"]) == list(other["annotations"])
        assert one["relations"].tolist() == other["relations"].tolist()
