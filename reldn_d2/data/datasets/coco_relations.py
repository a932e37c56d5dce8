"""COCO JSON with relationships: the format for data sets of your own.

It is COCO's instance format with two more top-level lists:

    "predicates": [{"id": 1, "name": "holds"}, ...]
    "relations":  [{"id": 1, "image_id": 7, "subject_id": 70, "object_id": 71, "predicate_id": 1}, ...]

where `subject_id` and `object_id` are annotation ids. Category and predicate ids need not be contiguous; they
are numbered from 0 in the order of their ids.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog

from reldn_d2.files import replace_when_complete

from ..dataset_dicts import DatasetDict, entity_boxes, entity_classes, relation_rows
from ..registration import register_relation_dataset
from .coco_relations_file import CocoRelations, read_coco_relations

logger = logging.getLogger(__name__)


def load_coco_relations(
    json_file: str | os.PathLike[str], image_root: str | os.PathLike[str], dataset_name: str | None = None
) -> list[DatasetDict]:
    """Read a COCO-relations file into dataset dicts. Image files are not opened.

    Images and annotations keep the order of the file. Boxes come out as XYXY_ABS; those that stick out of
    their image by at most one pixel (rounding) are clipped. Relationships of an annotation with itself are
    kept, because evaluation counts what is annotated, and reported as a warning; training drops them.

    Args:
        json_file: path of the file.
        image_root: folder that the `file_name` of the images is relative to.
        dataset_name: when given, the names found in the file go to this data set's metadata
            (`thing_classes`, `predicate_classes` and the id maps, as Detectron2's `load_coco_json` does).

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no valid COCO-relations file, naming the record, or its classes differ from
            the metadata of `dataset_name`.
    """
    content = read_coco_relations(json_file)
    if dataset_name is not None:
        _set_class_metadata(dataset_name, json_file, content)
    dicts: dict[Any, DatasetDict] = {
        image_id: {
            "file_name": os.path.join(image_root, image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image_id,
            "annotations": [],
        }
        for image_id, image in content.images.items()
    }
    position = {}
    for annotation_id, (image_id, annotation) in content.annotations.items():
        annotations = dicts[image_id]["annotations"]
        position[annotation_id] = len(annotations)
        annotations.append(annotation)
    rows: dict[Any, list[tuple[int, int, int]]] = {image_id: [] for image_id in dicts}
    for image_id, subject, object, predicate in content.relations:
        rows[image_id].append((position[subject], position[object], predicate))
    for image_id, dataset_dict in dicts.items():
        dataset_dict["relations"] = np.array(rows[image_id], dtype=np.int64).reshape(-1, 3)
    return list(dicts.values())


def register_coco_relations(
    name: str,
    metadata: Mapping[str, Any],
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    train_dataset: str | None = None,
) -> None:
    """Register a COCO-relations file under `name`, as `register_coco_instances` does. Nothing is read yet.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        metadata: more metadata of the data set, or {}. If it gives `thing_classes` or `predicate_classes`,
            they are known before the file is read, and the file must agree with them.
        json_file: path of the file.
        image_root: folder that the `file_name` of the images is relative to.
        train_dataset: name of the data set that models were trained on, for zero-shot recall; None if it isn't known.
    """
    register_relation_dataset(
        name,
        load_coco_relations,
        {"json_file": os.fspath(json_file), "image_root": os.fspath(image_root), "dataset_name": name},
        train_dataset=train_dataset,
        # Not `json_file`: Detectron2 would evaluate boxes on the raw file, which need not have "area" and "iscrowd".
        annotation_file=os.fspath(json_file),
        image_root=os.fspath(image_root),
        **metadata,
    )


def save_coco_relations(
    dataset_dicts: list[DatasetDict],
    metadata: Any,
    path: str | os.PathLike[str],
    image_root: str | os.PathLike[str] | None = None,
) -> None:
    """Write dataset dicts as a COCO-relations file, which loads as the same images, boxes and relationships.

    Image ids are kept; annotations, relations, categories and predicates are numbered from 1.

    Args:
        dataset_dicts: with integer or string image ids.
        metadata: anything with `thing_classes` and `predicate_classes`, such as a data set's `Metadata`.
        path: file to write, all at once or not at all.
        image_root: folder that the file names are written relative to; by default they are written as they
            are.

    Raises:
        ValueError: relationships that do not fit the annotations or classes that `metadata` does not name.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    relations: list[dict[str, Any]] = []
    for dataset_dict in dataset_dicts:
        name = dataset_dict["file_name"]
        image = {key: dataset_dict[key] for key in ("height", "width")}
        image_id = dataset_dict["image_id"]
        file_name = name if image_root is None else Path(os.path.relpath(name, image_root)).as_posix()
        images.append({"id": image_id, "file_name": file_name, **image})
        first = len(annotations) + 1
        annotations += _annotation_records(dataset_dict, first)
        for subject, object, predicate in relation_rows(dataset_dict).tolist():
            ends = {"subject_id": first + subject, "object_id": first + object}
            record = {"id": len(relations) + 1, "image_id": image_id, **ends, "predicate_id": predicate + 1}
            relations.append(record)
    _check_named(path, annotations, "category_id", metadata.thing_classes)
    _check_named(path, relations, "predicate_id", metadata.predicate_classes)
    content: dict[str, Any] = {
        "images": images,
        "annotations": annotations,
        "categories": _name_records(metadata.thing_classes),
        "predicates": _name_records(metadata.predicate_classes),
        "relations": relations,
    }
    if any(record["subject_id"] == record["object_id"] for record in relations):
        content["allow_self_relations"] = True
    with replace_when_complete(path) as stream:
        stream.write(json.dumps(content).encode())


def _annotation_records(dataset_dict: DatasetDict, first: int) -> list[dict[str, Any]]:
    corners = entity_boxes(dataset_dict)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return [
        {
            "id": first + row,
            "image_id": dataset_dict["image_id"],
            "category_id": int(category) + 1,
            "bbox": box.tolist(),
            "area": float(box[2] * box[3]),
            "iscrowd": annotation.get("iscrowd", 0),
        }
        for row, (box, category, annotation) in enumerate(
            zip(boxes, entity_classes(dataset_dict), dataset_dict["annotations"], strict=True)
        )
    ]


def _name_records(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]


def _check_named(
    path: str | os.PathLike[str], records: list[dict[str, Any]], key: str, names: Sequence[str]
) -> None:
    for record in records:
        if not 1 <= record[key] <= len(names):
            raise ValueError(
                f"{path}: not written: image {record['image_id']!r} has {key} {record[key] - 1}, but the "
                f"metadata names only {len(names)} classes of this kind. Pass the metadata of the data set "
                "itself."
            )


def _set_class_metadata(name: str, json_file: str | os.PathLike[str], content: CocoRelations) -> None:
    metadata = MetadataCatalog.get(name)
    found: dict[str, Any] = {
        "thing_classes": content.thing_classes,
        "predicate_classes": content.predicate_classes,
        "thing_dataset_id_to_contiguous_id": content.category_rows,
        "predicate_dataset_id_to_contiguous_id": content.predicate_rows,
    }
    for key, value in found.items():
        known = metadata.get(key)
        if known is None:
            metadata.set(**{key: value})
        elif type(value)(known) != value:
            raise ValueError(
                f"{json_file}: its {key} are {value}, but the metadata of {name!r} says {known}. Correct "
                "one of the two, or register the file under another name."
            )
