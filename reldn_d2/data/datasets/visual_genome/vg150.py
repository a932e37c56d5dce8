"""VG150: Visual Genome with its 150 most frequent classes and 50 predicates, in the community's layout.

    root/VG-SGG-with-attri.h5, VG-SGG-dicts-with-attri.json    or VG-SGG.h5, VG-SGG-dicts.json
    root/image_data.json
    root/VG_100K/<image_id>.jpg, VG_100K_2/<image_id>.jpg      one folder, or images/, if the two were merged

The files leave some questions open. This loader answers them as follows:

* The rows of the h5 file are the images of image_data.json in its order, without four whose picture is
  corrupt.
* The files have the splits train and test. The first 5,000 train images that have relationships are the split
  "val"; the other train images are "train", and all of them are "trainval".
* Boxes are integers in a scaled image. A box that sticks out of the image by at most one of those scaled
  pixels is a rounding error and is clipped without a warning; a box that sticks out further is clipped with a
  warning.
* Relationships of an entity with itself and repeated relationships stay: evaluation counts all annotations.
* Pictures are not opened, and need not be there.

Legend of shape letters:

    I  images of all splits
    N  boxes of all images, image after image
    R  relationships of all images, image after image
"""

import errno
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.json_files import read_json
from reldn_d2.utils.refusals import Refusal, refuse, refuse_one
from reldn_d2.utils.system_errors import explained, is_of_the_system

from ...filters import images_with_relations, one_relation_per_pair, overlapping_relations
from ...fit_boxes import fit_boxes, mark_changed_boxes
from ...registration import register_relation_dataset
from .images import CORRUPT_IMAGES, picture_files, read_image_data
from .pairing import mismatched_rows

# Images with relationships of each split of the published files.
SPLITS = {"train": 57_723, "val": 5_000, "trainval": 62_723, "test": 26_446}

VALIDATION_IMAGES = 5_000

# The h5 file and the file of its names. The first pair that exists is read.
_FILES = (
    ("VG-SGG-with-attri.h5", "VG-SGG-dicts-with-attri.json"),
    ("VG-SGG.h5", "VG-SGG-dicts.json"),
)

# Splits in the h5 file.
TRAIN, TEST = 0, 2

# A file may hold one or both of these arrays of boxes. The one with the finer pixels is read.
_SIDES = {"boxes_1024": 1024, "boxes_512": 512}

_PUBLISHED = "Use VG-SGG-with-attri.h5 or VG-SGG.h5 as published."

# What systems say if a file can't be locked, because another program has locked it or the disk has no locks.
_LOCKED = {errno.EAGAIN, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
# What HDF5 says about locks, with other numbers on some disks, and about a file that a writer has open or had
# open when it was killed.
_SAID_OF_LOCKS = ("unable to lock file", "file is already open for write")

# The other arrays of the file: the meaning of a row, and the number of columns.
_LAYOUT = {
    "labels": ("box", 1),
    "relationships": ("relationship", 2),
    "predicates": ("relationship", 1),
    "split": ("image", 1),
    "img_to_first_box": ("image", 1),
    "img_to_last_box": ("image", 1),
    "img_to_first_rel": ("image", 1),
    "img_to_last_rel": ("image", 1),
}


@dataclass(frozen=True)
class Vg150Arrays:
    """The content of the h5 file, checked.

    Attributes:
        boxes: (N, 4) centre x, centre y, width and height, as given, in an image whose longer side is scaled
            to `side`.
        side: 1024 or 512 pixels.
        classes: (N,) int64, in [0, 150).
        relations: (R, 3) int64 rows (subject, object, predicate). Subject and object are positions among the
            boxes of their image, the predicate is in [0, 50).
        box_counts: (I,) int64, number of boxes of each image.
        relation_counts: (I,) int64, number of relationships of each image.
        split: (I,) int64, TRAIN or TEST.
    """

    boxes: NDArray[Any]
    side: int
    classes: NDArray[np.int64]
    relations: NDArray[np.int64]
    box_counts: NDArray[np.int64]
    relation_counts: NDArray[np.int64]
    split: NDArray[np.int64]

    def only(self, boxes: NDArray[np.bool_], relations: NDArray[np.bool_]) -> "Vg150Arrays":
        """The arrays without some boxes and relationships, and without relationships of these boxes.

        Args:
            boxes: (N,) whether a box stays.
            relations: (R,) whether a relationship stays. The others may have any numbers.
        """
        images = np.arange(len(self.box_counts))
        image, image_of_box = (np.repeat(images, x) for x in (self.relation_counts, self.box_counts))
        first = np.cumsum(self.box_counts) - self.box_counts
        ends = self.relations[:, :2] + first[image, None]
        stays = relations.copy()
        stays[relations] = boxes[ends[relations]].all(axis=1)
        counts = np.bincount(image_of_box[boxes], minlength=len(images))
        number = np.cumsum(boxes) - 1 - np.repeat(np.cumsum(counts) - counts, self.box_counts)
        return replace(
            self,
            boxes=self.boxes[boxes],
            classes=self.classes[boxes],
            relations=np.concatenate([number[ends[stays]], self.relations[stays, 2:]], axis=1),
            box_counts=counts,
            relation_counts=np.bincount(image[stays], minlength=len(images)),
        )


def load_vg150(
    root: str | os.PathLike[str],
    split: str,
    *,
    keep_empty: bool = False,
    drop_duplicates: bool = False,
    overlapping_only: bool = False,
) -> list[DatasetDict]:
    """Read a split of VG150 into dataset dicts. Pictures are not opened, and need not be there.

    Args:
        root: folder of the files.
        split: "train", "val", "trainval" or "test".
        keep_empty: keep images without relationships too, in "train", "trainval" and "test". "val" does not
            change: its 5,000 images always have relationships, so that the other splits keep their meaning.
        drop_duplicates: if an ordered pair of entities has several relationships, keep only the first in the
            file.
        overlapping_only: drop relationships whose boxes share no area. Images that have no relationship left
            are dropped too, unless `keep_empty`. The validation images are chosen before this filter.

    Raises:
        FileNotFoundError: an annotation file is missing.
        ValueError: unknown split; a split without images; files that are damaged, do not belong together, or
            have other classes than VG150.
    """
    h5_file, dicts_file = _files(root, split)
    if not h5_file.exists():
        raise FileNotFoundError(
            f"{h5_file} does not exist, nor does {_FILES[1][0]} beside it. Check DETECTRON2_DATASETS and put "
            "VG150 there as datasets/README.md shows."
        )
    _check_names(dicts_file)
    ids, sizes = read_image_data(Path(root) / "image_data.json")
    usable = ~np.isin(ids, CORRUPT_IMAGES)
    ids, sizes = ids[usable], sizes[usable]
    arrays = read_vg150_h5(h5_file, ids)
    known = sizes.all(axis=1)
    if not known.all():
        # Images whose record is refused are in no split.
        arrays = replace(arrays, split=np.where(known, arrays.split, -1))
        sizes[~known] = 1
    _check_pairing(h5_file, ids, sizes, arrays)
    images = _images_of_split(arrays, split, keep_empty)
    if not len(images):
        raise ValueError(
            f"{h5_file} has no image in the split {split!r}: its {len(ids)} images have "
            f"{(arrays.split == TRAIN).sum()} in train and {(arrays.split == TEST).sum()} in test, and the "
            f"first {VALIDATION_IMAGES} of train that have relationships are 'val'. Use 'trainval' for a "
            "small file."
        )
    dataset_dicts = _dataset_dicts(root, h5_file, ids, sizes, arrays, images)
    if drop_duplicates:
        dataset_dicts = one_relation_per_pair(dataset_dicts, str(h5_file))
    if overlapping_only:
        dataset_dicts = overlapping_relations(dataset_dicts, str(h5_file))
        if not keep_empty:
            dataset_dicts = images_with_relations(dataset_dicts)
    return dataset_dicts


def register_vg150(
    name: str,
    root: str | os.PathLike[str],
    split: str,
    train_dataset: str | None = None,
    *,
    keep_empty: bool = False,
    drop_duplicates: bool = False,
    overlapping_only: bool = False,
    **metadata: Any,
) -> None:
    """Register a split of VG150 under `name`. Files are read when the data set is loaded.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        root: see `load_vg150`.
        split: see `load_vg150`.
        keep_empty: see `load_vg150`.
        drop_duplicates: see `load_vg150`.
        overlapping_only: see `load_vg150`.
        train_dataset: name of its training split, for zero-shot recall; None if it is not known.
        metadata: more metadata, for example `expected_counts`.

    Raises:
        ValueError: unknown split; the name is registered for another data set.
    """
    h5_file, _ = _files(root, split)
    options = {
        "keep_empty": keep_empty,
        "drop_duplicates": drop_duplicates,
        "overlapping_only": overlapping_only,
    }
    register_relation_dataset(
        name,
        load_vg150,
        {"root": os.fspath(root), "split": split, **options},
        thing_classes=OBJECT_CLASSES,
        predicate_classes=PREDICATE_CLASSES,
        train_dataset=train_dataset,
        # the key is not `json_file`, which Detectron2 takes for a file in COCO format
        annotation_file=str(h5_file),
        image_root=os.fspath(root),
        **metadata,
    )


def _files(root: str | os.PathLike[str], split: str) -> tuple[Path, Path]:
    """The h5 file and the dicts JSON that belongs to it."""
    if split not in SPLITS:
        raise ValueError(f"VG150 has the splits {tuple(SPLITS)}, not {split!r}.")
    pairs = [(Path(root) / h5_file, Path(root) / dicts_file) for h5_file, dicts_file in _FILES]
    return next((pair for pair in pairs if pair[0].exists()), pairs[0])


def _check_names(dicts_file: Path) -> None:
    """Check that the numbers of the h5 file mean the names in the metadata."""
    content = read_json(dicts_file)
    for key, names in (("label_to_idx", OBJECT_CLASSES), ("predicate_to_idx", PREDICATE_CLASSES)):
        found = content.get(key) if isinstance(content, dict) else None
        if found != {name: number for number, name in enumerate(names, start=1)}:
            problem = (
                f"it does not number VG150's {len(names)} names from 1, so the annotations would get wrong "
                "names"
            )
            remedy = "Use the file that was published with the h5 file."
            refuse_one(dicts_file, "other names", f"{key!r}", problem, remedy)


def _check_pairing(
    h5_file: Path, ids: NDArray[np.int64], sizes: NDArray[np.int64], arrays: Vg150Arrays
) -> None:
    """Refuse sizes that are not those of the rows of the h5 file, in any range of rows.

    Raises:
        ValueError: the message names the range.
    """
    centre, half = arrays.boxes[:, :2], arrays.boxes[:, 2:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1).astype(np.float64)
    scaled = sizes * (arrays.side / sizes.max(axis=1, keepdims=True, initial=1))
    found = mismatched_rows(corners, scaled, arrays.box_counts)
    if found is not None:
        first, last, count = found
        problem = (
            "they do not belong together with the records of image_data.json beside the file: "
            f"{count} of these {last - first + 1} images have boxes that stick out of them by more than a "
            "tenth of a side"
        )
        remedy = (
            "One of the files has images in another order, or lacks one and has another: take both files "
            "from the same source."
        )
        where = f"the rows from about row {first} (image {ids[first]}) to row {last} (image {ids[last]})"
        refuse_one(h5_file, "rows of other images", where, problem, remedy)


def _images_of_split(arrays: Vg150Arrays, split: str, keep_empty: bool) -> NDArray[np.int64]:
    """Rows of the images of a split, sorted."""
    related = arrays.relation_counts > 0
    train = arrays.split == TRAIN
    validation = np.flatnonzero(train & related)[:VALIDATION_IMAGES]
    if split == "val":
        return validation
    chosen = arrays.split == TEST if split == "test" else train
    rows = np.flatnonzero(chosen if keep_empty else chosen & related)
    return np.setdiff1d(rows, validation) if split == "train" else rows


def _dataset_dicts(
    root: str | os.PathLike[str],
    h5_file: Path,
    ids: NDArray[np.int64],
    sizes: NDArray[np.int64],
    arrays: Vg150Arrays,
    images: NDArray[np.int64],
) -> list[DatasetDict]:
    """One dict for each row of `images`. Its arrays are views of the arrays of the whole split."""
    chosen = np.zeros(len(ids), dtype=bool)
    chosen[images] = True
    of_chosen = np.repeat(chosen, arrays.box_counts)
    classes = arrays.classes[of_chosen]
    relations = arrays.relations[np.repeat(chosen, arrays.relation_counts)]
    image_of_box = np.repeat(images, arrays.box_counts[images])
    boxes = _original_boxes(arrays.boxes[of_chosen], sizes[image_of_box], arrays.side)
    boxes, changed = fit_boxes(
        boxes, sizes[image_of_box], str(h5_file), lambda row: f"image {ids[image_of_box[row]]}"
    )
    box_ends = np.cumsum(arrays.box_counts[images])
    relation_ends = np.cumsum(arrays.relation_counts[images])
    dataset_dicts: list[DatasetDict] = [
        {
            "file_name": file_name,
            "image_id": image_id,
            "width": width,
            "height": height,
            "annotations": Annotations(some_boxes, some_classes),
            "relations": some_relations,
        }
        for file_name, image_id, (width, height), some_boxes, some_classes, some_relations in zip(
            picture_files(root, ids[images]),
            ids[images].tolist(),
            sizes[images].tolist(),
            np.split(boxes, box_ends)[:-1],
            np.split(classes, box_ends)[:-1],
            np.split(relations, relation_ends)[:-1],
            strict=True,
        )
    ]
    mark_changed_boxes(dataset_dicts, changed)
    return dataset_dicts


def _original_boxes(given: NDArray[Any], sizes: NDArray[np.int64], side: int) -> NDArray[np.float64]:
    """(n, 4) XYXY in pixels of the original images.

    Args:
        given: (n, 4) boxes of the h5 file.
        sizes: (n, 2) width and height of the image of each box.
        side: longer side of the scaled images.
    """
    pixel = (sizes.max(axis=1) / side)[:, None, None]
    centre, half = given[:, :2], given[:, 2:] / 2
    corners: NDArray[np.float64] = np.stack([centre - half, centre + half], axis=1)
    corners *= pixel
    inside = corners.clip(0, sizes[:, None])
    np.copyto(corners, inside, where=np.abs(corners - inside) <= pixel)
    return corners.reshape(-1, 4)


def read_vg150_h5(path: str | os.PathLike[str], image_ids: NDArray[np.int64]) -> Vg150Arrays:
    """Read and check the h5 file.

    Args:
        path: the h5 file.
        image_ids: (I,) ids of its images, which the file does not hold.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not HDF5, is cut off, or has another number of images; or its rows are not
            those of VG150. Where refused records are collected, see `reldn_d2.utils.refusals`, wrong rows are
            left out, and this is raised only if the others mean nothing without what is refused.
    """
    arrays = _read_arrays(path)
    counts = _row_counts(path, arrays, image_ids)
    if counts is None:
        # What can be said about single rows is said in the same run.
        _right_values(_Table(path, arrays, {}))
        raise ValueError(f"{os.fspath(path)}: not read further, because parts of it are refused.")
    box_counts, relation_counts = counts
    image_of_relation = np.repeat(np.arange(len(image_ids)), relation_counts)
    ids = {
        "image": image_ids,
        "box": np.repeat(image_ids, box_counts),
        "relationship": image_ids[image_of_relation],
    }
    table = _Table(path, arrays, ids)
    right = _right_values(table)
    first_box = np.cumsum(box_counts) - box_counts
    members = arrays["relationships"] - first_box[image_of_relation, None]
    inside = ((members >= 0) & (members < box_counts[image_of_relation, None])).all(axis=1)
    rule = "subject and object must be box rows of that image"
    right["relationships"] = table.right("relationships", inside, rule)

    (boxes_key,) = arrays.keys() & _SIDES
    labels, predicates = arrays["labels"], arrays["predicates"]
    relations = np.concatenate([members, predicates[:, None] - 1], axis=1)
    found = Vg150Arrays(
        arrays[boxes_key],
        _SIDES[boxes_key],
        labels - 1,
        relations,
        box_counts,
        relation_counts,
        arrays["split"],
    )
    if all(rows.all() for rows in right.values()):
        return found
    return found.only(right[boxes_key] & right["labels"], right["predicates"] & right["relationships"])


@dataclass(frozen=True)
class _Table:
    """The arrays of a file.

    Attributes:
        path: the file.
        arrays: name -> array. Some may be missing.
        ids: "box", "relationship" or "image" -> id of the image of each row; empty if that is not known.
    """

    path: str | os.PathLike[str]
    arrays: Mapping[str, NDArray[Any]]
    ids: Mapping[str, NDArray[np.int64]]

    def right(self, key: str, right: NDArray[np.bool_], rule: str) -> NDArray[np.bool_]:
        """Refuse the other rows of an array, see `reldn_d2.utils.refusals`. Returns `right`.

        Args:
            key: name of the array.
            right: (rows,) whether a row is right.
            rule: rule for the rows, for the message.
        """
        rows = np.flatnonzero(~right)
        ids = self.ids.get("box" if key in _SIDES else _LAYOUT[key][0])

        def record(k: int) -> Refusal:
            row = rows[k]
            image = "" if ids is None else f" (image {ids[row]})"
            return Refusal(
                f"row {row} of {key!r}{image}",
                f"it is {self.arrays[key][row].tolist()}, but {rule}",
                "Download the file again; in a file of your own, correct the row.",
            )

        refuse(self.path, f"row of {key!r}", len(rows), record)
        return right


def _right_values(table: _Table) -> dict[str, NDArray[np.bool_]]:
    """Refuse the rows with impossible values. Returns key -> (rows,) whether a row is right."""
    right = {}
    for key, array in table.arrays.items():
        if key == "split":
            rule = f"a split is {TRAIN} (train) or {TEST} (test)"
            right[key] = table.right(key, np.isin(array, (TRAIN, TEST)), rule)
        elif key in _SIDES:
            rule = "numbers must be finite, and width and height above 0"
            usable = np.isfinite(array).all(axis=1) & (array[:, 2:] > 0).all(axis=1)
            right[key] = table.right(key, usable, rule)
        elif key in ("labels", "predicates"):
            last = len(OBJECT_CLASSES if key == "labels" else PREDICATE_CLASSES)
            right[key] = table.right(key, (array >= 1) & (array <= last), f"{key} count from 1 to {last}")
    return right


def _row_counts(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], image_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Numbers of boxes and relationships of each image; None if the file does not say them rightly."""
    if len(arrays) < len(_LAYOUT) + 1:
        return None
    images, paired = len(arrays["split"]), len(arrays["split"]) == len(image_ids)
    if not paired:
        problem = (
            f"it has {images} images, but the image_data.json beside it has {len(image_ids)}, without the "
            "corrupt ones"
        )
        remedy = "Their rows belong together: take both files from the same source."
        refuse_one(path, "other number of images", "the file", problem, remedy)
    table = _Table(path, arrays, {"image": image_ids} if paired else {})
    boxes = _counts(table, "box", len(arrays["labels"]))
    relations = _counts(table, "rel", len(arrays["predicates"]))
    return None if boxes is None or relations is None or not paired else (boxes, relations)


def _counts(table: _Table, what: str, rows: int) -> NDArray[np.int64] | None:
    """(I,) number of rows of each image. Rows must be sorted by image, and each has one image; else None."""
    first_key, last_key = f"img_to_first_{what}", f"img_to_last_{what}"
    first, last = table.arrays[first_key], table.arrays[last_key]
    some = (first != -1) | (last != -1)
    forwards = table.right(
        last_key, ~some | (last >= first), f"it must not be before {first_key!r}, or both -1"
    )
    # The first row of an image follows the last one of the image before.
    placed = ~some
    placed[some] = first[some] == np.concatenate([[0], last[some] + 1])[:-1]
    table.right(first_key, placed, "images must follow one another without a gap or an overlap")
    if not (forwards.all() and placed.all()):
        return None
    counts: NDArray[np.int64] = np.where(some, last - first + 1, 0)
    if counts.sum() != rows:
        problem = f"it ends at row {counts.sum() - 1}, but there are {rows} rows"
        remedy = "Download the file again; in a file of your own, give every row to an image."
        refuse_one(table.path, "rows without an image", f"{last_key!r}", problem, remedy)
        return None
    return counts


def _read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The arrays that are needed, as `_typed` gives them and with matching lengths; without refused ones."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Check DETECTRON2_DATASETS and put VG150 there as datasets/README.md "
            "shows."
        )
    import h5py

    try:
        with h5py.File(path, "r") as file:
            names = {*file.keys()}  # `in` would open what a link leads to
            boxes_key = next((key for key in _SIDES if key in names), "boxes_1024")
            layout = {boxes_key: ("box", 4), **_LAYOUT}
            elsewhere = [key for key in layout if key in names and _is_elsewhere(file, key)]
            arrays = {
                key: file[key][()]
                for key in layout
                if key in names and key not in elsewhere and isinstance(file[key], h5py.Dataset)
            }
    # h5py raises any of these, depending on where the file is damaged
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and _is_locked(error):
            raise _locked(path, error) from error
        if isinstance(error, OSError) and is_of_the_system(error):
            raise explained(error, path) from error
        raise ValueError(
            f"{path} cannot be read ({error}): it is not an HDF5 file, or it is cut off. Download it again."
        ) from error
    for key in elsewhere:
        problem = "it is a link, or its numbers lie in another file, which is not opened"
        refuse_one(path, "array in another file", f"{key!r}", problem, _PUBLISHED)
    lengths: dict[str, int] = {}
    right = {}
    for key, (what, columns) in layout.items():
        if key not in arrays:
            if key not in elsewhere:
                refuse_one(path, "missing array", f"{key!r}", "the file has no such array", _PUBLISHED)
            continue
        array = _typed(path, key, arrays[key], columns)
        if array is None:
            continue
        length = lengths.setdefault(what, len(array))
        if len(array) == length:
            right[key] = array
        else:
            problem = f"it has {len(array)} rows, but there are {length} {what} rows"
            refuse_one(path, "array of another length", f"{key!r}", problem, "Download the file again.")
    return right


def _is_locked(error: OSError) -> bool:
    return error.errno in _LOCKED or any(said in str(error) for said in _SAID_OF_LOCKS)


def _locked(path: str | os.PathLike[str], error: OSError) -> OSError:
    """An error that says why HDF5 did not get its lock on a file that need not be damaged."""
    mark = (
        f". If that program was killed, `h5clear -s {shlex.quote(os.fspath(path))}` of the HDF5 tools "
        "removes its mark; else take another copy"
    )
    made = type(error)(
        f"{os.fspath(path)} can't be locked ({error}). Another program has it open for writing: close that "
        "program. If there is none, the disk has no locks, as some network disks: set the environment "
        "variable HDF5_USE_FILE_LOCKING=FALSE, or copy the file to a local disk"
        + (mark if "h5clear" in str(error) else "")
    )
    made.errno = error.errno
    return made


def _is_elsewhere(file: Any, key: str) -> bool:
    """Whether the numbers of an array are not in this file. HDF5 would read them from any other file."""
    import h5py

    if not isinstance(file.get(key, getlink=True), h5py.HardLink):
        return True
    found = file[key]
    return isinstance(found, h5py.Dataset) and bool(found.is_virtual or found.external)


def _typed(path: str | os.PathLike[str], key: str, array: NDArray[Any], columns: int) -> NDArray[Any] | None:
    """Boxes as given, other numbers as int64, and a single column as (rows,); None if it is refused."""
    table = array[:, None] if array.ndim == 1 else array
    kinds, what = ("iuf", "numbers") if key in _SIDES else ("iu", "integers")
    if table.ndim != 2 or table.shape[1] != columns or array.dtype.kind not in kinds:
        problem = (
            f"it must be rows of {columns} {what}, not an array of shape {array.shape} and type {array.dtype}"
        )
        refuse_one(path, "array of another form", f"{key!r}", problem, _PUBLISHED)
        return None
    if key in _SIDES:
        return table
    return table.astype(np.int64).reshape((-1,) if columns == 1 else table.shape)


# Names in the order of the dicts JSON, which counts them from 1.
# fmt: off
OBJECT_CLASSES = (
    "airplane", "animal", "arm", "bag", "banana", "basket", "beach", "bear", "bed", "bench", "bike", "bird",
    "board", "boat", "book", "boot", "bottle", "bowl", "box", "boy", "branch", "building", "bus", "cabinet",
    "cap", "car", "cat", "chair", "child", "clock", "coat", "counter", "cow", "cup", "curtain", "desk",
    "dog", "door", "drawer", "ear", "elephant", "engine", "eye", "face", "fence", "finger", "flag",
    "flower", "food", "fork", "fruit", "giraffe", "girl", "glass", "glove", "guy", "hair", "hand", "handle",
    "hat", "head", "helmet", "hill", "horse", "house", "jacket", "jean", "kid", "kite", "lady", "lamp",
    "laptop", "leaf", "leg", "letter", "light", "logo", "man", "men", "motorcycle", "mountain", "mouth",
    "neck", "nose", "number", "orange", "pant", "paper", "paw", "people", "person", "phone", "pillow",
    "pizza", "plane", "plant", "plate", "player", "pole", "post", "pot", "racket", "railing", "rock",
    "roof", "room", "screen", "seat", "sheep", "shelf", "shirt", "shoe", "short", "sidewalk", "sign",
    "sink", "skateboard", "ski", "skier", "sneaker", "snow", "sock", "stand", "street", "surfboard",
    "table", "tail", "tie", "tile", "tire", "toilet", "towel", "tower", "track", "train", "tree", "truck",
    "trunk", "umbrella", "vase", "vegetable", "vehicle", "wave", "wheel", "window", "windshield", "wing",
    "wire", "woman", "zebra",
)

PREDICATE_CLASSES = (
    "above", "across", "against", "along", "and", "at", "attached to", "behind", "belonging to", "between",
    "carrying", "covered in", "covering", "eating", "flying in", "for", "from", "growing on",
    "hanging from", "has", "holding", "in", "in front of", "laying on", "looking at", "lying on", "made of",
    "mounted on", "near", "of", "on", "on back of", "over", "painted on", "parked on", "part of", "playing",
    "riding", "says", "sitting on", "standing on", "to", "under", "using", "walking in", "walking on",
    "watching", "wearing", "wears", "with",
)
# fmt: on
