"""COCO JSON with relationships."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from reldn_d2.data import load_coco_relations

from .damage import Damage, Format, Loads, Refused

FILE = "relations.json"
WIDTH, HEIGHT = 60, 40

# Damage -> changed values of the first image's first annotation, or of its relation.
ANNOTATION = {
    Damage.BOX_OUTSIDE: {"bbox": [50, 5, 20, 10]},
    Damage.BOX_ORDER: {"bbox": [15, 5, -10, 10]},
    Damage.BOX_NOT_FINITE: {"bbox": [5, 5, float("nan"), 10]},
    Damage.UNKNOWN_CLASS: {"category_id": 3},
}
RELATION = {
    Damage.DANGLING_ID: {"object_id": 99},
    Damage.UNKNOWN_PREDICATE: {"predicate_id": 2},
    Damage.SELF_RELATION: {"object_id": 10},
}


def write(folder: Path, damage: Damage) -> None:
    content = intact()
    content["annotations"][0] |= ANNOTATION.get(damage, {})
    content["relations"][0] |= RELATION.get(damage, {})
    if damage is Damage.ONE_BOX:
        del content["annotations"][1], content["relations"][0]
    elif damage is Damage.REPEATED_RELATION:
        content["relations"].append({**content["relations"][0], "id": 4})
    (folder / "images").mkdir()
    for image in content["images"]:
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / image["file_name"])
    if damage is Damage.UNREADABLE_IMAGE:
        (folder / "images" / "1.jpg").write_text("<html>")
    elif damage is Damage.MISSING_IMAGE:
        (folder / "images" / "1.jpg").unlink()
    text = json.dumps(content)
    if damage is not Damage.NO_FILE:
        (folder / FILE).write_text(text[:-20] if damage is Damage.CUT_OFF else text)


def intact() -> dict[str, Any]:
    """Images 1 to 3; annotations 10 and 11 are of image 1, and so on."""
    images = [{"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in (1, 2, 3)]
    annotations = [
        {"id": 10 * i + k, "image_id": i, "category_id": k + 1, "bbox": [5 + 20 * k, 5, 15, 10]}
        for i in (1, 2, 3)
        for k in (0, 1)
    ]
    relations = [
        {"id": i, "image_id": i, "subject_id": 10 * i, "object_id": 10 * i + 1, "predicate_id": 1}
        for i in (1, 2, 3)
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "cup"}],
        "predicates": [{"id": 1, "name": "holds"}],
        "relations": relations,
    }


def load(folder: Path) -> list[dict[str, Any]]:
    return load_coco_relations(folder / FILE, folder / "images")


def refused(record: str, problem: str, remedy: str) -> Refused:
    return Refused(rf"{FILE}: {record}: .*{problem}.*{remedy}")


BOX_REMEDY = r"A COCO box is \[x, y, width, height\]"

FORMAT = Format(
    "coco_relations",
    write,
    load,
    2,
    1,
    {
        Damage.NONE: Loads(None),
        Damage.ONE_BOX: Loads("one_box"),
        Damage.BOX_OUTSIDE: refused("annotation 10", "outside the 60 x 40 pixels", BOX_REMEDY),
        Damage.BOX_ORDER: refused("annotation 10", "no positive size", BOX_REMEDY),
        Damage.BOX_NOT_FINITE: refused("annotation 10", "not finite", BOX_REMEDY),
        Damage.DANGLING_ID: refused("relation 1", "'annotations' has no id 99", "correct the id"),
        Damage.UNKNOWN_CLASS: refused("annotation 10", "'categories' has no id 3", "correct the id"),
        Damage.UNKNOWN_PREDICATE: refused("relation 1", "'predicates' has no id 2", "correct the id"),
        Damage.SELF_RELATION: refused(
            "relation 1", "joins annotation 10 with itself", "allow_self_relations"
        ),
        Damage.REPEATED_RELATION: Loads("repeated_relation"),
        Damage.UNREADABLE_IMAGE: Loads("unreadable_image"),
        Damage.MISSING_IMAGE: Loads("missing_image"),
        Damage.CUT_OFF: Refused(f"{FILE} is not valid JSON.*it may be cut off.*export yours again"),
        Damage.NO_FILE: Refused(f"{FILE} does not exist.*the path that the data set was registered with"),
    },
)
