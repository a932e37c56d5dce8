"""JSON files that list relationships by image. VRD and the paper's authors use this form.

    {"a.jpg": [{"subject": {"bbox": [ymin, ymax, xmin, xmax], "category": 0}, "object": {...}, "predicate":
    3}, ...], ...}

The files have no list of entities. The entities of an image are its distinct (box, class) combinations, in
order of appearance.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict, entity_boxes, entity_classes
from reldn_d2.utils.inner_paths import names_outside
from reldn_d2.utils.json_files import is_box, read_json
from reldn_d2.utils.refusals import Refusal, refuse, refuse_one

from ..fit_boxes import fit_boxes, mark_changed_boxes
from ..images import find_sized_images
from ..without_pictures import NO_LIMIT

# (xmin, ymin, xmax, ymax), class
Entity = tuple[tuple[float, float, float, float], int]


@dataclass(frozen=True)
class ListedFile:
    """A file of this form.

    Attributes:
        path: path of the file.
        official: name of the official file, for messages.
        box_order: the order of the numbers of a box in the data set's documentation, for messages.
        num_classes: number of entity classes; classes are in [0, num_classes).
        num_predicates: number of predicates; predicates are in [0, num_predicates).
    """

    path: Path
    official: str
    box_order: str
    num_classes: int
    num_predicates: int

    def refuse(self, kind: str, where: str, problem: str, remedy: str) -> None:
        """Refuse a record, see `reldn_d2.utils.refusals`; `where` names its image."""
        refuse_one(self.path, kind, f"image {where}", problem, remedy)


def listed_relationships(file: ListedFile) -> list[DatasetDict]:
    """Read the annotations of a file, without the images.

    Returns:
        One dict per listed image, in the order of the file, including images without relationships. The keys
        are `file_name` (as listed, without folder), `image_id` (the same string), `annotations` (XYXY_ABS
        with the numbers as given) and `relations` (R, 3) int64. `height` and `width` are not in the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a record has another form; the message names file, image and relationship.
    """
    content = read_json(file.path, unique_keys=True)
    if not isinstance(content, dict):
        raise ValueError(f"{file.path} is not an object of image names. Use {file.official}.")
    return [_image(file, name, content[name]) for name in names_inside(file, [*content])]


def names_inside(file: ListedFile, names: Sequence[str]) -> list[str]:
    """The image names, without refused ones: those that lead out of the folder of the pictures.

    Raises:
        ValueError: there is one; the message names the file and the first.
    """
    outside = names_outside(names)

    def record(k: int) -> Refusal:
        problem = (
            f"the name leads out of the image folder; this concerns {len(outside)} of {len(names)} images"
        )
        return Refusal(f"image {names[outside[k]]!r}", problem, "Give names of files in that folder.")

    refuse(file.path, "name outside the image folder", len(outside), record)
    refused = {*outside}
    return [name for row, name in enumerate(names) if row not in refused]


def read_entity(file: ListedFile, where: str, record: Any) -> Entity | None:
    """Read the box and the class of an entity; None if it is refused.

    Args:
        file: the file of the record.
        where: image and place in it, for the message.
        record: an object with `bbox` and `category`.

    Raises:
        ValueError: the record has another form; the message names file and place.
    """
    if not isinstance(record, dict) or "category" not in record or not is_box(record.get("bbox")):
        problem = f"{record!r} has no category or no box of four numbers"
        file.refuse("entity without a category or a box", where, problem, "Give both.")
        return None
    category, (top, bottom, left, right) = record["category"], map(float, record["bbox"])
    known = _is_class(file, where, "category", category, file.num_classes)
    # the comparisons refuse NaN, too
    if not (top <= bottom < float("inf") and left <= right < float("inf") and min(top, left) > float("-inf")):
        problem = f"the box {record['bbox']} is not in the order {file.box_order} or not finite"
        remedy = "Correct the box; the order is not that of COCO."
        file.refuse("box in another order or not finite", where, problem, remedy)
        return None
    return ((left, top, right, bottom), category) if known else None


def with_images(
    dataset_dicts: list[DatasetDict],
    image_root: str | os.PathLike[str],
    json_file: Path,
    given_sizes: Mapping[str, tuple[int, int]] | None = None,
) -> list[DatasetDict]:
    """Add the paths and sizes of the pictures, and fit the boxes to the sizes.

    Args:
        dataset_dicts: the result of `listed_relationships`; the dicts are changed in place.
        image_root: folder of the pictures. If a picture is missing, a file with another ending is used.
        json_file: the annotation file, for messages.
        given_sizes: listed name -> width and height. These images are not opened.

    Returns:
        The dicts, without those whose picture is refused, see `reldn_d2.utils.refusals`. Within
        `without_pictures`, an image of unknown size has no width and height.

    Raises:
        FileNotFoundError: a picture is missing, outside of `without_pictures`.
        ValueError: a file is not a picture.
    """
    images = find_sized_images(
        [dataset_dict["file_name"] for dataset_dict in dataset_dicts],
        [image_root],
        str(json_file),
        other_endings=True,
        given_sizes=given_sizes,
        boxes_are_shares=False,
    )
    dataset_dicts = [x for x in dataset_dicts if x["file_name"] in images]
    names = [x["file_name"] for x in dataset_dicts]
    sizes = np.array([images[name].size for name in names], dtype=np.int64).reshape(-1, 2)
    image = np.repeat(np.arange(len(names)), [len(d["annotations"]) for d in dataset_dicts])
    given = np.concatenate([np.zeros((0, 4)), *(entity_boxes(d) for d in dataset_dicts)])
    boxes, changed = fit_boxes(
        given, sizes[image], str(json_file), lambda row: f"image {names[image[row]]!r}"
    )
    first = np.searchsorted(image, np.arange(len(names)))
    for i, dataset_dict in enumerate(dataset_dicts):
        dataset_dict["file_name"] = str(images[names[i]].path)
        if images[names[i]].size != NO_LIMIT:
            dataset_dict["width"], dataset_dict["height"] = sizes[i].tolist()
        classes = entity_classes(dataset_dict)
        dataset_dict["annotations"] = Annotations(boxes[first[i] : first[i] + len(classes)], classes)
    mark_changed_boxes(dataset_dicts, changed)
    return dataset_dicts


def _image(file: ListedFile, name: str, records: Any) -> DatasetDict:
    if not isinstance(records, list):
        file.refuse(
            "image without a list", name, "its value is not a list of relationships",
            "An image without any has [].",
        )  # fmt: skip
        records = []
    rows: dict[Entity, int] = {}
    relations = []
    for index, record in enumerate(records):
        where = f"{name}, relationship {index}"
        try:
            subject, object, predicate = record["subject"], record["object"], record["predicate"]
        except (KeyError, TypeError):
            problem = f"{record!r} lacks subject, object or predicate"
            file.refuse("relationship that lacks a part", where, problem, "Each needs all three.")
            continue
        entities = [read_entity(file, where, entity) for entity in (subject, object)]
        known = _is_class(file, where, "predicate", predicate, file.num_predicates)
        positions = [rows.setdefault(entity, len(rows)) for entity in entities if entity is not None]
        if known and len(positions) == len(entities):
            relations.append((*positions, predicate))
    return {
        "file_name": name,
        "image_id": name,
        "annotations": Annotations([box for box, _ in rows], [category for _, category in rows]),
        "relations": np.array(relations, dtype=np.int64).reshape(-1, 3),
    }


def _is_class(file: ListedFile, where: str, kind: str, number: Any, count: int) -> bool:
    """Whether a number is one of `count` classes; others are refused."""
    known = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < count
    if not known:
        problem = f"{kind} {number!r} is not in [0, {count})"
        file.refuse(f"unknown {kind}", where, problem, "Classes and predicates count from 0.")
    return known
