"""VRD (Lu et al. 2016) in its official layout:

    root/json_dataset/annotations_train.json, annotations_test.json, objects.json, predicates.json
    root/sg_dataset/sg_train_images/, sg_test_images/

What the files leave open is settled here:

* VRD lists relationships, not entities. The entities of an image are its distinct (box, class) combinations,
  in order of appearance; one box with two classes is two entities.
* Relationships of an entity with itself and repeated relationships stay: evaluation counts what is annotated.
* A box is given as [ymin, ymax, xmin, xmax]. The numbers count pixels from 1, the last pixel included (the
  smallest is 1 and the largest is the image's size). They are kept as given, as (xmin, ymin, xmax, ymax) and
  without "+ 1": the overlap of the protocols with offset 1 is then the official one, and the half-open box
  that the network pools misses at most one column and one row.
* Boxes are clipped to their image, and a side shorter than one pixel (a box one pixel wide, or one that lies
  outside the image) is widened to one pixel inside the image. No relationship is lost by it, so the number of
  ground truths stays the official one; the log says how many boxes were changed.
* Image files are read by content, not by ending. A listed file that is missing is looked for under the same
  name with another ending, since copies of VRD differ in that.
"""

import logging
import os
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..dataset_dicts import DatasetDict, describe
from ..images import upright_size
from .vrd_annotations import parse_vrd_annotations, read_json
from .vrd_classes import OBJECT_CLASSES, PREDICATE_CLASSES

logger = logging.getLogger(__name__)

SPLITS = ("train", "test")


def load_vrd(root: str | os.PathLike[str], split: str) -> list[DatasetDict]:
    """Read a split of VRD into dataset dicts; of the images only the headers are read.

    Args:
        root: folder that holds `json_dataset` and `sg_dataset`.
        split: "train" or "test".

    Raises:
        FileNotFoundError: an annotation or image file is missing.
        ValueError: unknown split; damaged files; class lists that are not VRD's.
    """
    json_file, image_root = _paths(root, split)
    for file_name, expected in (("objects.json", OBJECT_CLASSES), ("predicates.json", PREDICATE_CLASSES)):
        path = json_file.parent / file_name
        if read_json(path) != list(expected):
            raise ValueError(
                f"{path} is not VRD's list of {len(expected)} names, so the class numbers of the "
                "annotations would get wrong names. Use the file of the official data set."
            )
    dataset_dicts = parse_vrd_annotations(json_file)
    paths = _find_images([d["file_name"] for d in dataset_dicts], image_root, json_file)
    sticking_out, widened, first = 0, 0, None
    for dataset_dict, path in zip(dataset_dicts, paths, strict=True):
        dataset_dict["file_name"] = str(path)
        dataset_dict["width"], dataset_dict["height"] = upright_size(path)
        image_sticking_out, image_widened = _fit_boxes(dataset_dict)
        sticking_out += image_sticking_out
        widened += image_widened
        if first is None and image_sticking_out + image_widened:
            first = describe(dataset_dict)
    if first is not None:
        logger.warning(
            "%s: %d boxes that stick out of their image were clipped, and %d boxes of less than one pixel "
            "in their image were widened to one, the first in %s. No relationship was dropped.",
            json_file, sticking_out, widened, first,
        )  # fmt: skip
    return dataset_dicts


def register_vrd(
    name: str, root: str | os.PathLike[str], split: str, train_dataset: str | None = None
) -> None:
    """Register a split of VRD under `name`. No file is read before the data set is asked for.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        root, split: as for `load_vrd`.
        train_dataset: name of the data set that models were trained on, for zero-shot recall; None if it isn't known.

    Raises:
        ValueError: unknown split.
    """
    json_file, image_root = _paths(root, split)
    DatasetCatalog.register(name, lambda: load_vrd(root, split))
    metadata = MetadataCatalog.get(name)
    metadata.set(
        thing_classes=list(OBJECT_CLASSES),
        predicate_classes=list(PREDICATE_CLASSES),
        evaluator_type="relation",
        # Not `json_file`: Detectron2 takes that for a file in COCO format.
        annotation_file=str(json_file),
        image_root=str(image_root),
    )
    if train_dataset is not None:
        metadata.set(train_dataset=train_dataset)


def _paths(root: str | os.PathLike[str], split: str) -> tuple[Path, Path]:
    if split not in SPLITS:
        raise ValueError(f"VRD has the splits {SPLITS}, not {split!r}.")
    base = Path(root)
    json_file = base / "json_dataset" / f"annotations_{split}.json"
    return json_file, base / "sg_dataset" / f"sg_{split}_images"


def _find_images(names: list[str], folder: Path, json_file: Path) -> list[Path]:
    """Where each listed image is, allowing for another ending."""
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    by_stem: dict[str, list[str]] = {}
    for name in present:
        by_stem.setdefault(Path(name).stem, []).append(name)
    paths = []
    renamed = []
    for name in names:
        candidates = [name] if name in present else by_stem.get(Path(name).stem, [])
        if len(candidates) != 1:
            raise FileNotFoundError(
                f"{json_file} lists image {name!r}, but {folder} has "
                f"{f'several files of that name: {sorted(candidates)}' if candidates else 'no such file'}. "
                "Check DETECTRON2_DATASETS and unpack the images as datasets/README.md shows."
            )
        if candidates != [name]:
            renamed.append(name)
        paths.append(folder / candidates[0])
    if renamed:
        logger.info(
            "%s: %d images have another ending on disk, the first being %s.", folder, len(renamed), renamed[0]
        )
    return paths


def _fit_boxes(dataset_dict: DatasetDict) -> tuple[int, int]:
    """Clip the boxes to the image and widen sides below one pixel, in place.

    Returns:
        How many boxes stuck out of the image, and how many were less than a pixel wide or high inside it.
    """
    given = np.array([a["bbox"] for a in dataset_dict["annotations"]], dtype=np.float64).reshape(-1, 4)
    limit = np.array([dataset_dict["width"], dataset_dict["height"]], dtype=np.float64)
    clipped = np.concatenate([given[:, :2].clip(min=0), np.minimum(given[:, 2:], limit)], axis=1)
    near = np.minimum(clipped[:, :2], limit - 1)
    far = np.maximum(clipped[:, 2:], near + 1)
    fitted = np.concatenate([near, far], axis=1)
    for annotation, box in zip(dataset_dict["annotations"], fitted.tolist(), strict=True):
        annotation["bbox"] = box
    sticking_out = (clipped != given).any(axis=1)
    return int(sticking_out.sum()), int((fitted != clipped).any(axis=1).sum())
