"""Visual Genome as it was annotated, with any vocabulary.

    root/objects.json, relationships.json       entities and relationships by image
    root/image_data.json                        image sizes; without it they are read from the pictures
    root/object_alias.txt, predicate_alias.txt  alias tables, which `raw_files.py` describes
    root/VG_100K/, VG_100K_2/ or images/        pictures, named by the image id

The files leave some questions open. This loader answers them as follows:

* The entities of an image are its objects in objects.json. A subject or object of a relationship whose id is
  not in objects.json becomes one more entity, as its first relationship describes it. The log counts these
  entities. If more than half of all subjects and objects are not in objects.json, the files do not belong
  together and are refused.
  If the files differ, objects.json counts.
* An id that was merged into an object (`merged_object_ids`) stands for that object, unless it is an object
  itself.
* Names are cleaned, aliases are replaced by their names, and the result is looked up in the vocabulary.
  Entities and predicates whose name is not in the vocabulary are left out, together with their relationships.
  The log says how many.
* Relationships of an entity with itself and repeated relationships stay: evaluation counts all annotations.
  Images without relationships stay too.
* Boxes are clipped to their image, and sides below one pixel are widened to one, as in VRD.

Legend of shape letters:

    I  images
    E  entities of all images
    R  relationships of all images
"""

import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.refusals import Refusal, refuse

from ...fit_boxes import fit_boxes, mark_changed_boxes
from ...images import image_sizes
from ...registration import register_relation_dataset
from .images import CORRUPT_IMAGES, picture_files, read_image_data
from .raw_files import (
    EntityTable,
    NameCodes,
    RelationshipTable,
    read_aliases,
    read_objects,
    read_relationships,
)
from .vg150 import OBJECT_CLASSES, PREDICATE_CLASSES

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

OBJECTS, RELATIONSHIPS = "objects.json", "relationships.json"

# With fewer subjects and objects than this, the share that is not in objects.json says nothing.
_FEWEST_MENTIONS = 20


@dataclass(frozen=True)
class Entities:
    """Entities of all images, those of objects.json first.

    Attributes:
        image: (E,) int64, image ids.
        ids: (E,) int64, object ids.
        names: (E,) int64, codes of the names.
        boxes: (E, 4) float64, x, y, width and height, as given.
        num_objects: number of entities from objects.json.
        subject_object: (R, 2) int64, the subject and the object of each relationship, as rows of the arrays
            above.
    """

    image: NDArray[np.int64]
    ids: NDArray[np.int64]
    names: NDArray[np.int64]
    boxes: NDArray[np.float64]
    num_objects: int
    subject_object: NDArray[np.int64]

    def describe(self, row: int) -> str:
        """Text that names an entity in messages."""
        file_name = OBJECTS if row < self.num_objects else RELATIONSHIPS
        return f"{file_name}: image {self.image[row]}, object {self.ids[row]}"


def load_visual_genome_raw(
    root: str | os.PathLike[str],
    *,
    thing_classes: Sequence[str] = OBJECT_CLASSES,
    predicate_classes: Sequence[str] = PREDICATE_CLASSES,
    object_alias: str | None = "object_alias.txt",
    predicate_alias: str | None = "predicate_alias.txt",
    image_ids: Sequence[int] | None = None,
) -> list[DatasetDict]:
    """Read raw Visual Genome into dataset dicts. Pictures are opened only if image_data.json is missing.

    Args:
        root: folder of the files.
        thing_classes: names of the entity classes; by default those of VG150.
        predicate_classes: names of the predicates; by default those of VG150.
        object_alias: alias table of entity names, relative to `root`; None means no aliases.
        predicate_alias: alias table of predicates, relative to `root`; None means no aliases.
        image_ids: the images to load, in this order. None means all images in the order of the files, without
            the four whose picture is corrupt.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: damaged files, or files that do not belong together; the message names file, image id and
            record.
    """
    base = Path(root)
    names = NameCodes(thing_classes, {} if object_alias is None else read_aliases(base / object_alias))
    aliases = {} if predicate_alias is None else read_aliases(base / predicate_alias)
    predicates = NameCodes(predicate_classes, aliases)
    wanted = _is_usable if image_ids is None else frozenset(image_ids).__contains__
    described, objects = read_objects(base / OBJECTS, wanted, names)
    related, relationships = read_relationships(base / RELATIONSHIPS, wanted, predicates, names)
    images = _images(base, image_ids, [*described, *related])
    images, sizes = _sized(base, images)
    paths = picture_files(base, images.to_numpy())
    entities = _join_entities(base, objects, relationships.subjects_objects)
    annotations, position, changed = _annotations(base, entities, images, sizes, names)
    relations = _relations(base, relationships, position[entities.subject_object], images, predicates)
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
    """Register raw Visual Genome under `name`. Files are read when the data set is loaded.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        root: see `load_visual_genome_raw`.
        thing_classes: see `load_visual_genome_raw`.
        predicate_classes: see `load_visual_genome_raw`.
        object_alias: see `load_visual_genome_raw`.
        predicate_alias: see `load_visual_genome_raw`.
        image_ids: see `load_visual_genome_raw`.
        train_dataset: name of its training split, for zero-shot recall; None if it is not known.
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


def _is_usable(image_id: int) -> bool:
    return image_id not in CORRUPT_IMAGES


def _images(base: Path, image_ids: Sequence[int] | None, listed: Sequence[int]) -> "pd.Index[int]":
    """Ids of the images to return, without repeats."""
    import pandas as pd

    images = pd.Index(dict.fromkeys(listed if image_ids is None else image_ids), dtype=np.int64)
    unknown = images.difference(list(listed), sort=False)
    if len(unknown):
        raise ValueError(
            f"{base}: image_ids has {unknown[0]}, but neither {OBJECTS} nor {RELATIONSHIPS} lists it. "
            "Correct the ids."
        )
    return images


def _sized(base: Path, images: "pd.Index[int]") -> "tuple[pd.Index[int], NDArray[np.int64]]":
    """The images without refused ones, which have no size; (I, 2) width and height."""
    import pandas as pd

    path = base / "image_data.json"
    if path.exists():
        ids, sizes = read_image_data(path)
        read = sizes[:, 0] > 0
        rows = pd.Index(ids[read]).get_indexer(images)
        # A record of a listed image that has no size is refused already.
        lost = np.flatnonzero((rows < 0) & ~images.isin(ids))

        def record(k: int) -> Refusal:
            remedy = "Use the file of the same release, or remove it: then sizes are read from the pictures."
            return Refusal(f"image {images[lost[k]]}", "the file does not list it", remedy)

        refuse(path, "image that is not listed", len(lost), record)
        found = np.zeros((len(images), 2), dtype=np.int64)
        found[rows >= 0] = sizes[read][rows[rows >= 0]]
    else:
        found = image_sizes(picture_files(base, images.to_numpy()))
    known = found[:, 0] > 0
    return images[known], found[known]


def _join_entities(base: Path, objects: EntityTable, mentions: EntityTable) -> Entities:
    """Find the entity of each subject and object.

    An id of an image stands for the first of these that exists:

    1. the first object that has the id;
    2. the object that the id was merged into;
    3. the first subject or object of a relationship that has the id.

    Args:
        base: folder of the files, for messages.
        objects: records of objects.json.
        mentions: records of the subject and the object of each relationship in turn, from relationships.json.

    Raises:
        ValueError: see `_report_unknown`.
    """
    import pandas as pd

    count = len(objects.ids)
    records = pd.DataFrame(
        {"image": _joined(objects.image, mentions.image), "id": _joined(objects.ids, mentions.ids)}
    )
    records["row"] = np.arange(len(records))
    described, mentioned = records[:count], records[count:]
    _warn_of_repeated_ids(described, base / OBJECTS)
    rows = np.asarray(objects.merged_rows)
    merged = pd.DataFrame(
        {"image": records["image"].to_numpy()[rows], "id": np.asarray(objects.merged), "row": rows}
    )
    stands_for = pd.concat([described, merged, mentioned]).drop_duplicates(["image", "id"])
    found = mentioned[["image", "id"]].merge(stands_for, how="left", on=["image", "id"])["row"].to_numpy()
    _report_unknown(base, mentioned[found >= count], len(mentioned))
    kept = np.union1d(np.arange(count), found)
    return Entities(
        image=records["image"].to_numpy()[kept],
        ids=records["id"].to_numpy()[kept],
        names=_joined(objects.names, mentions.names)[kept],
        boxes=np.concatenate([objects.boxes, mentions.boxes]).reshape(-1, 4)[kept],
        num_objects=count,
        subject_object=np.searchsorted(kept, found).reshape(-1, 2),
    )


def _joined(first: Sequence[int], second: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([first, second], dtype=np.int64)


def _warn_of_repeated_ids(described: "pd.DataFrame", source: Path) -> None:
    repeated = described[described.duplicated(["image", "id"])]
    if len(repeated):
        logger.warning(
            "%s: %d objects have the id of an earlier object of their image, the first being object %d of "
            "image %d. All are kept; relationships of the id belong to the earlier one.",
            source, len(repeated), repeated["id"].iloc[0], repeated["image"].iloc[0],
        )  # fmt: skip


def _report_unknown(base: Path, unknown: "pd.DataFrame", count: int) -> None:
    """Warn of subjects and objects that are not in objects.json. If most of them are not, raise an error.

    Args:
        base: folder of the files, for messages.
        unknown: image and id of each subject and object that is not in objects.json.
        count: number of all subjects and objects.

    Raises:
        ValueError: more than half of the subjects and objects are unknown, and there are at least 20.
    """
    if unknown.empty:
        return
    problem = (
        f"{base / RELATIONSHIPS}: {len(unknown)} of {count} subjects and objects are in no object of "
        f"{base / OBJECTS}, the first being object {unknown['id'].iloc[0]} of image "
        f"{unknown['image'].iloc[0]}"
    )
    if count >= _FEWEST_MENTIONS and 2 * len(unknown) > count:
        raise ValueError(
            f"{problem}. The files are probably of different releases, or one has its images under wrong "
            "ids: use both of the same release."
        )
    logger.warning("%s. Each id of them becomes one more entity.", problem)


def _refused_boxes(base: Path, entities: Entities, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Refuse the boxes that are not finite or have a negative size. Returns the rows of their entities."""
    boxes = entities.boxes[rows]
    wrong = rows[~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= 0).all(axis=1))]

    def record(k: int) -> Refusal:
        box = entities.boxes[wrong[k]].tolist()
        return Refusal(
            entities.describe(wrong[k]),
            f"x, y, w and h are {box}: not finite, or a negative size",
            "Correct the record, or remove it with its relationships.",
        )

    refuse(base, "box that is not finite or has a negative size", len(wrong), record)
    return wrong


def _annotations(
    base: Path, entities: Entities, images: "pd.Index[int]", sizes: NDArray[np.int64], names: NameCodes
) -> tuple[list[Annotations], NDArray[np.int64], NDArray[np.bool_]]:
    """Make the annotations of each image.

    Returns:
        The I annotations; (E,) position of each entity in its image, -1 if it is left out; and, for the
        entities that are not left out, image after image, whether the box was changed.
    """
    known = entities.names < names.num_classes
    _log_excluded(base, "entities", entities.names[~known], names)
    known &= np.isin(entities.image, images.to_numpy())
    known[_refused_boxes(base, entities, np.flatnonzero(known))] = False
    rows, first = _grouped(np.flatnonzero(known), entities.image[known], images)
    image = np.repeat(np.arange(len(images)), np.diff(first))
    position = np.full(len(entities.ids), -1)
    position[rows] = np.arange(len(rows)) - first[image]
    boxes = entities.boxes[rows]
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
    subject_object: NDArray[np.int64],
    images: "pd.Index[int]",
    predicates: NameCodes,
) -> list[NDArray[np.int64]]:
    """(R, 3) rows of each image.

    Args:
        base: folder of the files, for the log.
        relationships: all relationships.
        subject_object: (R, 2) positions of subject and object in their image; -1 if the entity is left out.
        images: ids of the I images.
        predicates: codes of the predicates.
    """
    codes = np.asarray(relationships.predicates)
    known = codes < predicates.num_classes
    joined = (subject_object >= 0).all(axis=1)
    _log_excluded(base / RELATIONSHIPS, "relationships", codes[~known], predicates)
    if not joined.all():
        logger.info(
            "%s: %d of %d relationships are left out because their subject or object is.",
            base / RELATIONSHIPS, (~joined).sum(), len(codes),
        )  # fmt: skip
    usable = known & joined
    rows, first = _grouped(
        np.column_stack([subject_object, codes])[usable], np.asarray(relationships.image)[usable], images
    )
    return [rows[start:end] for start, end in itertools.pairwise(first.tolist())]


def _grouped(
    rows: NDArray[np.int64], image_ids: NDArray[np.int64], images: "pd.Index[int]"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort rows by image; rows of the same image keep their order.

    Returns:
        The sorted rows; (I + 1,) `first`: the rows of image i are first[i]:first[i + 1].
    """
    import pandas as pd

    image = images.get_indexer(pd.Index(image_ids))
    order = np.argsort(image, kind="stable")
    return rows[order], np.searchsorted(image[order], np.arange(len(images) + 1))


def _log_excluded(path: Path, what: str, codes: NDArray[np.int64], names: NameCodes) -> None:
    if len(codes):
        logger.info(
            "%s: %d %s are left out because no class has their name; most frequent are %s.",
            path, len(codes), what, names.most_frequent(codes),
        )  # fmt: skip
