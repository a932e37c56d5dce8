import csv
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.data.datasets.openimages import vrd as openimages_vrd
from reldn_d2.data.datasets.openimages.files import find_file
from reldn_d2.data.datasets.openimages.vocabulary import ATTRIBUTES, CLASSES, PREDICATES, VOCABULARY_2018
from reldn_d2.data.datasets.openimages.vrd import load_openimages_vrd, register_openimages_vrd
from reldn_d2.data.images import SizedImage
from reldn_d2.evaluation import image_sizes, read_submission, submission_labels, write_submission
from reldn_d2.evaluation.io.submission import graph_of_triplets
from tests.builders.dataset_formats.openimages_vrd import (
    COLUMNS,
    CSV,
    GUITAR,
    HEIGHT,
    LEFT,
    MAN,
    MIDDLE,
    RIGHT,
    TABLE,
    WIDTH,
    WOMAN,
    WOODEN,
    attribute_row,
    row,
    write_csv,
    write_pictures,
)

Record = dict[str, Any]
NAME = "test_openimages"

MAN_CLASS, GUITAR_CLASS, TABLE_CLASS = (sorted(CLASSES).index(label) for label in (MAN, GUITAR, TABLE))
PLAYS, HOLDS = PREDICATES.index("plays"), PREDICATES.index("holds")


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    yield
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog:
            catalog.remove(NAME)


def write(root: Path, rows: list[Record], file_name: str = CSV, pictures: str = "train") -> None:
    write_csv(root / file_name, rows)
    write_pictures(root / pictures, sorted({record["ImageID"] for record in rows}))


def pixels(*box: float) -> list[float]:
    return pytest.approx([side * share for side, share in zip((WIDTH, HEIGHT) * 2, box, strict=True)])


def slowly_loaded(rows: list[Record], sizes: dict[str, tuple[int, int]]) -> dict[str, Record]:
    """Image id -> its entities, relationships and attributes, from the rows of a CSV one by one."""
    images: dict[str, Record] = {}
    classes, attributes = sorted(CLASSES), list(ATTRIBUTES)
    for record in rows:
        ends = [
            (
                record[f"LabelName{end}"],
                *(float(record[f"{side}{end}"]) for side in ("XMin", "YMin", "XMax", "YMax")),
            )
            for end in (1, 2)
        ]
        image = images.setdefault(record["ImageID"], {"entities": [], "relations": [], "attributes": []})
        if record["RelationLabel"] == "is":
            image["attributes"].append((ends[0], attributes.index(record["LabelName2"])))
            continue
        for end in ends:
            if end not in image["entities"]:
                image["entities"].append(end)
        subject, object = (image["entities"].index(end) for end in ends)
        image["relations"].append([subject, object, PREDICATES.index(record["RelationLabel"])])
    result = {}
    for image_id in sorted(images):
        image = images[image_id]
        if not image["relations"]:
            continue
        width, height = sizes[image_id]
        scale = np.array([width, height, width, height])
        entities = image["entities"]
        result[image_id] = {
            "boxes": [end[1:] * scale for end in entities],
            "classes": [classes.index(end[0]) for end in entities],
            "relations": image["relations"],
            "attribute_boxes": [end[1:] * scale for end, _ in image["attributes"]],
            "attribute_classes": [classes.index(end[0]) for end, _ in image["attributes"]],
            "attributes": [attribute for _, attribute in image["attributes"]],
            "annotation": [entities.index(end) if end in entities else -1 for end, _ in image["attributes"]],
        }
    return result


def check_equal(data: list[Record], expected: dict[str, Record]) -> None:
    assert [found["image_id"] for found in data] == list(expected)
    boxes: dict[str, list[Any]] = {"found": [np.zeros((0, 4))], "wanted": []}
    for found, wanted in zip(data, expected.values(), strict=True):
        boxes["found"].append(found["annotations"].boxes)
        boxes["wanted"] += wanted["boxes"]
        assert found["annotations"].classes.tolist() == wanted["classes"]
        assert found["relations"].tolist() == wanted["relations"]
        assert ("attributes" in found) == bool(wanted["attributes"])
        if "attributes" in found:
            given = dict(found["attributes"])
            boxes["found"].append(given.pop("boxes"))
            boxes["wanted"] += wanted["attribute_boxes"]
            assert {key: values.tolist() for key, values in given.items()} == {
                "classes": wanted["attribute_classes"],
                "attributes": wanted["attributes"],
                "annotation": wanted["annotation"],
            }
    wanted_boxes = np.reshape(boxes["wanted"], (-1, 4))
    np.testing.assert_allclose(np.concatenate(boxes["found"]), wanted_boxes, atol=1e-9)


def test_the_dataset_dicts_of_a_small_set(tmp_path: Path) -> None:
    rows = [
        row("b", MAN, LEFT, "plays", GUITAR, MIDDLE),
        row("a", WOMAN, RIGHT, "at", TABLE, LEFT),
        attribute_row("b", GUITAR, MIDDLE, WOODEN),
        attribute_row("b", GUITAR, RIGHT, WOODEN),
        row("b", MAN, LEFT, "holds", GUITAR, MIDDLE),
    ]
    write(tmp_path, rows)
    first, second = load_openimages_vrd(tmp_path, "train")
    assert (first["image_id"], second["image_id"]) == ("a", "b")
    assert second["file_name"] == str(tmp_path / "train" / "b.jpg")
    assert (second["width"], second["height"]) == (WIDTH, HEIGHT)
    assert [annotation["bbox"] for annotation in second["annotations"]] == [pixels(*LEFT), pixels(*MIDDLE)]
    assert second["annotations"].classes.tolist() == [MAN_CLASS, GUITAR_CLASS]
    assert second["relations"].tolist() == [[0, 1, PLAYS], [0, 1, HOLDS]]
    assert second["relations"].dtype == np.int64
    assert second["attributes"]["boxes"].tolist() == [pixels(*MIDDLE), pixels(*RIGHT)]
    assert second["attributes"]["classes"].tolist() == [GUITAR_CLASS] * 2
    assert second["attributes"]["attributes"].tolist() == [list(ATTRIBUTES).index(WOODEN)] * 2
    assert second["attributes"]["annotation"].tolist() == [1, -1]
    assert "attributes" not in first
    assert "verified_classes" not in first


def has_a_relationship(rows: list[Record]) -> bool:
    return any(record["RelationLabel"] != "is" for record in rows)


BOXES = st.sampled_from([LEFT, RIGHT, MIDDLE, (0.1, 0.2, 0.3, 0.95)])
ENTITIES = st.sampled_from([MAN, GUITAR, TABLE])
IMAGES = st.sampled_from(["7", "07", "a", "1e5"])
ROWS = st.one_of(
    st.builds(row, IMAGES, ENTITIES, BOXES, st.sampled_from(PREDICATES), ENTITIES, BOXES),
    st.builds(attribute_row, IMAGES, ENTITIES, BOXES, st.sampled_from(sorted(ATTRIBUTES))),
)


@given(st.lists(ROWS, min_size=1, max_size=20).filter(has_a_relationship))
@settings(max_examples=40)
def test_any_rows_load_as_they_do_one_by_one(tmp_path: Path, rows: list[Record]) -> None:
    write(tmp_path, rows)
    sizes = {record["ImageID"]: (WIDTH, HEIGHT) for record in rows}
    check_equal(load_openimages_vrd(tmp_path, "train"), slowly_loaded(rows, sizes))


def test_real_rows_load_as_they_do_one_by_one(
    dev_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = dev_data / "openimages_vrd" / "sample-vrd.csv"
    shutil.copy(source, tmp_path / CSV)
    with source.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 10675
    image_ids = sorted({record["ImageID"] for record in rows})
    sizes = {image_id: (600 + number % 7, 400 + number % 5) for number, image_id in enumerate(image_ids)}
    # these rows have no pictures
    (tmp_path / "train").mkdir()
    monkeypatch.setattr(
        openimages_vrd,
        "find_sized_images",
        lambda names, folders, source: {
            name: SizedImage(Path(name), sizes[Path(name).stem]) for name in names
        },
    )
    data = load_openimages_vrd(tmp_path, "train")
    assert (len(data), sum(len(found["relations"]) for found in data)) == (2611, 8675)
    assert sum(len(found["annotations"]) for found in data) == 11626
    check_equal(data, slowly_loaded(rows, sizes))


def test_the_names_of_the_official_tables_are_ours(dev_data: Path) -> None:
    def table(name: str) -> dict[str, str]:
        with (dev_data / "openimages_vrd" / name).open(newline="") as stream:
            return dict(csv.reader(stream))

    classes = table("class-descriptions-boxable.csv")
    assert {label: classes[label] for label in CLASSES} == CLASSES
    assert list(table("challenge-2018-attributes-description.csv").items()) == list(ATTRIBUTES.items())
    predicates = table("challenge-2018-relationships-description.csv")
    assert [label for label in predicates if label != "is"] == list(PREDICATES)


def test_columns_may_come_in_another_order_and_with_the_later_name(tmp_path: Path) -> None:
    rows = [row("a", MAN, LEFT, "plays", GUITAR, MIDDLE)]
    write(tmp_path, rows)
    (expected,) = load_openimages_vrd(tmp_path, "train")
    columns = [*COLUMNS[:-1][::-1], "RelationshipLabel"]
    write_csv(tmp_path / CSV, [{**rows[0], "RelationshipLabel": "plays"}], columns)
    (found,) = load_openimages_vrd(tmp_path, "train")
    assert found["annotations"] == expected["annotations"]
    assert found["relations"].tolist() == expected["relations"].tolist()


def test_one_box_with_two_classes_is_two_entities(tmp_path: Path) -> None:
    write(tmp_path, [row("a", MAN, LEFT, "at", TABLE, MIDDLE), row("a", WOMAN, LEFT, "at", TABLE, MIDDLE)])
    (image,) = load_openimages_vrd(tmp_path, "train")
    assert len(image["annotations"]) == 3
    assert image["relations"][:, :2].tolist() == [[0, 1], [2, 1]]


def test_rounding_is_clipped_and_empty_boxes_are_widened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, [row("a", MAN, (-0.0005, 0.0, 1.0005, 1.0), "at", TABLE, (0.5, 0.5, 0.5, 0.75))])
    with caplog.at_level(logging.WARNING):
        (image,) = load_openimages_vrd(tmp_path, "train")
    assert image["annotations"].boxes.tolist() == [[0, 0, WIDTH, HEIGHT], [40, 20, 41, 30]]
    assert image["changed_boxes"].tolist() == [1]
    # the first message says that there is no list of validation images
    _, message = caplog.messages
    assert (
        CSV in message and "0 boxes that stick out" in message and "1 boxes of less than one pixel" in message
    )
    assert "image a" in message


def test_a_changed_box_of_an_attribute_does_not_change_an_entity(tmp_path: Path) -> None:
    flat = (0.5, 0.5, 0.5, 0.75)
    write(tmp_path, [row("a", MAN, LEFT, "at", TABLE, MIDDLE), attribute_row("a", TABLE, flat, WOODEN)])
    (image,) = load_openimages_vrd(tmp_path, "train")
    assert image["attributes"]["boxes"].tolist() == [[40, 20, 41, 30]]
    assert "changed_boxes" not in image


def test_images_with_attributes_only_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [attribute_row("a", TABLE, LEFT, WOODEN), row("b", MAN, LEFT, "at", TABLE, MIDDLE)]
    write(tmp_path, rows)
    # it needs no picture
    (tmp_path / "train" / "a.jpg").unlink()
    with caplog.at_level(logging.INFO):
        (image,) = load_openimages_vrd(tmp_path, "train")
    assert image["image_id"] == "b"
    assert (
        "1 images of split 'train' have relationships; 1 that have attributes only are left out"
        in caplog.text
    )


@pytest.mark.parametrize("mini", [False, True])
def test_a_file_of_attributes_alone_is_refused(tmp_path: Path, mini: bool) -> None:
    write(tmp_path, [attribute_row(image, TABLE, LEFT, WOODEN) for image in "aab"])
    message = rf"{CSV}: no image in the split 'train': its 2 images have rows of 'is' only.*Use official"
    with pytest.raises(ValueError, match=message):
        load_openimages_vrd(tmp_path, "train", mini=mini)


@pytest.mark.parametrize(
    ("split", "listed", "reason"),
    [("val", "elsewhere", "lists none of its 2 images"), ("train", "a\nb", "lists all of its 2 images")],
)
def test_a_validation_list_that_leaves_nothing_is_refused(
    tmp_path: Path, split: str, listed: str, reason: str
) -> None:
    write(tmp_path, [row(image, MAN, LEFT, "plays", GUITAR, MIDDLE) for image in "ab"])
    (tmp_path / "challenge-2018-image-ids-valset-vrd.csv").write_text(f"ImageID\n{listed}\n")
    message = rf"{CSV}: no image in the split '{split}': .*challenge-2018-image-ids-valset-vrd\.csv {reason}"
    with pytest.raises(ValueError, match=message):
        load_openimages_vrd(tmp_path, split)


@pytest.mark.parametrize("split", ["train", "val"])
def test_listed_validation_images_that_are_not_there_are_counted(
    tmp_path: Path, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row(image, MAN, LEFT, "plays", GUITAR, MIDDLE) for image in ("a", "b")]
    write(tmp_path, [*rows, attribute_row("c", TABLE, LEFT, WOODEN)])
    ids = tmp_path / "challenge-2018-image-ids-valset-vrd.csv"
    ids.write_text("ImageID\nc\nz\na\ny\n")
    with caplog.at_level(logging.WARNING):
        load_openimages_vrd(tmp_path, split)
    (message,) = caplog.messages
    assert f"{ids}: 2 of 4 images are not in {CSV}, the first being z in line 3" in message
    ids.write_text("ImageID\nc\na\n")
    caplog.clear()
    load_openimages_vrd(tmp_path, split)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"XMin1": -0.002},
            "line 3, image b: a box leaves the image (XMin1 -0.002, YMin1 0.2, XMax1 0.3, YMax1 0.9)",
        ),
        (
            {"YMax2": 1.002},
            "line 3, image b: a box leaves the image (XMin2 0.25, YMin2 0.5, XMax2 0.5, YMax2 1.002)",
        ),
        (
            {"XMax1": 0.05},
            "line 3, image b: a box has swapped corners (XMin1 0.1, YMin1 0.2, XMax1 0.05, YMax1 0.9)",
        ),
        (
            {"YMax2": 0.25},
            "line 3, image b: a box has swapped corners (XMin2 0.25, YMin2 0.5, XMax2 0.5, YMax2 0.25)",
        ),
        ({"XMin1": "left"}, "line 3, image b: XMin1 is missing or not a number"),
        ({"XMin1": ""}, "line 3, image b: XMin1 is missing or not a number"),
        ({"ImageID": ""}, "line 3: ImageID is missing"),
        ({"LabelName1": "/m/0x"}, "line 3, image b: class /m/0x is not in the vocabulary"),
        ({"LabelName2": "/m/0x"}, "line 3, image b: class /m/0x is not in the vocabulary"),
        ({"LabelName2": WOODEN}, f"line 3, image b: class {WOODEN} is not in the vocabulary"),
        ({"RelationLabel": "play"}, "line 3, image b: predicate play is not in the vocabulary"),
        ({"RelationLabel": "is"}, f"line 3, image b: attribute {GUITAR} is not in the vocabulary"),
        (
            {"RelationLabel": "is", "LabelName1": "/m/0x", "LabelName2": WOODEN},
            "line 3, image b: class /m/0x is not in the vocabulary",
        ),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, wrong: Record, message: str) -> None:
    good = row("a", MAN, LEFT, "plays", GUITAR, MIDDLE)
    write_csv(tmp_path / CSV, [good, good | {"ImageID": "b"} | wrong])
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=CSV) as caught:
        load_openimages_vrd(tmp_path, "train")
    assert message in str(caught.value)


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_file_that_is_cut_off_is_never_read(tmp_path: Path, cut: int) -> None:
    # the last column is a number, and a part of a number is a number, too
    rows = [row(image, MAN, LEFT, "plays", GUITAR, MIDDLE) for image in "ab"]
    write_csv(tmp_path / CSV, rows, [*COLUMNS[:2], "RelationLabel", *COLUMNS[2:-1]])
    content = (tmp_path / CSV).read_bytes()
    (tmp_path / CSV).write_bytes(content[:-cut])
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=f"{CSV}: the last line has no line break"):
        load_openimages_vrd(tmp_path, "train")


@pytest.mark.parametrize(
    ("file_name", "split", "folder"),
    [
        ("challenge-2018-train-vrd.csv", "train", "train"),
        ("challenge-2019-train-vrd.csv", "train", "train_0"),
        ("oidv6-train-annotations-vrd.csv", "train", "train_f"),
        ("challenge-2019-validation-vrd.csv", "val", "validation"),
        ("oidv6-validation-annotations-vrd.csv", "val", "val"),
        ("validation-annotations-vrd.csv", "val", "validation"),
        ("test-annotations-vrd.csv", "test", "test"),
        ("oidv6-test-annotations-vrd.csv", "test", "test"),
    ],
)
def test_files_are_found_under_the_names_of_every_year(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file_name: str, split: str, folder: str
) -> None:
    write(tmp_path, [row("a", MAN, LEFT, "plays", GUITAR, MIDDLE)], file_name, folder)
    for other in ("bbox", "labels-expanded"):
        (tmp_path / file_name.replace("vrd.csv", f"vrd-{other}.csv")).write_text("other")
    (image,) = load_openimages_vrd(tmp_path, split)
    # only in 2018 was validation a part of the training file
    assert len(caplog.messages) == ("2018" in file_name)
    assert image["file_name"] == str(tmp_path / folder / "a.jpg")
    for other in {"train", "val", "test"} - {split}:
        with pytest.raises(FileNotFoundError, match=f"{tmp_path} has no file .*DETECTRON2_DATASETS"):
            load_openimages_vrd(tmp_path, other)


def test_the_validation_of_2018_is_a_list_of_training_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row(image, MAN, LEFT, "plays", GUITAR, MIDDLE) for image in ("a", "b", "c")]
    write(tmp_path, rows)
    ids = tmp_path / "challenge-2018-image-ids-valset-vrd.csv"
    ids.write_text("ImageID\nc\na\nelsewhere\n")
    assert [image["image_id"] for image in load_openimages_vrd(tmp_path, "train")] == ["b"]
    assert [image["image_id"] for image in load_openimages_vrd(tmp_path, "val")] == ["a", "c"]
    assert "has no list" not in caplog.text
    ids.unlink()
    caplog.clear()
    assert len(load_openimages_vrd(tmp_path, "train")) == 3
    (message,) = caplog.messages
    assert message.startswith(
        f"{tmp_path} has no list *-image-ids-valset-vrd.csv: split 'train' is all of {CSV},"
    )
    with pytest.raises(
        FileNotFoundError, match=r"no file \*validation\*-vrd\.csv and no list \*-image-ids-valset-vrd\.csv"
    ):
        load_openimages_vrd(tmp_path, "val")
    # images of a separate validation file do not belong to the training file either
    own = tmp_path / "oidv6-validation-annotations-vrd.csv"
    write(tmp_path, [row("d", MAN, LEFT, "plays", GUITAR, MIDDLE)], own.name, "validation")
    caplog.clear()
    assert len(load_openimages_vrd(tmp_path, "train")) == 3
    assert not caplog.messages
    own.unlink()
    # its pictures may be in another folder
    ids.write_text("ImageID\nc\na\n")
    (tmp_path / "train" / "c.jpg").rename(tmp_path / "validation" / "c.jpg")
    _, last = load_openimages_vrd(tmp_path, "val")
    assert last["file_name"] == str(tmp_path / "validation" / "c.jpg")


def test_several_files_of_a_split_are_named(tmp_path: Path) -> None:
    rows = [row("a", MAN, LEFT, "plays", GUITAR, MIDDLE)]
    write(tmp_path, rows)
    write(tmp_path, rows, "challenge-2019-train-vrd.csv")
    with pytest.raises(
        ValueError, match=r"'train': challenge-2018-train-vrd\.csv, challenge-2019-train-vrd\.csv\. Keep"
    ):
        load_openimages_vrd(tmp_path, "train")
    (tmp_path / "challenge-2019-train-vrd.csv").rename(tmp_path / "validation-annotations-vrd.csv")
    (tmp_path / "challenge-2018-image-ids-valset-vrd.csv").write_text("ImageID\na\n")
    with pytest.raises(
        ValueError, match=r"challenge-2018-image-ids-valset-vrd\.csv, validation-annotations-vrd\.csv"
    ):
        load_openimages_vrd(tmp_path, "val")


def test_missing_pictures_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    write(tmp_path, [row(image, MAN, LEFT, "plays", GUITAR, MIDDLE) for image in ("a", "b", "c")])
    for name in ("b", "c"):
        (tmp_path / "train" / f"{name}.jpg").unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"{CSV}: image 'b\.jpg': .* 2 of 3 images.* 1 more: image 'c\.jpg'"
    ):
        load_openimages_vrd(tmp_path, "train")
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(FileNotFoundError, match=r"has no folder of pictures \(train/, train_\*/\)"):
        load_openimages_vrd(tmp_path, "train")


def test_image_labels_become_verified_classes(tmp_path: Path) -> None:
    write(tmp_path, [row(image, MAN, LEFT, "plays", GUITAR, MIDDLE) for image in ("a", "b", "c")])
    labels = tmp_path / "challenge-2018-train-vrd-labels.csv"
    labels.write_text(
        "ImageID,Source,LabelName,Confidence\n"
        f"c,verification,{TABLE},0\n"
        f"a,verification,{MAN},1\n"
        f"c,verification,{MAN},1\n"
        f"c,verification,{TABLE},1.0\n"
        f"unknown,verification,{TABLE},1\n"
        "b,verification,/m/0unknown,1\n"
    )
    a, b, c = load_openimages_vrd(tmp_path, "train")
    assert a["verified_classes"].tolist() == [MAN_CLASS]
    assert "verified_classes" not in b
    assert c["verified_classes"].tolist() == sorted([MAN_CLASS, TABLE_CLASS])
    assert c["verified_classes"].dtype == np.int64
    labels.write_text(f"ImageID,LabelName,Confidence\na,{MAN},1\na,{TABLE},0.4\n")
    with pytest.raises(
        ValueError,
        match=rf"vrd-labels\.csv: line 3, image a: Confidence of {TABLE} is '0\.4', not 0 or 1. Give",
    ):
        load_openimages_vrd(tmp_path, "train")


def test_the_mini_subset_is_drawn_from_the_images_of_the_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(f"i{i}", MAN, LEFT, "holds" if i % 4 else "plays", GUITAR, MIDDLE) for i in range(12)]
    rows.append(attribute_row("i99", TABLE, LEFT, WOODEN))
    write(tmp_path, rows)
    (tmp_path / "challenge-2018-image-ids-valset-vrd.csv").write_text("ImageID\ni0\ni1\ni2\ni3\n")
    monkeypatch.setattr(openimages_vrd, "MINI_SIZES", {"train": 4, "val": 2})
    whole = {split: load_openimages_vrd(tmp_path, split) for split in ("train", "val")}
    for split, size in (("train", 4), ("val", 2)):
        mini = load_openimages_vrd(tmp_path, split, mini=True)
        assert len(mini) == size
        by_id = {image["image_id"]: image for image in whole[split]}
        for image in mini:
            assert image["annotations"] == by_id[image["image_id"]]["annotations"]
        predicates = [int(image["relations"][0, 2]) for image in mini]
        assert {PLAYS, HOLDS} == set(predicates)
    assert {split: len(images) for split, images in whole.items()} == {"train": 8, "val": 4}


def test_a_split_too_small_for_the_mini_subset_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [row("a", MAN, LEFT, "plays", GUITAR, MIDDLE)])
    with pytest.raises(
        ValueError, match=rf"{CSV}: 1 images of split 'train' .* is 4500 of them\. Load the whole"
    ):
        load_openimages_vrd(tmp_path, "train", mini=True)
    for call in (load_openimages_vrd, lambda *args, **kwargs: register_openimages_vrd(NAME, *args, **kwargs)):
        with pytest.raises(ValueError, match="Split 'test' has no mini subset"):
            call(tmp_path, "test", mini=True)
        with pytest.raises(ValueError, match=r"OpenImages has the splits .* not 'dev'"):
            call(tmp_path, "dev")
    assert NAME not in DatasetCatalog


def test_registration_is_lazy_and_learns_the_vocabulary(tmp_path: Path) -> None:
    register_openimages_vrd(NAME, tmp_path / "later", "val", train_dataset="openimages_own_train")
    metadata = MetadataCatalog.get(NAME)
    assert (metadata.evaluator_type, metadata.train_dataset) == ("relation", "openimages_own_train")
    assert "thing_classes" not in metadata.as_dict()
    (tmp_path / "later").mkdir()
    write(
        tmp_path / "later",
        [row("a", MAN, LEFT, "plays", GUITAR, MIDDLE)],
        "validation-annotations-vrd.csv",
        "val",
    )
    assert len(DatasetCatalog.get(NAME)) == 1
    assert len(metadata.thing_classes) == 57
    assert metadata.thing_classes[MAN_CLASS] == "Man"
    assert metadata.class_labels == sorted(CLASSES)
    assert metadata.predicate_classes[4:7] == ["interacts with", "wears", "inside of"]
    assert metadata.predicate_labels == list(PREDICATES)
    assert metadata.attribute_classes == list(ATTRIBUTES.values())
    # a second registration changes nothing
    register_openimages_vrd(NAME, tmp_path / "later", "val", train_dataset="openimages_own_train")
    assert len(DatasetCatalog.get(NAME)) == 1


def test_the_vocabulary_of_2018_can_be_given_before(tmp_path: Path) -> None:
    expected_counts = {"images": 1}
    register_openimages_vrd(
        NAME, tmp_path, "train", expected_counts=expected_counts, **asdict(VOCABULARY_2018)
    )
    metadata = MetadataCatalog.get(NAME)
    assert len(metadata.thing_classes) == 57
    assert metadata.expected_counts == expected_counts
    write(tmp_path, [row("a", MAN, LEFT, "plays", GUITAR, MIDDLE)])
    assert len(DatasetCatalog.get(NAME)) == 1
    triplets = tmp_path / "oidv6-relationship-triplets.csv"
    triplets.write_text(f"LabelName1,LabelName2,RelationshipLabel\n{MAN},{GUITAR},plays\n")
    with pytest.raises(
        ValueError, match=r"its vocabulary has 2 class_labels, which are not the 57 .*Register the folder"
    ):
        DatasetCatalog.get(NAME)


def test_a_submission_comes_back_in_the_labels_of_the_challenge(tmp_path: Path) -> None:
    write(tmp_path, [row("a", MAN, LEFT, "interacts_with", GUITAR, MIDDLE)])
    register_openimages_vrd(NAME, tmp_path, "train")
    (image,) = data = DatasetCatalog.get(NAME)
    class_labels, predicate_labels = submission_labels(NAME)
    prediction = graph_of_triplets(
        classes=image["annotations"].classes[None],
        boxes=image["annotations"].boxes.astype(np.float32)[None],
        predicate=image["relations"][:, 2],
        score=np.array([0.5], dtype=np.float32),
    )
    path = tmp_path / "submission.csv"
    labels = {"class_labels": class_labels, "predicate_labels": predicate_labels}
    write_submission(path, {"a": prediction}, image_sizes(data), **labels)
    with path.open(newline="") as stream:
        (written,) = csv.DictReader(stream)
    given = row("a", MAN, LEFT, "interacts_with", GUITAR, MIDDLE)
    assert written["RelationshipLabel"] == given.pop("RelationLabel")
    for column, value in given.items():
        assert (
            written[column] == value
            if isinstance(value, str)
            else float(written[column]) == pytest.approx(value)
        )
    found = read_submission(path, image_sizes(data), **labels)["a"]
    assert found.classes.tolist() == prediction.classes.tolist()
    np.testing.assert_array_equal(found.boxes, prediction.boxes)


def test_the_mapper_reads_the_pictures(tmp_path: Path) -> None:
    write(
        tmp_path, [row("a", MAN, LEFT, "plays", GUITAR, MIDDLE), attribute_row("a", GUITAR, MIDDLE, WOODEN)]
    )
    (image,) = load_openimages_vrd(tmp_path, "train")
    output = RelationDatasetMapper(False, augmentations=[], image_format="BGR")(image)
    assert output["image"].shape == (3, HEIGHT, WIDTH)
    assert output["instances"].gt_boxes.tensor[1].tolist() == pixels(*MIDDLE)


def test_several_candidates_are_named(tmp_path: Path) -> None:
    assert find_file(tmp_path, ["*.csv"], "the table") is None
    path = tmp_path / "table.csv"
    path.touch()
    assert find_file(tmp_path, ["*.csv", "*.txt"], "the table") == path
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=r"several files could be the table: a\.txt, table\.csv\. Keep one"):
        find_file(tmp_path, ["*.csv", "*.txt"], "the table")
