"""The files that the paper's authors published for their experiments, for any vocabulary:

    rel_annotations_*.json      relationships: `relationship_lists` says how
    detections_*.json           optional: ground-truth boxes of all entities, also of those without a relationship

The second is either COCO's instance format, with category names from the vocabulary, or, as the first,

    {"a.jpg": [{"bbox": [y1, y2, x1, x2], "category": 0}, ...], ...}

What the files leave open is settled here:

* Classes and predicates count from 0. Boxes are [y1, y2, x1, x2] everywhere but in COCO's format.
* The images are those of the first file. The entities of an image are its distinct (box, class) combinations: those of the
  relationships in order of appearance, then the others of the second file.
* COCO's boxes are [x, y, width, height] with the far corner at (x + width, y + height). Where that is not how the
  file was made, hardly any entity of a relationship is in it, which a warning says.
* Self relations, repeats and boxes that stick out of their image are treated as in VRD.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from detectron2.data import MetadataCatalog

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.json_files import read_json

from ..registration import register_relation_dataset
from .authors_detections import Detections, read_detections
from .relationship_lists import ListedFile, listed_relationships, with_images

logger = logging.getLogger(__name__)

BOX_ORDER = "[y1, y2, x1, x2]"

# Names in the order of their numbers, or the JSON file that lists them.
Names = Sequence[str] | str | os.PathLike[str]


def load_authors_json(
    annotations_json: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    *,
    detections_json: str | os.PathLike[str] | None = None,
    thing_classes: Names,
    predicate_classes: Names,
    dataset_name: str | None = None,
) -> list[DatasetDict]:
    """Read the authors' files into dataset dicts. Of the images only the headers are read, if that.

    Args:
        annotations_json: a file like rel_annotations_train.json.
        image_root: folder of the pictures.
        detections_json: a file like detections_train.json. In COCO's format it gives the sizes of the images too.
        thing_classes, predicate_classes: names in the order of their numbers, or the path of a JSON list of them.
        dataset_name: when given, the names go to this data set's metadata.

    Raises:
        FileNotFoundError: a missing file or picture.
        ValueError: damaged files; the message names file, image and record.
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
    detections = read_detections(detections_json, names, BOX_ORDER)
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
    """Register the authors' files under `name`. No file is read before the data set is asked for.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        annotations_json, image_root, detections_json, thing_classes, predicate_classes: as for `load_authors_json`. Names
            that are given as a path are in the metadata once the data set has been loaded.
        train_dataset: name of the data set that models were trained on, for zero-shot recall; None if it isn't known.
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
        # Not `json_file`: Detectron2 takes that for a file in COCO format.
        annotation_file=os.fspath(annotations_json),
        image_root=os.fspath(image_root),
    )


def _given(names: Names) -> str | tuple[str, ...]:
    """A path as a string, or the names."""
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
    """Add the entities that no relationship has, in place."""
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
            "%s lists no boxes for %d of %d images, the first being %r: their entities are those of the relationships.",
            detections_json, len(without), len(dataset_dicts), without[0],
        )  # fmt: skip
    if unlisted:
        logger.warning(
            "%s: %d of %d entities of relationships are not in it, the first in image %r; they are kept. If they are many, "
            "its boxes were made in another way and nearly all entities are there twice: load without this file.",
            detections_json, len(unlisted), related, unlisted[0],
        )  # fmt: skip
