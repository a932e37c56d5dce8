"""The authors' detections_*.json: ground-truth boxes of all entities of an image, in one of two forms."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from reldn_d2.utils.json_files import is_box, is_side, read_json

from .relationship_lists import Entity, ListedFile, read_entity

_COCO_KEYS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


@dataclass(frozen=True)
class Detections:
    """
    Attributes:
        entities: image file name -> its entities, repeats included.
        sizes: image file name -> width and height; empty if the file does not say.
    """

    entities: dict[str, list[Entity]]
    sizes: dict[str, tuple[int, int]]


def read_detections(path: str | os.PathLike[str], thing_classes: list[str], box_order: str) -> Detections:
    """Read either form. An object with one of COCO's three lists is COCO's: no image is called that.

    Args:
        thing_classes: names of the classes; COCO's categories are found by name.
        box_order: order of the boxes of the other form, for messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither form, or a bad record; the message names it.
    """
    content = read_json(path, unique_keys=True)
    if not isinstance(content, dict):
        _fail(
            path, "the file", "it is not an object", "Use COCO's instance format or lists of boxes by image."
        )
    if not content.keys().isdisjoint(_COCO_KEYS):
        return _coco(path, content, thing_classes)
    file = ListedFile(Path(path), "the authors' detections_*.json", box_order, len(thing_classes), 0)
    entities = {}
    for name, records in content.items():
        if not isinstance(records, list):
            file.fail(name, "its value is not a list of boxes", "An image without any has [].")
        entities[name] = [read_entity(file, f"{name}, box {i}", record) for i, record in enumerate(records)]
    return Detections(entities, {})


def _coco(path: str | os.PathLike[str], content: dict[str, Any], thing_classes: list[str]) -> Detections:
    for kind, keys in _COCO_KEYS.items():
        _check_list(path, kind, content.get(kind), keys)
    class_of = {name: number for number, name in enumerate(thing_classes)}
    classes: dict[int | str, int] = {}
    for record in content["categories"]:
        where, name = f"category {record['id']!r}", record["name"]
        if name not in class_of:
            _fail(path, where, f"{name!r} is not in thing_classes", "Give the names of this file.")
        if record["id"] in classes or class_of[name] in classes.values():
            _fail(path, where, f"its id or its name {name!r} is listed twice", "Remove one, or correct it.")
        classes[record["id"]] = class_of[name]
    names, sizes = {}, {}
    for record in content["images"]:
        name, size = record["file_name"], (record["width"], record["height"])
        if not all(map(is_side, size)):
            _fail(path, f"image {name!r}", f"its width and height are {size}", "Give its size in pixels.")
        if record["id"] in names or name in sizes:
            _fail(path, f"image {name!r}", f"it or its id {record['id']!r} is listed twice", "Remove one.")
        names[record["id"]] = name
        sizes[name] = size
    entities: dict[str, list[Entity]] = {name: [] for name in sizes}
    for index, record in enumerate(content["annotations"]):
        where = f"record {index} of 'annotations' (id {record.get('id')!r})"
        image_id, category = record["image_id"], record["category_id"]
        if image_id not in names:
            _fail(
                path, where, f"image_id {image_id!r} is not in 'images'", "Add the image or correct the id."
            )
        where += f" of image {names[image_id]!r}"
        if category not in classes:
            remedy = "Add the category or correct the id."
            _fail(path, where, f"category_id {category!r} is not in 'categories'", remedy)
        box = _corners(path, where, record["bbox"])
        entities[names[image_id]].append((box, classes[category]))
    return Detections(entities, sizes)


def _check_list(path: str | os.PathLike[str], kind: str, records: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(records, list):
        _fail(path, f"{kind!r}", "it is missing or not a list", f"COCO's format has {list(_COCO_KEYS)}.")
    for index, record in enumerate(records):
        where = f"record {index} of {kind!r}"
        if not isinstance(record, dict) or not record.keys() >= set(keys):
            _fail(path, where, f"{record!r:.200} lacks one of {keys}", "Each needs all of them.")
        if not all(type(record[key]) in (int, str) for key in keys if key != "bbox"):
            _fail(path, where, f"{record!r:.200} has an id, name or size of another type", "Correct it.")


def _corners(path: str | os.PathLike[str], where: str, box: Any) -> tuple[float, float, float, float]:
    if not is_box(box):
        _fail(path, where, f"bbox {box!r} is not four numbers", "COCO's order is [x, y, width, height].")
    x, y, width, height = map(float, box)
    if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) < 0:
        problem = f"bbox {box!r} is not finite or has a negative size"
        _fail(path, where, problem, "COCO's order is [x, y, width, height].")
    return x, y, x + width, y + height


def _fail(path: str | os.PathLike[str], where: str, problem: str, remedy: str) -> NoReturn:
    raise ValueError(f"{os.fspath(path)}: {where}: {problem}. {remedy}")
