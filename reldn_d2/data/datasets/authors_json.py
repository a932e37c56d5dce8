"""The files that the paper's authors published for their experiments, with any vocabulary.

    rel_annotations_*.json      relationships, in the form that `relationship_lists.py` describes
    detections_*.json           optional: ground-truth boxes of all entities, with and without relationships

The second file has one of two forms. One is COCO's instance format, with category names from the vocabulary.
The other is

    {"a.jpg": [{"bbox": [y1, y2, x1, x2], "category": 0}, ...], ...}

The files leave some questions open. This loader answers them as follows:

* Classes and predicates count from 0. Boxes are [y1, y2, x1, x2], except in COCO's format.
* The images are those of the first file. The entities of an image are its distinct (box, class) combinations:
  first those of the relationships in order of appearance, then the others of the second file.
* COCO's boxes are [x, y, width, height] with the far corner at (x + width, y + height). If the file was made
  in another way, it holds hardly any entity of the relationships, and a warning says so.
* Self relations, repeats and boxes that stick out of their image are treated as in VRD.
"""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.json_files import is_box, is_side, read_json
from reldn_d2.utils.refusals import refuse_one

from ..registration import register_relation_dataset
from .relationship_lists import (
    Entity,
    ListedFile,
    listed_relationships,
    names_inside,
    read_entity,
    with_images,
)

logger = logging.getLogger(__name__)

BOX_ORDER = "[y1, y2, x1, x2]"

# Names in the order of their numbers, or the JSON file that lists them.
Names = Sequence[str] | str | os.PathLike[str]

_COCO_KEYS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


_COCO_ORDER = "COCO's order is [x, y, width, height]."


@dataclass(frozen=True)
class Detections:
    """The content of detections_*.json.

    Attributes:
        entities: image file name -> its entities, repeats included.
        sizes: image file name -> width and height; empty if the file has no sizes.
    """

    entities: dict[str, list[Entity]]
    sizes: dict[str, tuple[int, int]]


def load_authors_json(
    annotations_json: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    *,
    detections_json: str | os.PathLike[str] | None = None,
    thing_classes: Names,
    predicate_classes: Names,
    dataset_name: str | None = None,
) -> list[DatasetDict]:
    """Read the authors' files into dataset dicts. At most the headers of the pictures are read.

    Args:
        annotations_json: a file like rel_annotations_train.json.
        image_root: folder of the pictures.
        detections_json: a file like detections_train.json. In COCO's format it also has the image sizes.
        thing_classes: names of the entity classes in the order of their numbers, or the path of a JSON
            list of them.
        predicate_classes: names of the predicates, in the same form.
        dataset_name: when given, the names go to this data set's metadata.

    Raises:
        FileNotFoundError: a file or a picture is missing.
        ValueError: a file is damaged; the message names file, image and record.
    """
    names, predicates = _names(thing_classes), _names(predicate_classes)
    if dataset_name is not None:
        MetadataCatalog.get(dataset_name).set(thing_classes=names, predicate_classes=predicates)
    file = ListedFile(
        Path(annotations_json), "the authors' rel_annotations_*.json", BOX_ORDER, len(names), len(predicates)
    )
    dataset_dicts = listed_relationships(file)
    if detections_json is None:
        return with_images(dataset_dicts, image_root, file.path)
    detections = _read_detections(detections_json, names, BOX_ORDER)
    _add_entities(dataset_dicts, detections, detections_json)
    return with_images(dataset_dicts, image_root, file.path, detections.sizes)


def register_authors_json(
    name: str,
    annotations_json: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    *,
    detections_json: str | os.PathLike[str] | None = None,
    thing_classes: Names,
    predicate_classes: Names,
    train_dataset: str | None = None,
) -> None:
    """Register the authors' files under `name`. Files are read when the data set is loaded.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        annotations_json: see `load_authors_json`.
        image_root: see `load_authors_json`.
        detections_json: see `load_authors_json`.
        thing_classes: see `load_authors_json`. Names that are given as a path are in the metadata after the
            data set has been loaded.
        predicate_classes: see `load_authors_json`.
        train_dataset: name of its training split, for zero-shot recall; None if it is not known.
    """
    things, predicates = _given(thing_classes), _given(predicate_classes)
    register_relation_dataset(
        name,
        load_authors_json,
        {
            "annotations_json": os.fspath(annotations_json),
            "image_root": os.fspath(image_root),
            "detections_json": None if detections_json is None else os.fspath(detections_json),
            "thing_classes": things,
            "predicate_classes": predicates,
            "dataset_name": name,
        },
        thing_classes=None if isinstance(things, str) else things,
        predicate_classes=None if isinstance(predicates, str) else predicates,
        train_dataset=train_dataset,
        # the key is not `json_file`, which Detectron2 takes for a file in COCO format
        annotation_file=os.fspath(annotations_json),
        image_root=os.fspath(image_root),
    )


def _given(names: Names) -> str | tuple[str, ...]:
    """The path as a string if names are given by a path; else the names."""
    return os.fspath(names) if isinstance(names, str | os.PathLike) else tuple(names)


def _names(names: Names) -> list[str]:
    given = _given(names)
    listed = read_json(given) if isinstance(given, str) else list(given)
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError(
            f"{given} is not a JSON list of names. Use the file that belongs to the annotations."
        )
    if len(set(listed)) < len(listed):
        repeated = next(name for name in listed if listed.count(name) > 1)
        where = given if isinstance(given, str) else "thing_classes or predicate_classes"
        raise ValueError(f"{where}: the name {repeated!r} is listed twice. Names must be distinct.")
    return listed


def _add_entities(
    dataset_dicts: list[DatasetDict], detections: Detections, detections_json: str | os.PathLike[str]
) -> None:
    """Add the entities that are in no relationship to the dicts, in place."""
    without: list[str] = []
    related = 0
    unlisted: list[str] = []
    for dataset_dict in dataset_dicts:
        name = dataset_dict["image_id"]
        if name not in detections.entities:
            without.append(name)
            continue
        annotations = dataset_dict["annotations"]
        boxes = map(tuple, annotations.boxes.tolist())
        of_relationships = dict.fromkeys(zip(boxes, annotations.classes.tolist(), strict=True))
        listed = dict.fromkeys(detections.entities[name])
        related += len(of_relationships)
        unlisted += [name] * len(of_relationships.keys() - listed.keys())
        entities = [*(of_relationships | listed)]
        dataset_dict["annotations"] = Annotations([box for box, _ in entities], [c for _, c in entities])
    if without:
        logger.warning(
            "%s lists no boxes for %d of %d images, the first being %r: they have only the entities of "
            "relationships.",
            detections_json, len(without), len(dataset_dicts), without[0],
        )  # fmt: skip
    if unlisted:
        logger.warning(
            "%s: %d of %d entities of relationships are not in it, the first in image %r; they are kept. "
            "If they are many, its boxes were made in another way, and nearly all entities occur twice: "
            "load without this file.",
            detections_json, len(unlisted), related, unlisted[0],
        )  # fmt: skip


def _read_detections(path: str | os.PathLike[str], thing_classes: list[str], box_order: str) -> Detections:
    """Read detections_*.json in either form.

    A file with one of COCO's three lists is in COCO's format, because no image has the name of such a list.

    Args:
        path: the file.
        thing_classes: names of the classes; COCO's categories are found by name.
        box_order: order of the boxes of the other form, for messages.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has neither form, or an invalid record; the message names it.
    """
    content = read_json(path, unique_keys=True)
    if not isinstance(content, dict):
        raise ValueError(
            f"{os.fspath(path)}: the file: it is not an object. Use COCO's instance format or lists of boxes "
            "by image."
        )
    file = ListedFile(Path(path), "the authors' detections_*.json", box_order, len(thing_classes), 0)
    if not content.keys().isdisjoint(_COCO_KEYS):
        detections = _coco(path, content, thing_classes)
        names_inside(file, [*detections.entities])
        return detections
    entities = {}
    for name in names_inside(file, [*content]):
        records = content[name]
        if not isinstance(records, list):
            problem = "its value is not a list of boxes"
            file.refuse("image without a list", name, problem, "An image without any has [].")
            records = []
        read = (read_entity(file, f"{name}, box {i}", record) for i, record in enumerate(records))
        entities[name] = [entity for entity in read if entity is not None]
    return Detections(entities, {})


def _coco(path: str | os.PathLike[str], content: dict[str, Any], thing_classes: list[str]) -> Detections:
    records_of = {kind: _usable(path, kind, content.get(kind), keys) for kind, keys in _COCO_KEYS.items()}
    class_of = {name: number for number, name in enumerate(thing_classes)}
    classes: dict[int | str, int] = {}
    for record in records_of["categories"]:
        where, name = f"category {record['id']!r}", record["name"]
        if name not in class_of:
            problem = f"{name!r} is not in thing_classes"
            refuse_one(path, "unknown category", where, problem, "Give the names of this file.")
        elif record["id"] in classes or class_of[name] in classes.values():
            problem = f"its id or its name {name!r} is listed twice"
            refuse_one(path, "repeated category", where, problem, "Remove one, or correct it.")
        else:
            classes[record["id"]] = class_of[name]
    names, sizes = {}, {}
    for record in records_of["images"]:
        name, size = record["file_name"], (record["width"], record["height"])
        if record["id"] in names or name in sizes:
            problem = f"it or its id {record['id']!r} is listed twice"
            refuse_one(path, "repeated image", f"image {name!r}", problem, "Remove one.")
            continue
        if not all(map(is_side, size)):
            problem = f"its width and height are {size}"
            refuse_one(path, "image without a size", f"image {name!r}", problem, "Give its size in pixels.")
            continue
        names[record["id"]] = name
        sizes[name] = size
    entities: dict[str, list[Entity]] = {name: [] for name in sizes}
    for index, record in enumerate(records_of["annotations"]):
        where = f"record {index} of 'annotations' (id {record.get('id')!r})"
        image_id, category = record["image_id"], record["category_id"]
        if image_id not in names:
            problem = f"image_id {image_id!r} is not in 'images'"
            refuse_one(path, "unknown image_id", where, problem, "Add the image or correct the id.")
            continue
        where += f" of image {names[image_id]!r}"
        if category not in classes:
            remedy = "Add the category or correct the id."
            problem = f"category_id {category!r} is not in 'categories'"
            refuse_one(path, "unknown category_id", where, problem, remedy)
            continue
        box = _corners(path, where, record["bbox"])
        if box is not None:
            entities[names[image_id]].append((box, classes[category]))
    return Detections(entities, sizes)


def _usable(
    path: str | os.PathLike[str], kind: str, records: Any, keys: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The records of a list of COCO's format, without refused ones."""
    if not isinstance(records, list):
        remedy = f"COCO's format has {list(_COCO_KEYS)}."
        refuse_one(path, f"no list {kind!r}", f"{kind!r}", "it is missing or not a list", remedy)
        return []
    usable = []
    for index, record in enumerate(records):
        where = f"record {index} of {kind!r}"
        if not isinstance(record, dict) or not record.keys() >= set(keys):
            problem = f"{record!r:.200} lacks one of {keys}"
            refuse_one(
                path, f"record of {kind!r} that lacks a key", where, problem, "Each needs all of them."
            )
        elif not all(type(record[key]) in (int, str) for key in keys if key != "bbox"):
            problem = f"{record!r:.200} has an id, name or size of another type"
            refuse_one(path, f"value of another type in {kind!r}", where, problem, "Correct it.")
        else:
            usable.append(record)
    return usable


def _corners(path: str | os.PathLike[str], where: str, box: Any) -> tuple[float, float, float, float] | None:
    """The box as XYXY; None if it is refused."""
    if not is_box(box):
        problem = f"bbox {box!r} is not four numbers"
        refuse_one(path, "bbox that is not four numbers", where, problem, _COCO_ORDER)
        return None
    x, y, width, height = map(float, box)
    if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) < 0:
        problem = f"bbox {box!r} is not finite or has a negative size"
        refuse_one(path, "bbox that is not finite or has a negative size", where, problem, _COCO_ORDER)
        return None
    return x, y, x + width, y + height
