"""The whole OpenImages challenge: "is" and attributes, all images, and the numbers that follow."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data import load_openimages_vrd, register_openimages_vrd
from reldn_d2.data.datasets.openimages.relationships import read_relationships
from reldn_d2.data.datasets.openimages.vocabulary import (
    ATTRIBUTES,
    CLASSES,
    PREDICATES,
    VOCABULARY_2018,
    OpenImagesVocabulary,
    challenge_vocabulary,
)
from reldn_d2.evaluation.io.results import RESULTS_FILE, TABLES_FILE, read_results
from reldn_d2.evaluation.io.submission import COLUMNS as SUBMISSION
from tests.builders.commands import run_reldn
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
    WOODEN,
    Box,
    attribute_row,
    row,
    write_csv,
    write_pictures,
)
from tests.references.openimages import slow_openimages

Record = dict[str, Any]
NAME, PAPER = "challenge_of_test", "challenge_of_test_paper"
CHAIR = "/m/01mzpv"
LABELS = [*sorted(CLASSES), *ATTRIBUTES]
RELATIONS = [*PREDICATES, "is"]
IS = RELATIONS.index("is")
LABEL_FILE = CSV.replace(".csv", "-labels.csv")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for name in (NAME, PAPER):
        for catalog in (DatasetCatalog, MetadataCatalog):
            if name in catalog:
                catalog.remove(name)


def write(root: Path, rows: Sequence[Record], labels: Sequence[tuple[str, str, int]] = ()) -> None:
    """Writes relationships, labels (image, class, whether it is there) and pictures of both."""
    write_csv(root / CSV, rows)
    if labels:
        records = [dict(zip(("ImageID", "LabelName", "Confidence"), label, strict=True)) for label in labels]
        write_csv(root / LABEL_FILE, records, list(records[0]))
    ids = {record["ImageID"] for record in rows} | {image_id for image_id, _, _ in labels}
    write_pictures(root / "train", sorted(ids))


def pixels(box: Box) -> Any:
    return pytest.approx([side * share for side, share in zip((WIDTH, HEIGHT) * 2, box, strict=True)])


def predicted(record: Record, score: float) -> Record:
    """A row of a submission."""
    return {**record, "RelationshipLabel": record["RelationLabel"], "Score": score}


def scored(root: Path, name: str, rows: Sequence[Record], challenge: bool) -> tuple[dict[str, float], str]:
    """Metrics of a submission by the command, and the tables that it writes."""
    register_openimages_vrd(name, root, "train", challenge=challenge)
    write_csv(root / "s.csv", rows, SUBMISSION)
    output = root / name
    assert run_reldn("evaluate", "--predictions", root / "s.csv", "--dataset", name, "--output", output) == 0
    return read_results(output / RESULTS_FILE)["openimages"], (output / TABLES_FILE).read_text()


def test_attributes_are_entities_and_is_a_relationship(tmp_path: Path) -> None:
    rows = [
        row("b", MAN, LEFT, "plays", GUITAR, MIDDLE),
        attribute_row("b", GUITAR, MIDDLE, WOODEN),
        row("b", MAN, LEFT, "holds", GUITAR, MIDDLE),
        row("b", GUITAR, MIDDLE, "is", WOODEN, RIGHT),
        attribute_row("a", TABLE, LEFT, WOODEN),
    ]
    write(tmp_path, rows, [("b", WOODEN, 1), ("c", TABLE, 0), ("c", WOODEN, 1)])
    a, b, c = load_openimages_vrd(tmp_path, "train", challenge=True)
    assert [image["image_id"] for image in (a, b, c)] == ["a", "b", "c"]
    man, guitar, table, wooden = (LABELS.index(label) for label in (MAN, GUITAR, TABLE, WOODEN))
    assert b["annotations"].classes.tolist() == [man, guitar, wooden, wooden]
    boxes = [pixels(box) for box in (LEFT, MIDDLE, MIDDLE, RIGHT)]  # the second box of the last row
    assert b["annotations"].boxes.tolist() == boxes
    plays, holds = PREDICATES.index("plays"), PREDICATES.index("holds")
    assert b["relations"].tolist() == [[0, 1, plays], [1, 2, IS], [0, 1, holds], [1, 3, IS]]
    assert b["verified_classes"].tolist() == [wooden]
    assert (a["annotations"].classes.tolist(), a["relations"].tolist()) == ([table, wooden], [[0, 1, IS]])
    assert "verified_classes" not in a
    assert len(c["annotations"]) == 0 and c["relations"].shape == (0, 3)
    assert c["verified_classes"].tolist() == [table, wooden]
    assert not any("attributes" in image for image in (a, b, c))
    # the other data set of the same files is what it was
    (paper,) = load_openimages_vrd(tmp_path, "train")
    assert paper["relations"].tolist() == [[0, 1, plays], [0, 1, holds]]
    assert len(paper["attributes"]["boxes"]) == 2 and "verified_classes" not in paper


def test_without_is_other_numbers_change_too(tmp_path: Path) -> None:
    rows = [row("a", CHAIR, LEFT, "at", TABLE, RIGHT), attribute_row("b", MAN, MIDDLE, WOODEN)]
    write(tmp_path, rows, [("c", MAN, 1)])
    guesses = [
        predicted(row("a", MAN, LEFT, "at", TABLE, RIGHT), 0.9),
        predicted(rows[0], 0.8),
        predicted(attribute_row("z", MAN, MIDDLE, WOODEN), 0.9),
    ]
    # Man is a class of the annotation in image b alone, so the first guess can't be judged.
    metrics, _ = scored(tmp_path, NAME, guesses, challenge=True)
    assert metrics["AP_rel/at"] == 100 and metrics["AP_rel/is"] == 0 and metrics["mAP_rel"] == 50
    # In one image it can, and is wrong.
    rows[1] = attribute_row("a", MAN, MIDDLE, WOODEN)
    write(tmp_path, rows, [("c", MAN, 1)])
    for name in (NAME, PAPER):
        DatasetCatalog.pop(name, None)
    metrics, tables = scored(tmp_path, NAME, guesses, challenge=True)
    assert metrics["AP_rel/at"] == 50 and metrics["mAP_rel"] == 25 and metrics["R@50"] == 50
    assert "10 relations of the OpenImages challenge: 'is' with 5 attributes counts" in tables
    assert "1 rows of 1 images that the data set does not have were skipped" in tables
    metrics, tables = scored(tmp_path, PAPER, guesses, challenge=False)
    assert metrics["AP_rel/at"] == metrics["mAP_rel"] == metrics["R@50"] == 100
    assert "9 predicates of OpenImages without 'is'" in tables and "challenge=True" in tables
    assert "1 rows of 'is' were skipped" in tables and "reldn_openimages_vrd_challenge_val" in tables


def random_box(random: np.random.Generator) -> Box:
    x, y = np.sort(random.integers(0, 40, 2)), np.sort(random.integers(0, 40, 2))
    box: Box = (x[0] / 50, y[0] / 50, (x[1] + 10) / 50, (y[1] + 10) / 50)
    return box


def entity(record: Record, end: int, label: str | None = None) -> Record:
    box = [float(record[f"{side}{end}"]) for side in ("XMin", "YMin", "XMax", "YMax")]
    return {"class": label or record[f"LabelName{end}"], "box": box}


@pytest.mark.parametrize("seed", range(6))
def test_a_submission_scores_as_by_the_definition(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    classes, attributes = [MAN, GUITAR, TABLE], list(ATTRIBUTES)[:2]
    truth, guesses, labels = [], [], []
    for image in "abcde":
        entities = [(classes[k], random_box(random)) for k in random.integers(3, size=4)]
        kind = random.integers(4)  # relationships, attributes, both, or only labels
        for _ in range(4 if kind < 3 else 0):
            (label, box), (other, other_box) = (entities[k] for k in random.integers(4, size=2))
            if kind == 1 or (kind == 2 and random.random() < 0.5):
                truth.append(attribute_row(image, label, box, attributes[random.integers(2)]))
            else:
                truth.append(row(image, label, box, PREDICATES[random.integers(2)], other, other_box))
        if kind == 3 or random.random() < 0.5:
            labels += [
                (image, label, int(random.integers(2))) for label in ("/m/0584n8", TABLE, attributes[0])
            ]
    truth += [row("a", MAN, LEFT, "at", TABLE, RIGHT)] * 2  # a repeated row
    for record in truth:
        for _ in range(4):
            guess = dict(record)
            for column in COLUMNS[3:-1]:
                guess[column] += 0.02 * random.standard_normal()
            for end in ("1", "2"):
                if random.random() < 0.15:
                    guess[f"LabelName{end}"] = str(random.choice(classes))
            guesses.append(predicted(guess, float(random.random())))
    guesses += [predicted({**truth[0], "ImageID": "elsewhere"}, 0.5)]
    images = []
    write(tmp_path, truth, labels or [("a", MAN, 1)])
    for image in sorted({x["ImageID"] for x in truth} | {image for image, _, _ in labels}):
        best_first = sorted((x for x in guesses if x["ImageID"] == image), key=lambda x: -x["Score"])
        images.append(
            {
                "relationships": [triplet(x) for x in truth if x["ImageID"] == image],
                "predictions": [{**triplet(x), "score": x["Score"], "rank_in_pair": 1} for x in best_first],
                "verified": [label for of, label, _ in labels or [("a", MAN, 1)] if of == image],
            }
        )
    names = [label.replace("_", " ") for label in RELATIONS]
    expected = slow_openimages(images, names, list_length=len(guesses))
    metrics, _ = scored(tmp_path, NAME, guesses, challenge=True)
    assert len(DatasetCatalog.get(NAME)) == len(images)
    assert metrics == pytest.approx(expected, abs=1e-10)
    assert 0 < metrics["mAP_rel"] < 100


def triplet(record: Record) -> Record:
    predicate = RELATIONS.index(record["RelationLabel"])
    return {"subject": entity(record, 1), "object": entity(record, 2), "predicate": predicate}


def test_images_with_labels_only_belong_to_the_split_that_lists_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        [row(image, MAN, LEFT, "plays", GUITAR, MIDDLE) for image in "ab"],
        [("c", MAN, 1), ("d", MAN, 0)],
    )
    (tmp_path / "challenge-2018-image-ids-valset-vrd.csv").write_text("ImageID\na\nd\n")
    found = {
        split: [image["image_id"] for image in load_openimages_vrd(tmp_path, split, challenge=True)]
        for split in ("train", "val")
    }
    assert found == {"train": ["b", "c"], "val": ["a", "d"]}
    assert [image["image_id"] for image in load_openimages_vrd(tmp_path, "val")] == ["a"]


def test_a_label_can_not_name_a_picture_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, [row("a", MAN, LEFT, "plays", GUITAR, MIDDLE)], [("a", MAN, 1)])
    with (tmp_path / LABEL_FILE).open("a") as file:
        file.write(f"../b,{MAN},1\n")
    with pytest.raises(ValueError, match=rf"{LABEL_FILE}: image \.\./b: the id is no name of a file"):
        load_openimages_vrd(tmp_path, "train", challenge=True)
    load_openimages_vrd(tmp_path, "train")


def test_a_picture_of_an_image_with_labels_only_has_to_be_there(tmp_path: Path) -> None:
    write(tmp_path, [row("a", MAN, LEFT, "plays", GUITAR, MIDDLE)], [("c", MAN, 1)])
    (tmp_path / "train" / "c.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{CSV} or .*{LABEL_FILE}.* image 'c\.jpg'.* 1 of 2 images"):
        load_openimages_vrd(tmp_path, "train", challenge=True)
    load_openimages_vrd(tmp_path, "train")


def test_absent_image_labels_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, [row("a", MAN, LEFT, "plays", GUITAR, MIDDLE), attribute_row("b", MAN, LEFT, WOODEN)])
    with caplog.at_level(logging.WARNING):
        assert len(load_openimages_vrd(tmp_path, "train", challenge=True)) == 2
        assert f"No file of image labels (*-vrd-labels.csv) beside {tmp_path / CSV}" in caplog.text
        caplog.clear()
        load_openimages_vrd(tmp_path, "train")
        assert "image labels" not in caplog.text


def test_wrong_rows_are_those_of_the_other_data_set(tmp_path: Path) -> None:
    for wrong, message in (
        (attribute_row("a", MAN, LEFT, TABLE), f"attribute {TABLE} is not in the vocabulary"),
        (row("a", MAN, LEFT, "at", WOODEN, LEFT), f"class {WOODEN} is not in the vocabulary"),
    ):
        write(tmp_path, [wrong])
        with pytest.raises(ValueError, match=message):
            load_openimages_vrd(tmp_path, "train", challenge=True)


def test_the_vocabulary_keeps_the_numbers_of_classes_and_predicates() -> None:
    whole = challenge_vocabulary(VOCABULARY_2018)
    assert whole.class_labels == LABELS and whole.predicate_labels == RELATIONS
    assert whole.thing_classes == [*VOCABULARY_2018.thing_classes, *ATTRIBUTES.values()]
    assert whole.predicate_classes == [*VOCABULARY_2018.predicate_classes, "is"]
    assert whole.attribute_labels == list(ATTRIBUTES)
    for name, split in (
        ("reldn_openimages_vrd_challenge_train", "train"),
        ("reldn_openimages_vrd_challenge_val", "val"),
    ):
        metadata = MetadataCatalog.get(name)
        assert (metadata.class_labels, metadata.predicate_classes) == (LABELS, whole.predicate_classes)
        assert metadata.loaded_by["challenge"] and metadata.loaded_by["split"] == split
        train = "reldn_openimages_vrd_challenge_train" if split == "val" else None
        assert metadata.get("train_dataset") == train and metadata.get("expected_counts") is None


@pytest.mark.parametrize(
    ("classes", "attributes", "message"),
    [
        ({"/m/1": "Table"}, {"/m/1": "Wooden"}, "'/m/1' is the label of a class and of an attribute"),
        ({"/m/1": "Table"}, {"/m/2": "Table"}, "'Table' is the name of a class and of an attribute"),
    ],
)
def test_an_attribute_that_is_a_class_is_refused(
    classes: dict[str, str], attributes: dict[str, str], message: str
) -> None:
    vocabulary = OpenImagesVocabulary(
        [*classes], [*classes.values()], ["at"], ["at"], [*attributes], [*attributes.values()]
    )
    with pytest.raises(ValueError, match=message):
        challenge_vocabulary(vocabulary)


def test_there_is_no_mini_challenge(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mini and challenge: the mini subset is one of the paper's"):
        register_openimages_vrd(NAME, tmp_path, "train", mini=True, challenge=True)
    assert NAME not in DatasetCatalog


def test_the_sample_of_the_official_file_has_as_many_relationships_as_rows(dev_data: Path) -> None:
    path = dev_data / "openimages_vrd" / "sample-vrd.csv"
    rows = read_relationships(path, VOCABULARY_2018, attributes_as_classes=True)
    is_attribute = rows.predicate == IS
    assert (len(rows.predicate), is_attribute.sum(), len(rows.attribute)) == (10675, 2000, 0)
    assert ((rows.classes[:, 1] >= len(CLASSES)) == is_attribute).all()
    assert (rows.boxes[is_attribute, 0] == rows.boxes[is_attribute, 1]).all()
