"""The authors' JSON, with ground-truth boxes in COCO's format."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from reldn_d2.data.datasets.authors_json import load_authors_json
from tests.builders.vrd_records import end, relationship

from .damage import Counted, Damage, Format, Loads, Refused

RELATIONS, DETECTIONS = "rel_annotations_train.json", "detections_train.json"
THINGS, PREDICATES = ["person", "cup"], ["on", "holds"]
PERSON, CUP = end(0, 2, 20, 5, 15), end(1, 8, 12, 14, 18)
INTACT = [relationship(PERSON, CUP, 1)]
# Damage -> relationships of the first image.
RECORDS = {
    Damage.ONE_BOX: [],
    Damage.BOX_ORDER: [relationship(PERSON, end(1, 8, 12, 18, 14), 1)],
    Damage.BOX_NOT_FINITE: [relationship(PERSON, end(1, 8, 12, float("-inf"), 18), 1)],
    Damage.UNKNOWN_CLASS: [relationship(end(2, 2, 20, 5, 15), CUP, 1)],
    Damage.UNKNOWN_PREDICATE: [relationship(PERSON, CUP, 2)],
    Damage.SELF_RELATION: [*INTACT, relationship(CUP, CUP, 1)],
    Damage.REPEATED_RELATION: INTACT * 2,
}
IMAGES = {1: "a.jpg", 2: "b.jpg", 3: "c.jpg"}


def coco(damage: Damage) -> dict[str, Any]:
    boxes = [(1, image_id, [5, 2, 10, 18]) for image_id in IMAGES]
    boxes += [
        (2, image_id, [14, 8, 4, 4]) for image_id in IMAGES if image_id > 1 or damage is not Damage.ONE_BOX
    ]
    if damage is Damage.BOX_OUTSIDE:
        boxes.append((2, 1, [30, 20, 30, 5]))
    elif damage is Damage.DANGLING_ID:
        boxes[0] = (1, 9, [5, 2, 10, 18])
    return {
        "images": [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in IMAGES.items()],
        "categories": [{"id": i, "name": name} for i, name in enumerate(THINGS, start=1)],
        "annotations": [
            {"id": i, "category_id": category, "image_id": image_id, "bbox": bbox}
            for i, (category, image_id, bbox) in enumerate(boxes)
        ],
    }


def write(folder: Path, damage: Damage) -> None:
    text = json.dumps({"a.jpg": RECORDS.get(damage, INTACT), "b.jpg": INTACT, "c.jpg": INTACT})
    if damage is not Damage.NO_FILE:
        (folder / RELATIONS).write_text(text[:-10] if damage is Damage.CUT_OFF else text)
    (folder / DETECTIONS).write_text(json.dumps(coco(damage)))
    for name in IMAGES.values():
        Image.new("RGB", (40, 30)).save(folder / name)
    if damage is Damage.UNREADABLE_IMAGE:
        (folder / "a.jpg").write_text("<html>")
    elif damage is Damage.MISSING_IMAGE:
        (folder / "a.jpg").unlink()


def load(folder: Path) -> list[dict[str, Any]]:
    return load_authors_json(
        folder / RELATIONS,
        folder,
        detections_json=folder / DETECTIONS,
        thing_classes=THINGS,
        predicate_classes=PREDICATES,
    )


def refused_record(problem: str) -> Refused:
    return Refused(rf"{RELATIONS}: image a\.jpg, relationship 0: {problem}")


FORMAT = Format(
    "authors_json",
    write,
    load,
    len(THINGS),
    len(PREDICATES),
    {
        Damage.NONE: Loads(None),
        Damage.ONE_BOX: Loads("one_box"),
        Damage.BOX_OUTSIDE: Counted(
            rf"{RELATIONS}: 1 boxes that stick out of their image were clipped.*'a\.jpg'"
        ),
        Damage.BOX_ORDER: refused_record(r".*not in the order \[y1, y2, x1, x2\].*Correct the box"),
        Damage.BOX_NOT_FINITE: refused_record("the box .*not finite.*Correct the box"),
        Damage.DANGLING_ID: Refused(
            rf"{DETECTIONS}: record 0 of 'annotations' \(id 0\): image_id 9.*correct the id"
        ),
        Damage.UNKNOWN_CLASS: refused_record(r"category 2 is not in \[0, 2\).*count from 0"),
        Damage.UNKNOWN_PREDICATE: refused_record(r"predicate 2 is not in \[0, 2\).*count from 0"),
        Damage.SELF_RELATION: Loads("self_relation"),
        Damage.REPEATED_RELATION: Loads("repeated_relation"),
        # sizes are in the file, so no picture is opened
        Damage.UNREADABLE_IMAGE: Loads("unreadable_image"),
        Damage.MISSING_IMAGE: Refused(rf"{RELATIONS}: image 'a\.jpg': .*no such file.*DETECTRON2_DATASETS"),
        Damage.CUT_OFF: Refused(f"{RELATIONS} is not valid JSON.*Unpack the official file again"),
        Damage.NO_FILE: Refused(
            f"{RELATIONS} does not exist.*the path that the data set was registered with"
        ),
    },
)
