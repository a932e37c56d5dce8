import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from reldn_d2.data import parse_vrd_annotations
from tests.builders.vrd_records import CUP, PERSON, end, relationship


def write(folder: Path, annotations: Any) -> Path:
    path = folder / "annotations_train.json"
    path.write_text(annotations if isinstance(annotations, str) else json.dumps(annotations))
    return path


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ('{"a.jpg": [], "a.jpg": []}', "'a.jpg' occurs twice"),
        ([], r"not an object of image names\. Use VRD's annotations_\*\.json"),
        ({"a.jpg": {}}, "not a list of relationships"),
        ({"a.jpg": ["on"]}, "relationship 0: 'on' lacks subject"),
        ({"a.jpg": [{"subject": PERSON, "object": CUP}]}, "lacks subject, object or predicate"),
        ({"a.jpg": [relationship({"category": 0}, CUP)]}, "no box of four numbers"),
        ({"a.jpg": [relationship(end(0, 1, 2, 3), CUP)]}, "no box of four numbers"),
        ({"a.jpg": [relationship(end(0, 1, 2, 3, "x"), CUP)]}, "no box of four numbers"),
        ({"a.jpg": [relationship(end(0, 1, 2, 3, "4"), CUP)]}, "no box of four numbers"),
        ({"a.jpg": [relationship(end(0, 1, 2, 3, True), CUP)]}, "no box of four numbers"),
        ({"a.jpg": [relationship(end(0, 1, 2, 3, 10**400), CUP)]}, "no box of four numbers"),
        ({"a.jpg": [relationship({"category": 0, "bbox": "1234"}, CUP)]}, "no box of four numbers"),
        ({"a.jpg": [relationship({"bbox": [1, 2, 3, 4]}, CUP)]}, "has no category"),
        ({"a.jpg": [relationship(3, CUP)]}, "3 has no category"),
        ({"a.jpg": [relationship(PERSON, CUP), relationship(end(0, 9, 2, 3, 4), CUP)]}, "relationship 1"),
        ({"a.jpg": [relationship(end(0, 1, 2, 4, 3), CUP)]}, r"not in the order \[ymin, ymax, xmin, xmax\]"),
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
