"""Reading and checking the records of a COCO-relations file; `coco_relations` says what the format is."""

import json
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from detectron2.structures import BoxMode

logger = logging.getLogger(__name__)

Id = int | str
Record = dict[str, Any]

_REQUIRED_KEYS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
    "predicates": ("id", "name"),
    "relations": ("id", "image_id", "subject_id", "object_id", "predicate_id"),
}

# Annotation tools round, so the far edge of a box may lie a fraction of a pixel outside.
_TOLERANCE = 1.0


@dataclass(frozen=True)
class CocoRelations:
    """A checked file; ids are the file's own, classes are numbered from 0.

    Attributes:
        images: image id -> its record.
        annotations: annotation id -> (image id, annotation of a dataset dict).
        relations: (image id, subject annotation id, object annotation id, predicate number).
        category_rows, predicate_rows: id in the file -> number.
        thing_classes, predicate_classes: names by number.
    """

    images: dict[Id, Record]
    annotations: dict[Id, tuple[Id, Record]]
    relations: list[tuple[Id, Id, Id, int]]
    category_rows: dict[int, int]
    predicate_rows: dict[int, int]
    thing_classes: list[str]
    predicate_classes: list[str]


def read_coco_relations(json_file: str | os.PathLike[str]) -> CocoRelations:
    """
    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, a missing list or key, a repeated id, an id that nothing has, a box that is not
            inside its image, a relationship between two images, or one of an annotation with itself in a file that
            does not allow it; the message names file and record.
    """
    name = os.fspath(json_file)
    content = _read_json(name)
    tables = {kind: _by_id(name, content, kind) for kind in _REQUIRED_KEYS}
    category_rows, thing_classes = _numbered(name, tables, "categories")
    predicate_rows, predicate_classes = _numbered(name, tables, "predicates")
    for image_id, image in tables["images"].items():
        _check_image(name, image_id, image)
    annotations: dict[Id, tuple[Id, Record]] = {}
    for annotation_id, record in tables["annotations"].items():
        where = f"annotation {annotation_id!r}"
        image = _look_up(name, where, tables["images"], record["image_id"], "images")
        category = _look_up(name, where, category_rows, record["category_id"], "categories")
        box = _checked_box(name, where, record["bbox"], image)
        annotation = {
            "bbox": box,
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": category,
            "iscrowd": record.get("iscrowd", 0),
        }
        annotations[annotation_id] = (record["image_id"], annotation)
    return CocoRelations(
        images=tables["images"],
        annotations=annotations,
        relations=_checked_relations(name, tables, predicate_rows, bool(content.get("allow_self_relations"))),
        category_rows=category_rows,
        predicate_rows=predicate_rows,
        thing_classes=thing_classes,
        predicate_classes=predicate_classes,
    )


def _fail(json_file: str, where: str, problem: str, remedy: str) -> NoReturn:
    raise ValueError(f"{json_file}: {where}: {problem}. {remedy}")


def _read_json(json_file: str) -> Record:
    try:
        with Path(json_file).open(encoding="utf-8") as stream:
            content = json.load(stream)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Annotation file {json_file} does not exist. Check the path that the data set was registered "
            "with."
        ) from error
    except ValueError as error:
        _fail(json_file, "the file", f"not valid JSON ({error})", "Export it again; it may be cut off.")
    if not isinstance(content, dict):
        _fail(json_file, "the file", "the top level is no object", f"It must hold {list(_REQUIRED_KEYS)}.")
    return content


def _by_id(json_file: str, content: Record, kind: str) -> dict[Id, Record]:
    records = content.get(kind)
    if not isinstance(records, list):
        _fail(json_file, f"{kind!r}", "missing or not a list", "Add the list; it may be empty.")
    found: dict[Id, Record] = {}
    for index, record in enumerate(records):
        where = f"record {index} of {kind!r}"
        if not isinstance(record, dict):
            _fail(json_file, where, "not an object", f"It needs the keys {_REQUIRED_KEYS[kind]}.")
        missing = [key for key in _REQUIRED_KEYS[kind] if key not in record]
        if missing:
            _fail(json_file, f"{where} (id {record.get('id')!r})", f"lacks {missing}", "Add the keys.")
        identity = record["id"]
        if isinstance(identity, bool) or not isinstance(identity, int | str):
            _fail(json_file, where, f"its id {identity!r} is no integer or string", "Give it a proper id.")
        if identity in found:
            _fail(json_file, where, f"the id {identity!r} occurs twice in {kind!r}", "Ids must be unique.")
        found[identity] = record
    return found


def _numbered(
    json_file: str, tables: dict[str, dict[Id, Record]], kind: str
) -> tuple[dict[int, int], list[str]]:
    """Ids of a class list -> numbers from 0 in the order of the ids, and the names in that order."""
    ids = []
    for identity, record in tables[kind].items():
        if not isinstance(identity, int) or not isinstance(record["name"], str):
            where = f"record {identity!r} of {kind!r}"
            _fail(json_file, where, "the id is no integer or the name no string", "Classes need both.")
        ids.append(identity)
    ids.sort()
    return {identity: row for row, identity in enumerate(ids)}, [tables[kind][i]["name"] for i in ids]


def _look_up(json_file: str, where: str, table: dict[Any, Any], identity: Any, kind: str) -> Any:
    if not isinstance(identity, int | str) or identity not in table:
        remedy = f"Add the record to {kind!r} or correct the id."
        _fail(json_file, where, f"{kind!r} has no id {identity!r}", remedy)
    return table[identity]


def _check_image(json_file: str, image_id: Id, image: Record) -> None:
    where = f"image {image_id!r}"
    if not isinstance(image["file_name"], str) or not image["file_name"]:
        _fail(json_file, where, f"file_name is {image['file_name']!r}", "Give the image's path as a string.")
    for key in ("height", "width"):
        if not isinstance(image[key], int) or image[key] <= 0:
            _fail(json_file, where, f"{key} is {image[key]!r}", "Give the image's size in pixels.")


def _checked_box(json_file: str, where: str, box: Any, image: Record) -> list[float]:
    """The box as XYXY, inside its image."""
    remedy = "A COCO box is [x, y, width, height] in pixels, with a positive size, inside its image."
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, int | float) for v in box):
        _fail(json_file, where, f"the box {box!r} is not four numbers", remedy)
    if not all(math.isfinite(v) for v in box):
        _fail(json_file, where, f"the box {box} is not finite", remedy)
    x, y, width, height = box
    if width <= 0 or height <= 0:
        _fail(json_file, where, f"the box {box} has no positive size", remedy)
    size = f"{image['width']} x {image['height']} pixels of image {image['id']!r}"
    far_x, far_y = image["width"], image["height"]
    if min(x, y) < -_TOLERANCE or x + width > far_x + _TOLERANCE or y + height > far_y + _TOLERANCE:
        _fail(json_file, where, f"the box {box} is outside the {size}", remedy)
    clipped = [max(x, 0.0), max(y, 0.0), min(x + width, float(far_x)), min(y + height, float(far_y))]
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        _fail(json_file, where, f"the box {box} is outside the {size}", remedy)
    return [float(v) for v in clipped]


def _checked_relations(
    json_file: str,
    tables: dict[str, dict[Id, Record]],
    predicate_rows: dict[int, int],
    allow_self_relations: bool,
) -> list[tuple[Id, Id, Id, int]]:
    relations: list[tuple[Id, Id, Id, int]] = []
    reflexive = []
    for relation_id, record in tables["relations"].items():
        where = f"relation {relation_id!r}"
        image_id, subject, object = record["image_id"], record["subject_id"], record["object_id"]
        _look_up(json_file, where, tables["images"], image_id, "images")
        predicate = _look_up(json_file, where, predicate_rows, record["predicate_id"], "predicates")
        for end in (subject, object):
            annotation = _look_up(json_file, where, tables["annotations"], end, "annotations")
            if annotation["image_id"] != image_id:
                other = annotation["image_id"]
                problem = f"it is of image {image_id!r}, but annotation {end!r} is of image {other!r}"
                _fail(json_file, where, problem, "A relationship and its two ends share one image.")
        if subject == object:
            if not allow_self_relations:
                problem = f"it joins annotation {subject!r} with itself"
                remedy = 'Correct it, or say "allow_self_relations": true at the top of the file.'
                _fail(json_file, where, problem, remedy)
            reflexive.append(relation_id)
        relations.append((image_id, subject, object, predicate))
    if reflexive:
        logger.warning(
            "%s: %d relations join an annotation with itself, the first being relation %r. Evaluation counts "
            "them; training drops them.",
            json_file, len(reflexive), reflexive[0],
        )  # fmt: skip
    return relations
