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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.json_files import read_json
from reldn_d2.utils.refusals import Refusal, refuse
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
            raise ValueError(
                f"{dicts_file}: {key!r} does not number VG150's {len(names)} names from 1, so the "
                "annotations would get wrong names. Use the file that was published with the h5 file."
            )


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
        raise ValueError(
            f"{h5_file}: its rows and the records of image_data.json beside it do not belong together from "
            f"about row {first} (image {ids[first]}) to row {last} (image {ids[last]}): {count} of these "
            f"{last - first + 1} images have boxes that stick out of them by more than a tenth of a side. "
            "One of the files has images in another order, or lacks one and has another: take both files "
            "from the same source."
        )


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
            those of VG150.
    """
    arrays = _read_arrays(path)
    (boxes_key,) = arrays.keys() & _SIDES
    boxes, labels, predicates, split = (arrays[key] for key in (boxes_key, "labels", "predicates", "split"))
    if len(split) != len(image_ids):
        raise ValueError(
            f"{path} has {len(split)} images, but the image_data.json beside it has {len(image_ids)}, "
            "without the corrupt ones. Their rows belong together: take both files from the same source."
        )
    table = _Table(path, arrays)
    wrong = [
        table.refuse(
            "split", ~np.isin(split, (TRAIN, TEST)), image_ids, f"a split is {TRAIN} (train) or {TEST} (test)"
        )
    ]
    box_counts = _counts(table, "box", len(boxes), image_ids)
    relation_counts = _counts(table, "rel", len(predicates), image_ids)

    image_of_relation = np.repeat(np.arange(len(split)), relation_counts)
    ids_of_boxes, ids_of_relations = np.repeat(image_ids, box_counts), image_ids[image_of_relation]
    usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    rule = "numbers must be finite, and width and height above 0"
    wrong.append(table.refuse(boxes_key, ~usable, ids_of_boxes, rule))
    for key, names, ids in (
        ("labels", OBJECT_CLASSES, ids_of_boxes),
        ("predicates", PREDICATE_CLASSES, ids_of_relations),
    ):
        outside = (arrays[key] < 1) | (arrays[key] > len(names))
        wrong.append(table.refuse(key, outside, ids, f"{key} count from 1 to {len(names)}"))
    first_box = np.cumsum(box_counts) - box_counts
    members = arrays["relationships"] - first_box[image_of_relation, None]
    outside = ((members < 0) | (members >= box_counts[image_of_relation, None])).any(axis=1)
    rule = "subject and object must be box rows of that image"
    wrong.append(table.refuse("relationships", outside, ids_of_relations, rule))
    _stop_if(any(wrong), path)

    relations = np.concatenate([members, predicates[:, None] - 1], axis=1)
    return Vg150Arrays(boxes, _SIDES[boxes_key], labels - 1, relations, box_counts, relation_counts, split)


@dataclass(frozen=True)
class _Table:
    path: str | os.PathLike[str]
    arrays: dict[str, NDArray[Any]]

    def refuse(self, key: str, wrong: NDArray[np.bool_], image_ids: NDArray[np.int64], rule: str) -> bool:
        """Refuse the wrong rows of an array, see `reldn_d2.utils.refusals`. Returns whether there are any.

        Args:
            key: name of the array.
            wrong: (rows,) whether a row is wrong.
            image_ids: (rows,) id of the image of each row.
            rule: rule for the rows, for the message.
        """
        rows = np.flatnonzero(wrong)

        def record(k: int) -> Refusal:
            row = rows[k]
            return Refusal(
                f"row {row} of {key!r} (image {image_ids[row]})",
                f"it is {self.arrays[key][row].tolist()}, but {rule}",
                "Download the file again; in a file of your own, correct the row.",
            )

        refuse(self.path, f"row of {key!r}", len(rows), record)
        return bool(len(rows))


def _stop_if(wrong: bool, path: str | os.PathLike[str]) -> None:
    """Stop where refused rows are collected, since the others mean nothing without them."""
    if wrong:
        raise ValueError(f"{os.fspath(path)}: not read further, because rows of it are refused.")


def _counts(table: _Table, what: str, rows: int, image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """(I,) number of rows of each image. Rows must be sorted by image, and each has one image."""
    first_key, last_key = f"img_to_first_{what}", f"img_to_last_{what}"
    first, last = table.arrays[first_key], table.arrays[last_key]
    some = (first != -1) | (last != -1)
    backwards = some & (last < first)
    wrong = table.refuse(last_key, backwards, image_ids, f"it must not be before {first_key!r}, or both -1")
    _stop_if(wrong, table.path)
    counts = np.where(some, last - first + 1, 0)
    misplaced = some & (first != np.cumsum(counts) - counts)
    rule = "images must follow one another without a gap or an overlap"
    _stop_if(table.refuse(first_key, misplaced, image_ids, rule), table.path)
    if counts.sum() != rows:
        raise ValueError(
            f"{table.path}: {last_key!r} ends at row {counts.sum() - 1}, but there are {rows} rows. Download "
            "the file again; in a file of your own, give every row to an image."
        )
    return counts


def _read_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The arrays that are needed, with the types of `_typed` and with matching lengths."""
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
    if elsewhere:
        raise ValueError(
            f"{path}: {elsewhere[0]!r} is a link, or its numbers lie in another file, which is not opened. "
            "Use VG-SGG-with-attri.h5 or VG-SGG.h5 as published."
        )
    lengths: dict[str, int] = {}
    for key, (what, columns) in layout.items():
        if key not in arrays:
            raise ValueError(
                f"{path} has no array {key!r}. Use VG-SGG-with-attri.h5 or VG-SGG.h5 as published."
            )
        arrays[key] = _typed(path, key, arrays[key], columns)
        length = lengths.setdefault(what, len(arrays[key]))
        if len(arrays[key]) != length:
            raise ValueError(
                f"{path}: {key!r} has {len(arrays[key])} rows, but there are {length} {what} rows. Download "
                "the file again."
            )
    return arrays


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


def _typed(path: str | os.PathLike[str], key: str, array: NDArray[Any], columns: int) -> NDArray[Any]:
    """The array with boxes as given, other numbers as int64, and a single column as (rows,)."""
    table = array[:, None] if array.ndim == 1 else array
    kinds, what = ("iuf", "numbers") if key in _SIDES else ("iu", "integers")
    if table.ndim != 2 or table.shape[1] != columns or array.dtype.kind not in kinds:
        raise ValueError(
            f"{path}: {key!r} must be rows of {columns} {what}, not an array of shape {array.shape} and type "
            f"{array.dtype}. Use VG-SGG-with-attri.h5 or VG-SGG.h5 as published."
        )
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
