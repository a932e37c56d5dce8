"""VG150: Visual Genome with its 150 most frequent classes and 50 predicates, in the community's layout:

    root/VG-SGG-with-attri.h5, VG-SGG-dicts-with-attri.json    or VG-SGG.h5, VG-SGG-dicts.json
    root/image_data.json
    root/VG_100K/<image_id>.jpg, VG_100K_2/<image_id>.jpg      one folder, or images/, if the two were merged

What the files leave open is settled here:

* The rows of the h5 file are the images of image_data.json in its order, without four whose picture is corrupt.
* The files know train and test. The first 5,000 train images that have relationships are validation; the split
  "train" is the others, "trainval" both.
* Boxes are integers in a scaled image. What sticks out of the image by at most one of those scaled pixels is rounding
  and is clipped without a word; more of it is clipped with a warning.
* Relationships of an entity with itself and repeated relationships stay: evaluation counts what is annotated.
* Pictures are not opened, and need not be there.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.json_files import read_json

from ...filters import images_with_relations, one_relation_per_pair, overlapping_relations
from ...fit_boxes import fit_boxes, mark_changed_boxes
from ...registration import register_relation_dataset
from .images import CORRUPT_IMAGES, picture_files, read_image_data
from .vg150_classes import OBJECT_CLASSES, PREDICATE_CLASSES
from .vg150_h5 import TEST, TRAIN, Vg150Arrays, read_vg150_h5

# Images with relationships of each split of the published files.
SPLITS = {"train": 57_723, "val": 5_000, "trainval": 62_723, "test": 26_446}

VALIDATION_IMAGES = 5_000

# The h5 file and the names that belong to it; the first pair that is there is read.
_FILES = (
    ("VG-SGG-with-attri.h5", "VG-SGG-dicts-with-attri.json"),
    ("VG-SGG.h5", "VG-SGG-dicts.json"),
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
        root: folder that holds the files named above.
        split: "train", "val", "trainval" or "test".
        keep_empty: keep images without relationships too. "val" stays as it is: its 5,000 images are always taken
            among those with relationships, so that no other split changes its meaning; the images without go to
            "train" and "trainval", or to "test".
        drop_duplicates: of an ordered pair of entities with several relationships, keep the first in the file.
        overlapping_only: drop relationships whose boxes share no area and then, unless `keep_empty`, images that are
            left without any. Which images are validation is decided before.

    Raises:
        FileNotFoundError: an annotation file is missing.
        ValueError: unknown split; a split without images; files that are damaged, do not belong together, or have
            other classes than VG150.
    """
    h5_file, dicts_file = _files(root, split)
    if not h5_file.exists():
        raise FileNotFoundError(
            f"{h5_file} does not exist, nor does {_FILES[1][0]} beside it. Check DETECTRON2_DATASETS and put VG150 there "
            "as datasets/README.md shows."
        )
    _check_names(dicts_file)
    ids, sizes = read_image_data(Path(root) / "image_data.json")
    sound = ~np.isin(ids, CORRUPT_IMAGES)
    ids, sizes = ids[sound], sizes[sound]
    arrays = read_vg150_h5(h5_file, ids)
    images = _images_of_split(arrays, split, keep_empty)
    if not len(images):
        raise ValueError(
            f"{h5_file} has no image in the split {split!r}: its {len(ids)} images have {(arrays.split == TRAIN).sum()} "
            f"in train and {(arrays.split == TEST).sum()} in test, and the first {VALIDATION_IMAGES} of train that have "
            "relationships are 'val'. Use 'trainval' for a small file."
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
    """Register a split of VG150 under `name`. No file is read before the data set is asked for.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        root, split, keep_empty, drop_duplicates, overlapping_only: as for `load_vg150`.
        train_dataset: name of the data set that models were trained on, for zero-shot recall; None if it isn't known.
        metadata: more metadata, such as `expected_counts`.

    Raises:
        ValueError: unknown split; a name that is registered already, for something else.
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
        # Not `json_file`: Detectron2 takes that for a file in COCO format.
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
    """The numbers of the h5 file have the meaning that the metadata says."""
    content = read_json(dicts_file)
    for key, names in (("label_to_idx", OBJECT_CLASSES), ("predicate_to_idx", PREDICATE_CLASSES)):
        found = content.get(key) if isinstance(content, dict) else None
        if found != {name: number for number, name in enumerate(names, start=1)}:
            raise ValueError(
                f"{dicts_file}: {key!r} does not number VG150's {len(names)} names from 1, so the annotations would get "
                "wrong names. Use the file that was published with the h5 file."
            )


def _images_of_split(arrays: Vg150Arrays, split: str, keep_empty: bool) -> NDArray[np.int64]:
    """Rows of the images, ascending."""
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
    """One dict for each row of `images`; its arrays are views of the split's."""
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
    """(n, 4) XYXY in pixels of the original images, from (n, 4) boxes of the h5 file and (n, 2) image sizes."""
    pixel = (sizes.max(axis=1) / side)[:, None, None]
    centre, half = given[:, :2], given[:, 2:] / 2
    corners: NDArray[np.float64] = np.stack([centre - half, centre + half], axis=1)
    corners *= pixel
    inside = corners.clip(0, sizes[:, None])
    np.copyto(corners, inside, where=np.abs(corners - inside) <= pixel)
    return corners.reshape(-1, 4)
