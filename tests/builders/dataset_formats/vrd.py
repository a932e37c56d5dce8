"""VRD's official layout."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from reldn_d2.data import load_vrd
from reldn_d2.data.datasets.vrd import OBJECT_CLASSES, PREDICATE_CLASSES
from tests.builders.vrd_records import CUP, PERSON, end, relationship

from .damage import Counted, Damage, Format, Loads, Refused

JSON = "annotations_train.json"
INTACT = [relationship(PERSON, CUP)]
# Damage -> relationships of the first image.
RECORDS = {
    Damage.ONE_BOX: [relationship(PERSON, PERSON)],
    Damage.BOX_OUTSIDE: [relationship(PERSON, end(52, 8, 12, 14, 99))],
    Damage.BOX_ORDER: [relationship(PERSON, end(52, 12, 8, 14, 18))],
    Damage.BOX_NOT_FINITE: [relationship(PERSON, end(52, 8, 12, 14, float("nan")))],
    Damage.UNKNOWN_CLASS: [relationship(PERSON, end(100, 8, 12, 14, 18))],
    Damage.UNKNOWN_PREDICATE: [relationship(PERSON, CUP, 70)],
    Damage.SELF_RELATION: [*INTACT, relationship(CUP, CUP)],
    Damage.REPEATED_RELATION: INTACT * 2,
}


def write(folder: Path, damage: Damage) -> None:
    annotations = folder / "json_dataset" / JSON
    annotations.parent.mkdir()
    (annotations.parent / "objects.json").write_text(json.dumps(OBJECT_CLASSES))
    (annotations.parent / "predicates.json").write_text(json.dumps(PREDICATE_CLASSES))
    text = json.dumps({"a.jpg": RECORDS.get(damage, INTACT), "b.jpg": INTACT, "c.jpg": INTACT})
    if damage is not Damage.NO_FILE:
        annotations.write_text(text[:-10] if damage is Damage.CUT_OFF else text)
    pictures = folder / "sg_dataset" / "sg_train_images"
    pictures.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Image.new("RGB", (40, 30)).save(pictures / name)
    if damage is Damage.UNREADABLE_IMAGE:
        (pictures / "a.jpg").write_text("<html>")
    elif damage is Damage.MISSING_IMAGE:
        (pictures / "a.jpg").unlink()


def load(folder: Path) -> list[dict[str, Any]]:
    return load_vrd(folder, "train")


def refused_record(problem: str) -> Refused:
    return Refused(rf"{JSON}: image a\.jpg, relationship 0: {problem}")


FORMAT = Format(
    "vrd",
    write,
    load,
    len(OBJECT_CLASSES),
    len(PREDICATE_CLASSES),
    {
        Damage.NONE: Loads(None),
        Damage.ONE_BOX: Loads("one_box"),
        Damage.BOX_OUTSIDE: Counted(rf"{JSON}: 1 boxes that stick out of their image were clipped.*'a\.jpg'"),
        Damage.BOX_ORDER: refused_record(r".*not in the order \[ymin, ymax, xmin, xmax\].*Correct the box"),
        Damage.BOX_NOT_FINITE: refused_record("the box .*not finite.*Correct the box"),
        Damage.UNKNOWN_CLASS: refused_record(r"category 100 is not in \[0, 100\).*count from 0"),
        Damage.UNKNOWN_PREDICATE: refused_record(r"predicate 70 is not in \[0, 70\).*count from 0"),
        Damage.SELF_RELATION: Loads("self_relation"),
        Damage.REPEATED_RELATION: Loads("repeated_relation"),
        Damage.UNREADABLE_IMAGE: Refused(r"a\.jpg cannot be read.*replace it"),
        Damage.MISSING_IMAGE: Refused(rf"{JSON}: image 'a\.jpg': .*no such file.*DETECTRON2_DATASETS"),
        Damage.CUT_OFF: Refused(f"{JSON} is not valid JSON.*Unpack the official file again"),
        Damage.NO_FILE: Refused(f"{JSON} does not exist.*DETECTRON2_DATASETS"),
    },
)
