"""COCO JSON with relationships: the format for your own data sets.

It is COCO's instance format with two more top-level lists:

    "predicates": [{"id": 1, "name": "holds"}, ...]
    "relations":  [{"subject_id": 70, "object_id": 71, "predicate_id": 1}, ...]

where `subject_id` and `object_id` are annotation ids. Category and predicate ids need not be contiguous; they
are numbered from 0 in the order of their ids.

These keys are optional: `"id"` and `"image_id"` of a relation (its image is that of its subject and object),
`"verified_category_ids"` of an image (categories whose presence or absence people verified), `"label"` of
a category or predicate (its name in submissions to a challenge), and where a model made the file `"score"` of
an annotation or relation and `"predicate_score"` of a relation, in [0, 1].

This file has three parts: loading and registering; reading and checking the lists of records; writing.

Legend of shape letters:

    I  images
    N  annotations of all images
    R  relations of all images
"""

import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as short_repr
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import (
    DatasetDict,
    crowd_flags,
    describe,
    entity_boxes,
    entity_classes,
    relation_rows,
)
from reldn_d2.utils.inner_paths import names_outside
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.json_files import is_box, is_side, read_json
from reldn_d2.utils.plain_text import visible
from reldn_d2.utils.refusals import Refusal, refuse, refuse_one

from ..image_tars import file_names_in_tars, names_tar_files
from ..registration import register_relation_dataset, set_metadata_of_file
from ..tar_members import TarMember

logger = logging.getLogger(__name__)

Id = int | str
Record = dict[str, Any]

_REQUIRED_KEYS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
    "predicates": ("id", "name"),
    "relations": ("subject_id", "object_id", "predicate_id"),
}

#: Optional key of a dataset dict -> list and key of the file that hold its values: (E,) or (R,) float64 in
#: [0, 1], NaN where there is none.
SCORES = {
    "entity_scores": ("annotations", "score"),
    "relation_scores": ("relations", "score"),
    "predicate_scores": ("relations", "predicate_score"),
}

#: What is wrong with a name that leads out of the image folder, and what to do.
OUTSIDE = "leads out of the image folder"
OUTSIDE_REMEDY = (
    "Write names relative to the image folder, with '/' and without '..'. If you trust the file, say "
    "outside_root=True at its registration, 'outside_root: true' in the data file, or --outside-root."
)

# In pixels. Annotation tools round, so the far edge of a box may lie a fraction of a pixel outside.
_TOLERANCE = 1.0

# Written boxes are rounded to a binary fraction of a pixel. Then x + width is exactly the far edge again:
# boxes that touch still touch, and a file that is read and written again has the same boxes.
_STEPS_PER_PIXEL = 2.0**32


@dataclass(frozen=True)
class Table:
    """One list of the file.

    Attributes:
        json_file: the file, for messages.
        kind: name of the list.
        records: the records; each has the keys that the list needs.
        rows: id -> position in `records`; records without an id are left out.
        positions: position in the file of each record; None if no record was refused.
        refused: ids of refused records. What names one of them is left out without a message of its own.
    """

    json_file: str
    kind: str
    records: list[Record]
    rows: dict[Id, int]
    positions: Sequence[int] | None = None
    refused: frozenset[Id] = frozenset()

    def refuse(
        self, rows: Sequence[int] | NDArray[np.int64], kind: str, explain: Callable[[int], tuple[str, str]]
    ) -> None:
        """Refuse records that fail the same check, see `reldn_d2.utils.refusals`.

        Args:
            rows: the records.
            kind: the check that they fail, in a few words.
            explain: says what is wrong with the k-th of them, and what to do.

        Raises:
            ValueError: there are such records; the message names the file and the records.
        """
        refuse(self.json_file, kind, len(rows), lambda k: Refusal(self.describe(int(rows[k])), *explain(k)))

    def keep(self, right: NDArray[np.bool_]) -> "Table":
        """The list without refused records.

        Args:
            right: (len(records),) whether a record stays.
        """
        if right.all():
            return self
        kept = np.flatnonzero(right).tolist()
        records = [self.records[row] for row in kept]
        gone = (self.records[row] for row in np.flatnonzero(~right))
        return Table(
            self.json_file,
            self.kind,
            records,
            {record["id"]: row for row, record in enumerate(records) if "id" in record},
            [self._position(row) for row in kept],
            self.refused.union(record["id"] for record in gone if "id" in record),
        )

    def _position(self, row: int) -> int:
        return row if self.positions is None else self.positions[row]

    def describe(self, row: int) -> str:
        """A record for messages: by its id, or by its position if it has none."""
        if "id" in self.records[row]:
            return f"{self.kind.removesuffix('s')} {self.records[row]['id']!r}"
        return f"record {self._position(row)} of {self.kind!r}"

    def look_up(
        self, key: str, rows: Sequence[int], identities: Sequence[Any], target: "Table"
    ) -> NDArray[np.int64]:
        """Find the rows of another list by their ids.

        Args:
            key: key of the ids, for the message.
            rows: (K,) the records of this list that name the ids, for the message.
            identities: (K,) the ids.
            target: the other list.

        Returns:
            (K,) rows of `target`; -1 for an id that was refused.

        Raises:
            ValueError: `target` does not have an id. The message names all such records.
        """
        # True equals the id 1, so booleans are excluded
        usable = [type(identity) in (int, str) for identity in identities]
        found = [
            target.rows.get(identity, -1) if right else -1
            for identity, right in zip(identities, usable, strict=True)
        ]
        if -1 in found:
            unknown = [
                k
                for k, row in enumerate(found)
                if row < 0 and not (usable[k] and identities[k] in target.refused)
            ]
            self.refuse(
                [rows[k] for k in unknown],
                f"{key} that {target.kind!r} does not have",
                lambda k: target.unknown(identities[unknown[k]]),
            )
        return np.array(found, dtype=np.int64)

    def unknown(self, identity: Any) -> tuple[str, str]:
        """Problem and remedy of an id that this list does not have."""
        problem = f"{self.kind!r} has no id {identity!r}"
        similar = self.similar_name(identity)
        if similar is None:
            return problem, f"Add the record to {self.kind!r} or correct the id."
        name, its_id = similar
        hint = ", which is a name" if name == identity else f"; the name {name!r} is similar"
        return problem + hint, f"Relationships and annotations give ids, not names: write {its_id!r}."

    def similar_name(self, given: Any) -> tuple[str, Id] | None:
        """The class whose name was given where its id is wanted, or has a similar name: name and id."""
        if not isinstance(given, str):
            return None
        ids = {record["name"]: record["id"] for record in self.records if "name" in record}
        near = [given] if given in ids else get_close_matches(given, ids, n=1)
        return (near[0], ids[near[0]]) if near else None

    def look_up_all(self, key: str, target: "Table") -> NDArray[np.int64]:
        """Find a row of `target` for each record of this list: the row whose id the record gives as `key`.

        See `look_up`.
        """
        return self.look_up(key, range(len(self.records)), [record[key] for record in self.records], target)


@dataclass(frozen=True)
class CocoRelations:
    """A checked file. Images, annotations and relations are in the order of the file.

    Attributes:
        images: I records.
        verified: class numbers of the verified categories of each image, (V,) int64; None if the record
            of the image has no list.
        boxes: (N, 4) float64, XYXY in absolute pixels, inside the image.
        classes: (N,) int64, category numbers.
        crowd: (N,) bool.
        image_of: (N,) int64, row in `images`.
        relations: (R, 3) int64, (subject, object, predicate): two rows of annotations and a predicate number.
        categories: the categories, sorted by id; rows are class numbers.
        predicates: the predicates, sorted by id; rows are predicate numbers.
        scores: what `SCORES` describes; None if it was not asked for.
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
    scores: dict[str, NDArray[np.float64]] | None = None

    def dataset_dicts(self, image_root: str | os.PathLike[str]) -> list[DatasetDict]:
        """The images as dataset dicts, in the order of the file; with the keys of `SCORES` if they were read.

        Args:
            image_root: folder that the file names of the images are relative to.
        """
        first, position, order = _positions(self.image_of, len(self.images))
        boxes, classes, crowd = self.boxes[order], self.classes[order], self.crowd[order]
        relation_image = self.image_of[self.relations[:, 0]]
        first_relation, _, relation_order = _positions(relation_image, len(self.images))
        subject, object, predicate = self.relations[relation_order].T
        relations = np.stack([position[subject], position[object], predicate], axis=1)
        dataset_dicts = []
        for row, (image, verified) in enumerate(zip(self.images, self.verified, strict=True)):
            own = slice(first[row], first[row + 1])
            own_relations = slice(first_relation[row], first_relation[row + 1])
            dataset_dict: DatasetDict = {
                "file_name": os.path.join(image_root, image["file_name"]),
                "height": image["height"],
                "width": image["width"],
                "image_id": image["id"],
                "annotations": Annotations(
                    boxes[own], classes[own], crowd[own] if crowd[own].any() else None
                ),
                "relations": relations[own_relations],
            }
            if verified is not None:
                dataset_dict["verified_classes"] = verified
            for key, values in (self.scores or {}).items():
                rows = order[own] if SCORES[key][0] == "annotations" else relation_order[own_relations]
                dataset_dict[key] = values[rows]
            dataset_dicts.append(dataset_dict)
        return dataset_dicts


def load_coco_relations(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    *,
    outside_root: bool = False,
) -> list[DatasetDict]:
    """Read a COCO-relations file into dataset dicts. Image files are not opened.

    Images and annotations keep the order of the file. Boxes become XYXY_ABS; those that stick out of their
    image by at most one pixel (rounding) are clipped. Relationships of an annotation with itself are kept,
    because evaluation counts all annotations. A warning reports them, and training drops them.

    Args:
        json_file: path of the file.
        image_root: folder that the `file_name` of the images is relative to; or the tar files that have them
            as members, such as "shards/train-*.tar".
        dataset_name: when given, the names found in the file go to this data set's metadata (`thing_classes`,
            `predicate_classes` and the id maps, as Detectron2's `load_coco_json` does; labels as
            `class_labels` and `predicate_labels`).
        outside_root: whether a `file_name` may lead out of `image_root`: begin with "/" or "~", or hold "..",
            a backslash, a drive or a URL. Only for a file that you wrote yourself or have looked through.

    Raises:
        FileNotFoundError: the file does not exist, or see `file_names_in_tars`.
        ValueError: the file is not a valid COCO-relations file (the message names the record), its classes
            differ from the metadata of `dataset_name`, or see `file_names_in_tars`.
    """
    content = read_coco_relations(json_file, outside_root=outside_root)
    if dataset_name is not None:
        _set_class_metadata(dataset_name, json_file, content)
    if not names_tar_files(image_root):
        return content.dataset_dicts(image_root)
    names = [image["file_name"] for image in content.images]
    found = file_names_in_tars(names, image_root, json_file)
    images = zip(names, content.dataset_dicts(""), strict=True)
    return [{**image, "file_name": found[name]} for name, image in images if name in found]


def register_coco_relations(
    name: str,
    metadata: Mapping[str, Any],
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    train_dataset: str | None = None,
    *,
    outside_root: bool = False,
) -> None:
    """Register a COCO-relations file under `name`. It is read when the data set is loaded.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        metadata: more metadata of the data set. {} is usual: class names and predicates are taken from the
            file when it is read. `thing_classes` and `predicate_classes` given here are known before that,
            and the file must agree with them.
        json_file: path of the file.
        image_root: see `load_coco_relations`.
        train_dataset: name of its training split, for zero-shot recall; None if it is not known.
        outside_root: see `load_coco_relations`.
    """
    register_relation_dataset(
        name,
        load_coco_relations,
        {
            "json_file": os.fspath(json_file),
            "image_root": os.fspath(image_root),
            "dataset_name": name,
            "outside_root": outside_root,
        },
        train_dataset=train_dataset,
        # The key is not `json_file`: with it, Detectron2 would evaluate boxes on the file itself, which may
        # lack "area" and "iscrowd".
        annotation_file=os.fspath(json_file),
        image_root=os.fspath(image_root),
        **metadata,
    )


def _set_class_metadata(name: str, json_file: str | os.PathLike[str], content: CocoRelations) -> None:
    found: dict[str, Any] = {}
    for kind, table in (("thing", content.categories), ("predicate", content.predicates)):
        found[f"{kind}_classes"] = [record["name"] for record in table.records]
        found[f"{kind}_dataset_id_to_contiguous_id"] = table.rows
    for key, table in (("class_labels", content.categories), ("predicate_labels", content.predicates)):
        if any("label" in record for record in table.records):
            found[key] = [record["label"] for record in table.records]
    set_metadata_of_file(name, json_file, found)


def _positions(
    image_of: NDArray[np.int64], num_images: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Group rows by image. Rows of the same image keep their order.

    Args:
        image_of: (N,) image of each row.
        num_images: number of images I.

    Returns:
        (I + 1,) positions where the groups begin, and where the last one ends; (N,) position of each row in
        its group; (N,) the rows, group after group.
    """
    order = np.argsort(image_of, kind="stable")
    first = np.searchsorted(image_of[order], np.arange(num_images + 1))
    position = np.empty_like(order)
    position[order] = np.arange(len(order)) - first[image_of[order]]
    return first, position, order


def read_coco_relations(
    json_file: str | os.PathLike[str], *, outside_root: bool = False, with_scores: bool = False
) -> CocoRelations:
    """Read and check a file.

    Args:
        json_file: path of the file.
        outside_root: see `load_coco_relations`.
        with_scores: whether to read scores. Otherwise they may be anything.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON; a list or key is missing; an id is repeated or unknown; the name of
            an image leads out of the image folder; a box is not inside its image; a relationship joins two
            images, or an annotation with itself in a file that does not allow it; a score is not in [0, 1].
            The message names file and record.
    """
    name = os.fspath(json_file)
    content = _read_json_object(name)
    categories = _take_classes(name, content, "categories")
    predicates = _take_classes(name, content, "predicates")
    images = _checked_images(_take_table(name, content, "images"), outside_root)
    verified = [_verified_categories(images, row, categories) for row in range(len(images.records))]
    annotations, image_of, classes, boxes = _checked_annotations(
        _take_table(name, content, "annotations"), images, categories
    )
    relations, rows = _checked_relations(
        _take_table(name, content, "relations"),
        images,
        annotations,
        image_of,
        predicates,
        _allows_self_relations(name, content),
    )
    return CocoRelations(
        images=images.records,
        verified=verified,
        boxes=boxes,
        classes=classes,
        crowd=np.array([record.get("iscrowd", 0) for record in annotations.records], dtype=np.bool_),
        image_of=image_of,
        relations=rows,
        categories=categories,
        predicates=predicates,
        scores=_scores({"annotations": annotations, "relations": relations}) if with_scores else None,
    )


def read_class_names(json_file: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Read and check only the classes of a file.

    Returns:
        The names of the entity classes and of the predicates, in the order of their numbers.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON, or its lists of categories and predicates are not valid.
    """
    name = os.fspath(json_file)
    content = _read_json_object(name)
    categories, predicates = (_take_classes(name, content, kind) for kind in ("categories", "predicates"))
    return [x["name"] for x in categories.records], [x["name"] for x in predicates.records]


def _checked_images(images: Table, outside_root: bool) -> Table:
    """The images without refused ones."""
    records = images.records
    right = np.ones(len(records), dtype=np.bool_)

    def check(kind: str, wrong: Sequence[int], problem: Callable[[Record], str], remedy: str) -> None:
        right[list(wrong)] = False
        images.refuse(wrong, kind, lambda k: (problem(records[wrong[k]]), remedy))

    def given(key: str) -> Callable[[Record], str]:
        return lambda record: f"{key} is {record[key]!r}"

    names = [record["file_name"] for record in records]
    unnamed = [row for row, name in enumerate(names) if not isinstance(name, str) or not name]
    remedy = "Give the image's path as a string."
    check("file_name that is no path", unnamed, given("file_name"), remedy)
    for key in ("height", "width"):
        sides = [row for row, record in enumerate(records) if not is_side(record[key])]
        check(f"{key} that is no size", sides, given(key), "Give the image's size in pixels.")
    if not outside_root:
        # A file of somebody else can't have other files read or drawn.
        named = [row for row, name in enumerate(names) if isinstance(name, str)]
        outside = [named[k] for k in names_outside([names[row] for row in named])]
        check(
            "file_name outside the image folder", outside,
            lambda record: f"file_name {record['file_name']!r} {OUTSIDE}", OUTSIDE_REMEDY,
        )  # fmt: skip
    return images.keep(right)


def _verified_categories(images: Table, row: int, categories: Table) -> NDArray[np.int64] | None:
    """The verified categories of an image, (V,) int64, or None."""
    verified = images.records[row].get("verified_category_ids")
    if verified is None:
        return None
    if not isinstance(verified, list):
        remedy = "Give a list of category ids, or leave the key out."
        problem = f"verified_category_ids is {verified!r}"
        images.refuse([row], "verified_category_ids that is no list", lambda _: (problem, remedy))
        return None
    found = images.look_up("verified category", [row] * len(verified), verified, categories)
    return found[found >= 0]


def _checked_annotations(
    annotations: Table, images: Table, categories: Table
) -> tuple[Table, NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The annotations without refused ones; (N,) rows of their images; (N,) classes; (N, 4) boxes as XYXY."""
    image_of = annotations.look_up_all("image_id", images)
    annotations, image_of = annotations.keep(image_of >= 0), image_of[image_of >= 0]
    boxes, right = _checked_boxes(annotations, images, image_of)
    classes = annotations.look_up_all("category_id", categories)
    flags = [record.get("iscrowd", 0) for record in annotations.records]
    odd = [row for row, flag in enumerate(flags) if flag not in (0, 1)]
    annotations.refuse(
        odd,
        "iscrowd that is not 0 or 1",
        lambda k: (f"iscrowd is {flags[odd[k]]!r}", "Say 1 for a crowd and 0 for a single entity."),
    )
    right &= classes >= 0
    right[odd] = False
    return annotations.keep(right), image_of[right], classes[right], boxes[right]


def _checked_boxes(
    annotations: Table, images: Table, image_of: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N, 4) boxes as XYXY, inside their images; (N,) whether a box is right, others hold anything."""
    given = [record["bbox"] for record in annotations.records]
    right = np.ones(len(given), dtype=np.bool_)

    def refuse_boxes(sound: NDArray[np.bool_], kind: str, problem: Callable[[int], str]) -> None:
        rows = np.flatnonzero(~sound & right)
        right[rows] = False
        remedy = "A COCO box is [x, y, width, height] in pixels, with a positive size, inside its image."
        annotations.refuse(
            rows, f"box that {kind}", lambda k: (f"the box {given[rows[k]]!r} {problem(rows[k])}", remedy)
        )

    def outside(row: int) -> str:
        image = images.records[image_of[row]]
        return f"is outside the {image['width']} x {image['height']} pixels of image {image['id']!r}"

    numbers = np.array([is_box(box) for box in given], dtype=np.bool_)
    refuse_boxes(numbers, "is not four numbers", lambda _: "is not four numbers")
    if not numbers.all():
        given = [box if usable else [0.0] * 4 for box, usable in zip(given, numbers, strict=True)]
    boxes = np.array(given, dtype=np.float64).reshape(-1, 4)
    finite = np.asarray(np.isfinite(boxes).all(axis=1))
    refuse_boxes(finite, "is not finite", lambda _: "is not finite")
    sized = np.asarray((boxes[:, 2:] > 0).all(axis=1))
    refuse_boxes(sized, "has no positive size", lambda _: "has no positive size")
    sizes = [(image["width"], image["height"]) for image in images.records]
    limits = np.array(sizes, dtype=np.float64).reshape(-1, 2)[image_of]
    with np.errstate(invalid="ignore"):
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    refuse_boxes(_inside_image(corners, limits), "is outside its image", outside)
    return np.concatenate([corners[:, :2].clip(min=0), np.minimum(corners[:, 2:], limits)], axis=1), right


def _inside_image(corners: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) whether boxes have an area inside their image and do not stick out by more than the tolerance.

    Args:
        corners: (N, 4) XYXY in absolute pixels; a box with NaN is not inside.
        sizes: (N, 2) or (1, 2) width and height of the images.
    """
    return _within_tolerance(corners, sizes) & _has_area(corners, sizes)


def _within_tolerance(corners: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    near, far = corners[:, :2], corners[:, 2:]
    return np.asarray(((near >= -_TOLERANCE) & (far <= sizes + _TOLERANCE)).all(axis=1))


def _has_area(corners: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((corners[:, :2].clip(min=0) < np.minimum(corners[:, 2:], sizes)).all(axis=1))


def boxes_without_area(boxes: NDArray[np.float64], width: int, height: int) -> NDArray[np.bool_]:
    """(N,) whether boxes lie in an image, but without an area, so that a COCO file can't hold them.

    Args:
        boxes: (N, 4) XYXY in absolute pixels.
        width, height: size of the image in pixels.
    """
    corners, sizes = _rounded(boxes), np.array([[width, height]], dtype=np.float64)
    return _within_tolerance(corners, sizes) & ~_has_area(corners, sizes)


def _rounded(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(boxes * _STEPS_PER_PIXEL) / _STEPS_PER_PIXEL


def _checked_relations(
    relations: Table,
    images: Table,
    annotations: Table,
    image_of: NDArray[np.int64],
    predicates: Table,
    allow_self_relations: bool,
) -> tuple[Table, NDArray[np.int64]]:
    """The relations without refused ones; (R, 3) rows (subject, object, predicate)."""
    subject = relations.look_up_all("subject_id", annotations)
    object = relations.look_up_all("object_id", annotations)
    predicate = relations.look_up_all("predicate_id", predicates)
    named = [row for row, record in enumerate(relations.records) if "image_id" in record]
    image = image_of[subject] if len(image_of) else np.full(len(subject), -1)
    image[named] = relations.look_up(
        "image_id", named, [relations.records[row]["image_id"] for row in named], images
    )
    rows = np.stack([subject, object, predicate], axis=1)
    known = (rows >= 0).all(axis=1) & (image >= 0)
    relations, rows, image = relations.keep(known), rows[known], image[known]
    joined = _joins_one_image(relations, images, annotations, image_of, rows, image)
    relations, rows = relations.keep(joined), rows[joined]
    reflexive = np.flatnonzero(rows[:, 0] == rows[:, 1])
    if len(reflexive) and not allow_self_relations:
        remedy = 'Correct it, or say "allow_self_relations": true at the top of the file.'

        def explain(k: int) -> tuple[str, str]:
            return (
                f"it joins annotation {relations.records[reflexive[k]]['subject_id']!r} with itself",
                remedy,
            )

        relations.refuse(reflexive, "relation of an annotation with itself", explain)
    elif len(reflexive):
        logger.warning(
            "%s: %d relations join an annotation with itself, the first being %s. Evaluation counts them; "
            "training drops them.",
            relations.json_file, len(reflexive), relations.describe(int(reflexive[0])),
        )  # fmt: skip
    return relations, rows


def _joins_one_image(
    relations: Table,
    images: Table,
    annotations: Table,
    image_of: NDArray[np.int64],
    rows: NDArray[np.int64],
    image: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(R,) whether subject and object of a relation are in its image; others are refused."""
    elsewhere = image_of[rows[:, :2]] != image[:, None]
    joined = np.asarray(~elsewhere.any(axis=1))
    wrong = np.flatnonzero(~joined)

    def explain(k: int) -> tuple[str, str]:
        row = wrong[k]
        entity = rows[row, int(elsewhere[row].argmax())]
        given, other = images.records[image[row]]["id"], images.records[image_of[entity]]["id"]
        annotation = annotations.records[entity]["id"]
        return (
            f"it is of image {given!r}, but annotation {annotation!r} is of image {other!r}",
            "A relationship, its subject and its object must be in the same image.",
        )

    relations.refuse(wrong, "relation of two images", explain)
    return joined


def _scores(tables: Mapping[str, Table]) -> dict[str, NDArray[np.float64]]:
    return {key: _checked_scores(tables[kind], name) for key, (kind, name) in SCORES.items()}


def _checked_scores(table: Table, name: str) -> NDArray[np.float64]:
    """The scores of a list; NaN for records without one."""
    values = [record.get(name) for record in table.records]
    wrong = [
        row
        for row, value in enumerate(values)
        if value is not None and not (type(value) in (int, float) and 0 <= value <= 1)
    ]
    remedy = "Give a number from 0 to 1, or leave it out."
    table.refuse(
        wrong, f"{name} that is not in [0, 1]", lambda k: (f"its {name} is {values[wrong[k]]!r}", remedy)
    )
    refused = {*wrong}
    return np.array([None if row in refused else value for row, value in enumerate(values)], dtype=np.float64)


def _read_json_object(json_file: str) -> Record:
    """The content of the file, which must be a JSON object."""
    content = read_json(json_file, unique_keys=True)
    if not isinstance(content, dict):
        raise ValueError(
            f"{json_file}: the file: the top level is not an object. It must hold {list(_REQUIRED_KEYS)}."
        )
    return content


def _take_table(json_file: str, content: Record, kind: str) -> Table:
    """Take a list out of `content`, so that its memory is freed together with the table.

    Raises:
        ValueError: the list is missing, a record lacks a key, or an id is repeated or neither an integer nor
            a string.
    """
    records = content.pop(kind, None)
    if not isinstance(records, list):
        refuse_one(
            json_file,
            f"no list {kind!r}",
            f"{kind!r}",
            "missing or not a list",
            "Add the list; it may be empty.",
        )
        records = []
    rows: dict[Id, int] = {}
    kept: list[int] = []
    refused: set[Id] = set()
    for position, record in enumerate(records):
        wrong = _wrong_record(kind, position, record, rows)
        if wrong is None:
            if "id" in record:
                rows[record["id"]] = len(kept)
            kept.append(position)
            continue
        refuse_one(json_file, *wrong)
        if isinstance(record, dict) and type(record.get("id")) in (int, str):
            refused.add(record["id"])
    if len(kept) == len(records):
        return Table(json_file, kind, records, rows)
    return Table(
        json_file,
        kind,
        [records[position] for position in kept],
        rows,
        kept,
        frozenset(refused - rows.keys()),
    )


def _wrong_record(
    kind: str, position: int, record: Any, rows: Mapping[Id, int]
) -> tuple[str, str, str, str] | None:
    """The kind of what is wrong with a record, its place, problem and remedy; None if it is right.

    Args:
        kind: name of the list.
        position: position of the record in the list.
        record: the record.
        rows: ids of the records before it.
    """
    keys = _REQUIRED_KEYS[kind]
    where = f"record {position} of {kind!r}"
    if not isinstance(record, dict):
        return f"record of {kind!r} that is no object", where, "not an object", f"It needs the keys {keys}."
    missing = [key for key in keys if key not in record]
    if missing:
        where += f" (id {record.get('id')!r})"
        return f"record of {kind!r} that lacks a key", where, f"lacks {missing}", "Add the keys."
    if "id" not in record:
        return None
    identity = record["id"]
    if isinstance(identity, bool) or not isinstance(identity, int | str):
        problem = f"its id {identity!r} is not an integer or a string"
        return f"record of {kind!r} without a proper id", where, problem, "Give it a proper id."
    if identity in rows:
        problem = f"the id {identity!r} occurs twice in {kind!r}"
        return f"repeated id in {kind!r}", where, problem, "Ids must be unique."
    return None


def _allows_self_relations(json_file: str, content: Record) -> bool:
    allowed = content.get("allow_self_relations", False)
    if isinstance(allowed, bool):
        return allowed
    refuse_one(
        json_file, "allow_self_relations that is not true or false", "'allow_self_relations'",
        f"it is {short_repr(allowed)}", "Write true or false, without quotes.",
    )  # fmt: skip
    return False


def _take_classes(json_file: str, content: Record, kind: str) -> Table:
    """Take categories or predicates out of `content`, sorted by id, so that rows are class numbers.

    Raises:
        ValueError: see `_take_table`; or an id is not an integer, a name or label is not a string, a name
            occurs twice, or only some of the classes have labels.
    """
    given = _take_table(json_file, content, kind)
    id_of_name: dict[str, int] = {}
    labelled = any("label" in record for record in given.records)
    right = np.ones(len(given.records), dtype=np.bool_)
    for row, record in enumerate(given.records):
        wrong = _wrong_class(record, labelled, id_of_name)
        if wrong is None:
            id_of_name[record["name"]] = record["id"]
        else:
            right[row] = False
            problem, remedy = wrong
            refuse_one(
                json_file, f"record of {kind!r} that is no class", f"record {record['id']!r} of {kind!r}",
                problem, remedy,
            )  # fmt: skip
    known = given.keep(right)
    records = sorted(known.records, key=lambda record: int(record["id"]))
    rows = {record["id"]: row for row, record in enumerate(records)}
    return Table(json_file, kind, records, rows, refused=known.refused)


def _wrong_class(record: Record, labelled: bool, id_of_name: Mapping[str, int]) -> tuple[str, str] | None:
    """What is wrong with the record of a class, and what to do; None if it is right.

    Args:
        record: the record.
        labelled: whether some class of the list has a label.
        id_of_name: the classes before it.
    """
    name = record["name"]
    if not isinstance(record["id"], int) or not isinstance(name, str):
        return "the id is not an integer or the name is not a string", "Classes need both."
    if name in id_of_name:
        return f"it has the name {name!r}, as record {id_of_name[name]!r} has", "Give classes distinct names."
    if labelled and not isinstance(record.get("label"), str):
        remedy = "Give every class of the list a label, or none."
        return "it has no label that is a string, and others have one", remedy
    return None


def save_coco_relations(
    dataset_dicts: Iterable[DatasetDict],
    metadata: Any,
    path: str | os.PathLike[str],
    image_root: str | os.PathLike[str] | None = None,
    *,
    outside_root: bool = False,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write dataset dicts as a COCO-relations file, which loads as the same images, boxes and relationships.

    Image ids are kept; annotations, relations, categories and predicates are numbered from 1. Coordinates are
    rounded to 2^-32 of a pixel. The optional keys `verified_classes` of an image and those of `SCORES` are
    written; `attributes` and `detections` are not.

    Args:
        dataset_dicts: the images, with integer or string image ids. They are gone through several times.
        metadata: object with `thing_classes` and `predicate_classes`, for example a data set's `Metadata`.
            Its `class_labels` and `predicate_labels`, if it has them, are written too.
        path: file to write. An error leaves an existing file unchanged.
        image_root: folder that the written file names are relative to; by default the file names are not
            changed. Pictures in tar files get the names of their members.
        outside_root: whether a written name may lead out of the image folder, see `load_coco_relations`.
        info: COCO's "info" of the file; None: the file has none.

    Raises:
        ValueError: the name of an image leads out of the image folder, relationships do not fit the
            annotations, `metadata` does not name a class, or a box sticks out of its image by more than a
            pixel.
    """
    things, predicates = metadata.thing_classes, metadata.predicate_classes
    with atomic_write(path) as stream:
        stream.write(b"{" if info is None else f'{{"info": {json.dumps(info)},\n'.encode())
        labels = getattr(metadata, "class_labels", None)
        _write_list(stream, "categories", [_class_records(things, labels)])
        labels = getattr(metadata, "predicate_labels", None)
        _write_list(stream, "predicates", [_class_records(predicates, labels)])
        images = ([_image_record(path, d, things, image_root, outside_root)] for d in dataset_dicts)
        _write_list(stream, "images", images)
        _write_list(stream, "annotations", _annotation_records(path, dataset_dicts, things))
        _write_list(stream, "relations", _relation_records(path, dataset_dicts, predicates))
        allowed = any((rows[:, 0] == rows[:, 1]).any() for rows in map(relation_rows, dataset_dicts))
        stream.write(f'"allow_self_relations": {json.dumps(allowed)}}}\n'.encode())


def _write_list(stream: IO[bytes], kind: str, parts: Iterable[list[Record]]) -> None:
    """Write a list part by part, so that the records of a large data set are never all in memory."""
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
    outside_root: bool,
) -> Record:
    file_name = dataset_dict["file_name"]
    member = TarMember.of(file_name)
    if member is not None:
        file_name = member.name
    elif image_root is not None:
        file_name = Path(os.path.relpath(file_name, image_root)).as_posix()
    if not outside_root and names_outside([file_name]):
        raise ValueError(
            f"{path}: not written: {describe(dataset_dict)}: the name {file_name!r} {OUTSIDE}, and would be "
            "refused when the file is read. Give image_root, the folder of all images, or outside_root=True."
        )
    size = {key: dataset_dict[key] for key in ("height", "width")}
    record = {"id": dataset_dict["image_id"], "file_name": file_name, **size}
    if "verified_classes" in dataset_dict:
        verified = np.asarray(dataset_dict["verified_classes"], dtype=np.int64)
        record["verified_category_ids"] = _ids(path, dataset_dict, "verified_classes", verified, names)
    return record


def _annotation_records(
    path: str | os.PathLike[str], dataset_dicts: Iterable[DatasetDict], names: Sequence[str]
) -> Iterator[list[Record]]:
    first = 1
    # disable=None: a bar on a terminal, nothing in a log file
    for dataset_dict in tqdm(dataset_dicts, f"writing {visible(Path(path).name)}", leave=False, disable=None):
        corners = _rounded(entity_boxes(dataset_dict))
        inside = _inside_image(
            corners, np.array([[dataset_dict["width"], dataset_dict["height"]]], np.float64)
        )
        if not inside.all():
            row = int(inside.argmin())
            raise ValueError(
                f"{path}: not written: annotation {row} of {describe(dataset_dict)} has the box "
                f"{corners[row].tolist()}, which is not inside the {dataset_dict['width']} x "
                f"{dataset_dict['height']} pixels of the image. Correct or clip it."
            )
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        categories = _ids(path, dataset_dict, "category_id", entity_classes(dataset_dict), names)
        crowd = crowd_flags(dataset_dict).astype(np.int64).tolist()
        records: list[Record] = [
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
        _add_scores(records, dataset_dict, "annotations")
        yield records
        first += len(boxes)


def _relation_records(
    path: str | os.PathLike[str], dataset_dicts: Iterable[DatasetDict], names: Sequence[str]
) -> Iterator[list[Record]]:
    first_annotation = first = 1
    for dataset_dict in dataset_dicts:
        rows = relation_rows(dataset_dict)
        subject_object = (rows[:, :2] + first_annotation).tolist()
        predicates = _ids(path, dataset_dict, "predicate_id", rows[:, 2], names)
        records: list[Record] = [
            {
                "id": number,
                "image_id": dataset_dict["image_id"],
                "subject_id": subject,
                "object_id": object,
                "predicate_id": predicate,
            }
            for number, ((subject, object), predicate) in enumerate(
                zip(subject_object, predicates, strict=True), start=first
            )
        ]
        _add_scores(records, dataset_dict, "relations")
        yield records
        first_annotation += len(dataset_dict["annotations"])
        first += len(rows)


def _add_scores(records: list[Record], dataset_dict: DatasetDict, kind: str) -> None:
    for key, (kind_of_key, name) in SCORES.items():
        if kind_of_key == kind and key in dataset_dict:
            for record, score in zip(records, dataset_dict[key].tolist(), strict=True):
                if not math.isnan(score):
                    record[name] = score


def _ids(
    path: str | os.PathLike[str],
    dataset_dict: DatasetDict,
    key: str,
    numbers: NDArray[np.int64],
    names: Sequence[str],
) -> list[int]:
    """The ids that classes have in the file. Ids count from 1, `numbers` from 0."""
    unnamed = (numbers < 0) | (numbers >= len(names))
    if unnamed.any():
        raise ValueError(
            f"{path}: not written: image {dataset_dict['image_id']!r} has {key} {numbers[unnamed.argmax()]}, "
            f"but the metadata names only {len(names)} classes of this kind. Pass the metadata of the data "
            "set."
        )
    ids: list[int] = (numbers + 1).tolist()
    return ids
