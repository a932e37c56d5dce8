"""Visual Genome as it was annotated, with any vocabulary:

    root/objects.json, relationships.json       entities and relationships by image
    root/image_data.json                        sizes of the images; without it the headers of the pictures are read
    root/object_alias.txt, predicate_alias.txt  as `aliases` says
    root/VG_100K/, VG_100K_2/ or images/        pictures, named by the image id

What the files leave open is settled here:

* The entities of an image are its objects in objects.json. An end of a relationship whose id occurs there in no object is
  one more, as its first relationship describes it; the log counts them, and files of which most ends are such are refused.
  Where the files differ, objects.json is right.
* An id that was merged into an object (`merged_object_ids`) stands for that object, unless it is an object itself.
* Names are cleaned, replaced by what they are aliases of, and looked up in the vocabulary. Entities and predicates of other
  names are left out, with every relationship that has one; the log says how many.
* Relationships of an entity with itself and repeated relationships stay: evaluation counts what is annotated. Images
  without relationships stay too.
* Boxes are clipped to their image, and sides below one pixel are widened to one, as in VRD.
"""

import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict

from ...fit_boxes import fit_boxes, mark_changed_boxes
from ...images import image_sizes
from ...registration import register_relation_dataset
from .aliases import NameCodes, read_aliases
from .images import CORRUPT_IMAGES, picture_files, read_image_data
from .raw_entities import Entities, join_entities
from .raw_files import RelationshipTable, read_objects, read_relationships
from .vg150_classes import OBJECT_CLASSES, PREDICATE_CLASSES

logger = logging.getLogger(__name__)

OBJECTS, RELATIONSHIPS = "objects.json", "relationships.json"


def load_visual_genome_raw(
    root: str | os.PathLike[str],
    *,
    thing_classes: Sequence[str] = OBJECT_CLASSES,
    predicate_classes: Sequence[str] = PREDICATE_CLASSES,
    object_alias: str | None = "object_alias.txt",
    predicate_alias: str | None = "predicate_alias.txt",
    image_ids: Sequence[int] | None = None,
) -> list[DatasetDict]:
    """Read raw Visual Genome into dataset dicts. No picture is opened, unless image_data.json is missing.

    Args:
        root: folder of the files.
        thing_classes, predicate_classes: the vocabulary; by default that of VG150.
        object_alias, predicate_alias: alias tables, relative to `root`; None means no aliases.
        image_ids: the images to take, in this order; None means all, in the order of the files, without the four whose
            picture is corrupt.

    Raises:
        FileNotFoundError: a missing file.
        ValueError: damaged files, or files that don't belong together; the message names file, image id and record.
    """
    base = Path(root)
    names = NameCodes(thing_classes, {} if object_alias is None else read_aliases(base / object_alias))
    aliases = {} if predicate_alias is None else read_aliases(base / predicate_alias)
    predicates = NameCodes(predicate_classes, aliases)
    wanted = _sound if image_ids is None else frozenset(image_ids).__contains__
    described, objects = read_objects(base / OBJECTS, wanted, names)
    related, relationships = read_relationships(base / RELATIONSHIPS, wanted, predicates, names)
    images = _images(base, image_ids, [*described, *related])
    paths = picture_files(base, images.to_numpy())
    sizes = _sizes(base / "image_data.json", images, paths)
    entities = join_entities(objects, relationships.ends, str(base / OBJECTS), str(base / RELATIONSHIPS))
    annotations, position, changed = _annotations(base, entities, images, sizes, names)
    relations = _relations(base, relationships, position[entities.ends], images, predicates)
    dataset_dicts: list[DatasetDict] = [
        {
            "file_name": path,
            "height": height,
            "width": width,
            "image_id": image_id,
            "annotations": annotations[i],
            "relations": relations[i],
        }
        for i, (image_id, path, (width, height)) in enumerate(
            zip(images.tolist(), paths, sizes.tolist(), strict=True)
        )
    ]
    mark_changed_boxes(dataset_dicts, changed)
    return dataset_dicts


def register_visual_genome_raw(
    name: str,
    root: str | os.PathLike[str],
    *,
    thing_classes: Sequence[str] = OBJECT_CLASSES,
    predicate_classes: Sequence[str] = PREDICATE_CLASSES,
    object_alias: str | None = "object_alias.txt",
    predicate_alias: str | None = "predicate_alias.txt",
    image_ids: Sequence[int] | None = None,
    train_dataset: str | None = None,
) -> None:
    """Register raw Visual Genome under `name`. No file is read before the data set is asked for.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        root, thing_classes, predicate_classes, object_alias, predicate_alias, image_ids: as for `load_visual_genome_raw`.
        train_dataset: name of the data set that models were trained on, for zero-shot recall; None if it isn't known.
    """
    register_relation_dataset(
        name,
        load_visual_genome_raw,
        {
            "root": os.fspath(root),
            "thing_classes": tuple(thing_classes),
            "predicate_classes": tuple(predicate_classes),
            "object_alias": object_alias,
            "predicate_alias": predicate_alias,
            "image_ids": None if image_ids is None else tuple(image_ids),
        },
        thing_classes=thing_classes,
        predicate_classes=predicate_classes,
        train_dataset=train_dataset,
        annotation_file=str(Path(root) / RELATIONSHIPS),
        image_root=os.fspath(root),
    )


def _sound(image_id: int) -> bool:
    return image_id not in CORRUPT_IMAGES


def _images(base: Path, image_ids: Sequence[int] | None, listed: Sequence[int]) -> "pd.Index[int]":
    """Ids of the images to return, each once."""
    images = pd.Index(dict.fromkeys(listed if image_ids is None else image_ids), dtype=np.int64)
    unknown = images.difference(list(listed), sort=False)
    if len(unknown):
        raise ValueError(
            f"{base}: image_ids has {unknown[0]}, but neither {OBJECTS} nor {RELATIONSHIPS} lists it. Correct the ids."
        )
    return images


def _sizes(path: Path, images: "pd.Index[int]", paths: Sequence[str]) -> NDArray[np.int64]:
    """(I, 2) width and height."""
    if not path.exists():
        return image_sizes(paths)
    ids, sizes = read_image_data(path)
    rows = pd.Index(ids).get_indexer(images)
    if (rows < 0).any():
        raise ValueError(
            f"{path} does not list image {images[int(rows.argmin())]}. Use the file of the same release, or remove it: "
            "then sizes are read from the pictures."
        )
    return sizes[rows]


def _annotations(
    base: Path, entities: Entities, images: "pd.Index[int]", sizes: NDArray[np.int64], names: NameCodes
) -> tuple[list[Annotations], NDArray[np.int64], NDArray[np.bool_]]:
    """The entities of each image; (E,) position of each entity in its image, -1 if it is left out; and for those that are not
    left out, image after image, whether the box was changed."""
    known = entities.names < names.num_classes
    _log_left_out(base, "entities", entities.names[~known], names)
    rows, first = _grouped(np.flatnonzero(known), entities.image[known], images)
    image = np.repeat(np.arange(len(images)), np.diff(first))
    position = np.full(len(entities.ids), -1)
    position[rows] = np.arange(len(rows)) - first[image]
    boxes = entities.boxes[rows]
    sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= 0).all(axis=1)
    if not sound.all():
        row = int(sound.argmin())
        raise ValueError(
            f"{base}: {entities.describe(rows[row])}: x, y, w and h are {boxes[row].tolist()}: not finite, or a negative "
            "size. Correct the record, or remove it with its relationships."
        )
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    fitted, changed = fit_boxes(corners, sizes[image], str(base), lambda row: entities.describe(rows[row]))
    classes = entities.names[rows]
    return (
        [
            Annotations(fitted[start:end], classes[start:end])
            for start, end in itertools.pairwise(first.tolist())
        ],
        position,
        changed,
    )


def _relations(
    base: Path,
    relationships: RelationshipTable,
    ends: NDArray[np.int64],
    images: "pd.Index[int]",
    predicates: NameCodes,
) -> list[NDArray[np.int64]]:
    """(R, 3) rows of each image.

    Args:
        ends: positions of subject and object of all relationships, -1 if left out.
    """
    codes = np.asarray(relationships.predicates)
    known = codes < predicates.num_classes
    joined = (ends >= 0).all(axis=1)
    _log_left_out(base / RELATIONSHIPS, "relationships", codes[~known], predicates)
    if not joined.all():
        logger.info(
            "%s: %d of %d relationships are left out with their subject or object.",
            base / RELATIONSHIPS, (~joined).sum(), len(codes),
        )  # fmt: skip
    usable = known & joined
    rows, first = _grouped(
        np.column_stack([ends, codes])[usable], np.asarray(relationships.image)[usable], images
    )
    return [rows[start:end] for start, end in itertools.pairwise(first.tolist())]


def _grouped(
    rows: NDArray[np.int64], image_ids: NDArray[np.int64], images: "pd.Index[int]"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows sorted by image, in their order within each; (I + 1,) where each image begins, and the end."""
    image = images.get_indexer(pd.Index(image_ids))
    order = np.argsort(image, kind="stable")
    return rows[order], np.searchsorted(image[order], np.arange(len(images) + 1))


def _log_left_out(path: Path, what: str, codes: NDArray[np.int64], names: NameCodes) -> None:
    if len(codes):
        logger.info(
            "%s: %d %s are left out because no class has their name; most frequent are %s.",
            path, len(codes), what, names.most_frequent(codes),
        )  # fmt: skip
