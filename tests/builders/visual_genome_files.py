"""Raw Visual Genome files, which several tests build."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 100, 80
THINGS = ("man", "cup", "table")
PREDICATES = ("holding", "near")

Record = dict[str, Any]


def thing(object_id: int, name: str, *box: float, merged: tuple[int, ...] = ()) -> Record:
    x, y, w, h = box or (10, 20, 30, 40)
    return {
        "object_id": object_id,
        "names": [name],
        "x": x,
        "y": y,
        "w": w,
        "h": h,
        "merged_object_ids": list(merged),
        "synsets": [],
    }


def relationship(subject: Record, predicate: str, object: Record, relationship_id: int = 900) -> Record:
    """A record whose subject has "name" where its object has "names", as in the official file."""
    named = {key: value for key, value in subject.items() if key not in ("names", "merged_object_ids")}
    named["name"] = subject["names"][0]
    return {"relationship_id": relationship_id, "predicate": predicate, "subject": named, "object": object}


def write_files(
    root: Path, objects: dict[int, list[Any]], relationships: dict[int, list[Any]], sizes: bool = True
) -> None:
    """Write annotations, image_data.json and alias tables of unused names, but no pictures.

    Args:
        root: folder for the files.
        objects, relationships: image id -> records.
        sizes: whether to write image_data.json, which has the sizes of images.
    """
    listed = {
        "objects": [{"image_id": i, "objects": records} for i, records in objects.items()],
        "relationships": [{"image_id": i, "relationships": records} for i, records in relationships.items()],
    }
    if sizes:
        ids = objects | relationships
        listed["image_data"] = [{"image_id": i, "width": WIDTH, "height": HEIGHT} for i in ids]
    root.mkdir(exist_ok=True)
    for name, content in listed.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    for kind in ("object", "predicate"):
        (root / f"{kind}_alias.txt").write_text("no such name,nor this\n")


def write_pictures(root: Path, *names: str) -> None:
    """Pictures named as `folder/name`."""
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / name)
