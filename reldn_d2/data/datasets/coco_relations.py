"""COCO JSON with relationships: the format for data sets of your own.

It is COCO's instance format with two more top-level lists:

    "predicates": [{"id": 1, "name": "holds"}, ...]
    "relations":  [{"id": 1, "image_id": 7, "subject_id": 70, "object_id": 71, "predicate_id": 1}, ...]

where `subject_id` and `object_id` are annotation ids. Category and predicate ids need not be contiguous; they
are numbered from 0 in the order of their ids.

Optional are `"verified_category_ids"` of an image (categories that people verified to be in it or not to be) and `"label"` of
a category or predicate (what submissions to a challenge call it).
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from numpy.typing import NDArray

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict

from ..registration import register_relation_dataset
from .coco_relations_file import CocoRelations, read_coco_relations


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
            (`thing_classes`, `predicate_classes` and the id maps, as Detectron2's `load_coco_json` does; labels as
            `class_labels` and `predicate_labels`).

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no valid COCO-relations file, naming the record, or its classes differ from
            the metadata of `dataset_name`.
    """
    content = read_coco_relations(json_file)
    if dataset_name is not None:
        _set_class_metadata(dataset_name, json_file, content)
    first, position, order = _positions(content.image_of, len(content.images))
    boxes, classes, crowd = content.boxes[order], content.classes[order], content.crowd[order]
    relation_image = content.image_of[content.relations[:, 0]]
    first_relation, _, relation_order = _positions(relation_image, len(content.images))
    subject, object, predicate = content.relations[relation_order].T
    relations = np.stack([position[subject], position[object], predicate], axis=1)
    dataset_dicts = []
    for row, (image, verified) in enumerate(zip(content.images, content.verified, strict=True)):
        own = slice(first[row], first[row + 1])
        dataset_dict: DatasetDict = {
            "file_name": os.path.join(image_root, image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": Annotations(boxes[own], classes[own], crowd[own] if crowd[own].any() else None),
            "relations": relations[first_relation[row] : first_relation[row + 1]],
        }
        if verified is not None:
            dataset_dict["verified_classes"] = verified
        dataset_dicts.append(dataset_dict)
    return dataset_dicts


def _positions(
    image_of: NDArray[np.int64], num_images: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """How rows are grouped by image, in which they keep their order.

    Args:
        image_of: (N,) image of each row.

    Returns:
        (I + 1,) where each image's group begins; (N,) position of each row in its group; (N,) rows in the order of
        the groups.
    """
    order = np.argsort(image_of, kind="stable")
    first = np.searchsorted(image_of[order], np.arange(num_images + 1))
    position = np.empty_like(order)
    position[order] = np.arange(len(order)) - first[image_of[order]]
    return first, position, order


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


def _set_class_metadata(name: str, json_file: str | os.PathLike[str], content: CocoRelations) -> None:
    metadata = MetadataCatalog.get(name)
    found: dict[str, Any] = {}
    for kind, table in (("thing", content.categories), ("predicate", content.predicates)):
        found[f"{kind}_classes"] = [record["name"] for record in table.records]
        found[f"{kind}_dataset_id_to_contiguous_id"] = table.rows
    for key, table in (("class_labels", content.categories), ("predicate_labels", content.predicates)):
        if any("label" in record for record in table.records):
            found[key] = [record["label"] for record in table.records]
    for key, value in found.items():
        known = metadata.get(key)
        if known is None:
            metadata.set(**{key: value})
        elif type(value)(known) != value:
            raise ValueError(
                f"{json_file}: its {key} are {value}, but the metadata of {name!r} says {known}. Correct "
                "one of the two, or register the file under another name."
            )
