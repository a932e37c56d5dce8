"""Reading and checking a COCO-relations file; `coco_relations` says what the format is."""

import logging
import os
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ..json_values import is_box, is_side
from .coco_relations_records import Record, Table, read_json_object, take_classes, take_table

logger = logging.getLogger(__name__)

# Annotation tools round, so the far edge of a box may lie a fraction of a pixel outside.
_TOLERANCE = 1.0


@dataclass(frozen=True)
class CocoRelations:
    """A checked file with I images, N annotations and R relations, all in the order of the file.

    Attributes:
        images: I records.
        verified: for each image the numbers of its verified categories, (V,) int64; None where the record has none.
        boxes: (N, 4) float64, XYXY in absolute pixels, inside the image.
        classes: (N,) int64, category numbers.
        crowd: (N,) bool.
        image_of: (N,) int64, row in `images`.
        relations: (R, 3) int64, (subject, object, predicate): two rows of annotations and a predicate number.
        categories, predicates: tables in the order of their ids, whose rows are the class numbers.
    """

    images: list[Record]
    verified: list[NDArray[np.int64] | None]
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    image_of: NDArray[np.int64]
    relations: NDArray[np.int64]
    categories: Table
    predicates: Table


def read_coco_relations(json_file: str | os.PathLike[str]) -> CocoRelations:
    """
    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, a missing list or key, a repeated id, an id that nothing has, a box that is not
            inside its image, a relationship between two images, or one of an annotation with itself in a file that
            does not allow it; the message names file and record.
    """
    name = os.fspath(json_file)
    content = read_json_object(name)
    categories = take_classes(name, content, "categories")
    predicates = take_classes(name, content, "predicates")
    images = take_table(name, content, "images")
    verified = [_checked_image(images, row, categories) for row in range(len(images.records))]
    annotations = take_table(name, content, "annotations")
    image_of = annotations.look_up_all("image_id", images)
    relations = take_table(name, content, "relations")
    return CocoRelations(
        images=images.records,
        verified=verified,
        boxes=_checked_boxes(annotations, images, image_of),
        classes=annotations.look_up_all("category_id", categories),
        crowd=_checked_crowd(annotations),
        image_of=image_of,
        relations=_checked_relations(
            relations, images, annotations, image_of, predicates, bool(content.get("allow_self_relations"))
        ),
        categories=categories,
        predicates=predicates,
    )


def inside_image(corners: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) whether boxes have an area inside their image and stick out of it by no more than rounding.

    Args:
        corners: (N, 4) XYXY in absolute pixels; NaN is inside of nothing.
        sizes: (N, 2) or (1, 2) width and height of the images.
    """
    near, far = corners[:, :2], corners[:, 2:]
    within = (near >= -_TOLERANCE) & (far <= sizes + _TOLERANCE)
    visible = near.clip(min=0) < np.minimum(far, sizes)
    return np.asarray((within & visible).all(axis=1))


def _checked_image(images: Table, row: int, categories: Table) -> NDArray[np.int64] | None:
    """Its verified categories, or None."""
    image = images.records[row]
    if not isinstance(image["file_name"], str) or not image["file_name"]:
        images.fail(row, f"file_name is {image['file_name']!r}", "Give the image's path as a string.")
    for key in ("height", "width"):
        if not is_side(image[key]):
            images.fail(row, f"{key} is {image[key]!r}", "Give the image's size in pixels.")
    verified = image.get("verified_category_ids")
    if verified is None:
        return None
    if not isinstance(verified, list):
        remedy = "Give a list of category ids, or leave the key out."
        images.fail(row, f"verified_category_ids is {verified!r}", remedy)
    return np.array([images.look_up(row, i, categories) for i in verified], dtype=np.int64)


def _checked_boxes(annotations: Table, images: Table, image_of: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N, 4) boxes as XYXY, inside their images."""

    def refuse(row: int, problem: str) -> NoReturn:
        remedy = "A COCO box is [x, y, width, height] in pixels, with a positive size, inside its image."
        annotations.fail(row, f"the box {given[row]!r} {problem}", remedy)

    given = [record["bbox"] for record in annotations.records]
    for row, box in enumerate(given):
        if not is_box(box):
            refuse(row, "is not four numbers")
    boxes = np.array(given, dtype=np.float64).reshape(-1, 4)
    for right, problem in (
        (np.isfinite(boxes), "is not finite"),
        (boxes[:, 2:] > 0, "has no positive size"),
    ):
        if not right.all():
            refuse(int(right.all(axis=1).argmin()), problem)
    sizes = [(image["width"], image["height"]) for image in images.records]
    limits = np.array(sizes, dtype=np.float64).reshape(-1, 2)[image_of]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    inside = inside_image(corners, limits)
    if not inside.all():
        row = int(inside.argmin())
        width, height = sizes[image_of[row]]
        image_id = images.records[image_of[row]]["id"]
        refuse(row, f"is outside the {width} x {height} pixels of image {image_id!r}")
    return np.concatenate([corners[:, :2].clip(min=0), np.minimum(corners[:, 2:], limits)], axis=1)


def _checked_crowd(annotations: Table) -> NDArray[np.bool_]:
    crowd = [record.get("iscrowd", 0) for record in annotations.records]
    for row, flag in enumerate(crowd):
        if flag not in (0, 1):
            annotations.fail(row, f"iscrowd is {flag!r}", "Say 1 for a crowd and 0 for a single entity.")
    return np.array(crowd, dtype=np.bool_)


def _checked_relations(
    relations: Table,
    images: Table,
    annotations: Table,
    image_of: NDArray[np.int64],
    predicates: Table,
    allow_self_relations: bool,
) -> NDArray[np.int64]:
    """(R, 3) rows (subject, object, predicate)."""
    image = relations.look_up_all("image_id", images)
    subject = relations.look_up_all("subject_id", annotations)
    object = relations.look_up_all("object_id", annotations)
    predicate = relations.look_up_all("predicate_id", predicates)
    for end in (subject, object):
        elsewhere = image_of[end] != image
        if elsewhere.any():
            row = int(elsewhere.argmax())
            own, other = images.records[image[row]]["id"], images.records[image_of[end[row]]]["id"]
            annotation = annotations.records[end[row]]["id"]
            problem = f"it is of image {own!r}, but annotation {annotation!r} is of image {other!r}"
            relations.fail(row, problem, "A relationship and its two ends share one image.")
    reflexive = np.flatnonzero(subject == object)
    if len(reflexive):
        record = relations.records[reflexive[0]]
        if not allow_self_relations:
            remedy = 'Correct it, or say "allow_self_relations": true at the top of the file.'
            problem = f"it joins annotation {record['subject_id']!r} with itself"
            relations.fail(int(reflexive[0]), problem, remedy)
        logger.warning(
            "%s: %d relations join an annotation with itself, the first being relation %r. Evaluation counts "
            "them; training drops them.",
            relations.json_file, len(reflexive), record["id"],
        )  # fmt: skip
    return np.stack([subject, object, predicate], axis=1)
