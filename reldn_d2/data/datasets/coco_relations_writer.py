"""Writing any data set in the COCO-relations format; `coco_relations` says what that is."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reldn_d2.structures.dataset_dicts import (
    DatasetDict,
    describe,
    entity_boxes,
    entity_classes,
    relation_rows,
)
from reldn_d2.utils.io import replace_when_complete

from .coco_relations_file import inside_image
from .coco_relations_records import Record

# Boxes are rounded to a binary fraction of a pixel: x + width is then exactly the far edge again, so that boxes that
# touch still touch, and writing what was read changes nothing.
_STEPS_PER_PIXEL = 2.0**32


def save_coco_relations(
    dataset_dicts: Sequence[DatasetDict],
    metadata: Any,
    path: str | os.PathLike[str],
    image_root: str | os.PathLike[str] | None = None,
) -> None:
    """Write dataset dicts as a COCO-relations file, which loads as the same images, boxes and relationships.

    Image ids are kept; annotations, relations, categories and predicates are numbered from 1. Coordinates are rounded to
    2^-32 of a pixel. Of an image's own keys, `verified_classes` is written; `attributes` and `detections` are not.

    Args:
        dataset_dicts: with integer or string image ids.
        metadata: anything with `thing_classes` and `predicate_classes`, such as a data set's `Metadata`; its
            `class_labels` and `predicate_labels`, if it has them, are written too.
        path: file to write, all at once or not at all.
        image_root: folder that the file names are written relative to; by default they are written as they
            are.

    Raises:
        ValueError: relationships that do not fit the annotations, classes that `metadata` does not name, or boxes that
            are not inside their image, by more than a pixel.
    """
    things, predicates = metadata.thing_classes, metadata.predicate_classes
    with replace_when_complete(path) as stream:
        stream.write(b"{")
        labels = getattr(metadata, "class_labels", None)
        _write_list(stream, "categories", [_class_records(things, labels)])
        labels = getattr(metadata, "predicate_labels", None)
        _write_list(stream, "predicates", [_class_records(predicates, labels)])
        images = ([_image_record(path, d, things, image_root)] for d in dataset_dicts)
        _write_list(stream, "images", images)
        _write_list(stream, "annotations", _annotation_records(path, dataset_dicts, things))
        _write_list(stream, "relations", _relation_records(path, dataset_dicts, predicates))
        allowed = any((rows[:, 0] == rows[:, 1]).any() for rows in map(relation_rows, dataset_dicts))
        stream.write(f'"allow_self_relations": {json.dumps(allowed)}}}\n'.encode())


def _write_list(stream: IO[bytes], kind: str, parts: Iterable[list[Record]]) -> None:
    """Part by part, so that the records of a large data set are never all in memory."""
    stream.write(f'"{kind}": ['.encode())
    between = "\n"
    for records in filter(None, parts):
        stream.write((between + json.dumps(records)[1:-1]).encode())
        between = ",\n"
    stream.write(b"],\n")


def _class_records(names: Sequence[str], labels: Sequence[str] | None) -> list[Record]:
    records: list[Record] = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    if labels is not None:
        for record, label in zip(records, labels, strict=True):
            record["label"] = label
    return records


def _image_record(
    path: str | os.PathLike[str],
    dataset_dict: DatasetDict,
    names: Sequence[str],
    image_root: str | os.PathLike[str] | None,
) -> Record:
    file_name = dataset_dict["file_name"]
    if image_root is not None:
        file_name = Path(os.path.relpath(file_name, image_root)).as_posix()
    size = {key: dataset_dict[key] for key in ("height", "width")}
    record = {"id": dataset_dict["image_id"], "file_name": file_name, **size}
    if "verified_classes" in dataset_dict:
        verified = np.asarray(dataset_dict["verified_classes"], dtype=np.int64)
        record["verified_category_ids"] = _ids(path, dataset_dict, "verified_classes", verified, names)
    return record


def _annotation_records(
    path: str | os.PathLike[str], dataset_dicts: Sequence[DatasetDict], names: Sequence[str]
) -> Iterator[list[Record]]:
    first = 1
    # disable=None: a bar on a terminal, nothing in a log file
    for dataset_dict in tqdm(dataset_dicts, f"writing {Path(path).name}", leave=False, disable=None):
        corners = np.round(entity_boxes(dataset_dict) * _STEPS_PER_PIXEL) / _STEPS_PER_PIXEL
        inside = inside_image(
            corners, np.array([[dataset_dict["width"], dataset_dict["height"]]], np.float64)
        )
        if not inside.all():
            row = int(inside.argmin())
            raise ValueError(
                f"{path}: not written: annotation {row} of {describe(dataset_dict)} has the box "
                f"{corners[row].tolist()}, which is not inside the {dataset_dict['width']} x {dataset_dict['height']} "
                "pixels of the image. Correct or clip it."
            )
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        categories = _ids(path, dataset_dict, "category_id", entity_classes(dataset_dict), names)
        crowd = [annotation.get("iscrowd", 0) for annotation in dataset_dict["annotations"]]
        yield [
            {
                "id": number,
                "image_id": dataset_dict["image_id"],
                "category_id": category,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": flag,
            }
            for number, (box, category, flag) in enumerate(
                zip(boxes.tolist(), categories, crowd, strict=True), start=first
            )
        ]
        first += len(boxes)


def _relation_records(
    path: str | os.PathLike[str], dataset_dicts: Sequence[DatasetDict], names: Sequence[str]
) -> Iterator[list[Record]]:
    first_annotation = first = 1
    for dataset_dict in dataset_dicts:
        rows = relation_rows(dataset_dict)
        ends = (rows[:, :2] + first_annotation).tolist()
        predicates = _ids(path, dataset_dict, "predicate_id", rows[:, 2], names)
        yield [
            {
                "id": number,
                "image_id": dataset_dict["image_id"],
                "subject_id": subject,
                "object_id": object,
                "predicate_id": predicate,
            }
            for number, ((subject, object), predicate) in enumerate(
                zip(ends, predicates, strict=True), start=first
            )
        ]
        first_annotation += len(dataset_dict["annotations"])
        first += len(rows)


def _ids(
    path: str | os.PathLike[str],
    dataset_dict: DatasetDict,
    key: str,
    numbers: NDArray[np.int64],
    names: Sequence[str],
) -> list[int]:
    """Class numbers, which count from 0, as the ids of the file, which count from 1."""
    unnamed = (numbers < 0) | (numbers >= len(names))
    if unnamed.any():
        raise ValueError(
            f"{path}: not written: image {dataset_dict['image_id']!r} has {key} {numbers[unnamed.argmax()]}, but the "
            f"metadata names only {len(names)} classes of this kind. Pass the metadata of the data set "
            "itself."
        )
    ids: list[int] = (numbers + 1).tolist()
    return ids
