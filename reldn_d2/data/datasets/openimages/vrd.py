"""The visual relationships of OpenImages, from the challenge of 2018 or from later years.

    root/challenge-2018-train-vrd.csv, ...    relationships and attributes; `files.py` has the other names
    root/*-relationship-triplets.csv          the vocabulary; without this file, the vocabulary of 2018
    root/*-vrd-labels.csv                     image labels; optional
    root/train/, validation/, test/           pictures, named by the image id

The files leave some questions open. This loader answers them as follows:

* The entities of an image are the distinct (box, class) combinations of its relationships, in order of
  appearance. Boxes are equal if their numbers are: an object has the same digits in all its relationships.
  One box with two classes is two entities.
* A row with "is" gives an attribute of an entity. It adds no entity and no relationship. Attributes are kept
  apart. In some years their boxes were rounded differently, so they can differ by a pixel from the box of the
  entity.
* Images that have only attributes are left out, as in published numbers. The others are sorted by their ids.
* Relationships of an entity with itself and repeated relationships stay: evaluation counts all annotations.
* Coordinates are parts of the sides of the upright picture. Boxes of less than one pixel become one pixel
  wide, as in VRD.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from numpy.typing import NDArray

from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.csv_files import read_table
from reldn_d2.utils.image_labels import read_image_labels

from ...fit_boxes import fit_boxes, mark_changed_boxes
from ...images import SizedImage, find_sized_images
from ...registration import register_relation_dataset
from .files import SplitFiles, check_split, split_files
from .relationships import RelationshipRows, merge_entities, read_relationships
from .vocabulary import ATTRIBUTE_RELATION, OpenImagesVocabulary, read_vocabulary

logger = logging.getLogger(__name__)

# Number of images of the paper's subset.
MINI_SIZES = {"train": 4500, "val": 1000}


def load_openimages_vrd(
    root: str | os.PathLike[str], split: str, *, mini: bool = False, dataset_name: str | None = None
) -> list[DatasetDict]:
    """Read a split into dataset dicts. Only the headers of the pictures are read.

    An image that has attributes gets the key `"attributes"`, a dict of

    * `"boxes"`: (A, 4) float64, XYXY in absolute pixels;
    * `"classes"`: (A,) int64, classes of the entities;
    * `"attributes"`: (A,) int64;
    * `"annotation"`: (A,) int64, the position of the same box and class in `"annotations"`, or -1.

    An image that has image labels gets `"verified_classes"`, (V,) int64, sorted, without repeats.

    Args:
        root: folder of the files.
        split: "train", "val" or "test".
        mini: load only the subset that `draw_in_proportion` takes: 4,500 images of train, or 1,000 of val.
        dataset_name: when given, the vocabulary goes to this data set's metadata.

    Raises:
        FileNotFoundError: a file or a picture is missing.
        ValueError: unknown split; a split without images; damaged files; several files could be the same file
            of the split; labels outside the vocabulary; a vocabulary that differs from the metadata; too few
            images for the mini subset.
    """
    _check_split(split, mini)
    files = split_files(root, split)
    vocabulary = read_vocabulary(root)
    if dataset_name is not None:
        _set_class_metadata(dataset_name, root, vocabulary)
    rows = read_relationships(files.relationships, vocabulary)
    rows = rows.of_images(_images_of_split(files, rows, split, mini))
    names = [f"{image_id}.jpg" for image_id in rows.image_ids]
    images = find_sized_images(names, files.picture_folders, str(files.relationships))
    if len(images) < len(names):
        rows = rows.of_images(np.flatnonzero([name in images for name in names]))
    dataset_dicts = _dataset_dicts(rows, [*images.values()], str(files.relationships))
    if files.image_labels is not None:
        verified = read_image_labels(files.image_labels, vocabulary.class_labels)
        for dataset_dict in dataset_dicts:
            if dataset_dict["image_id"] in verified:
                dataset_dict["verified_classes"] = verified[dataset_dict["image_id"]]
    return dataset_dicts


def register_openimages_vrd(
    name: str,
    root: str | os.PathLike[str],
    split: str,
    mini: bool = False,
    train_dataset: str | None = None,
    **metadata: Any,
) -> None:
    """Register a split of OpenImages' relationships under `name`. Files are read when the data set is loaded.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        root: see `load_openimages_vrd`.
        split: see `load_openimages_vrd`.
        mini: see `load_openimages_vrd`.
        train_dataset: name of its training split, for zero-shot recall; None if it is not known.
        metadata: more metadata. The fields of `OpenImagesVocabulary` are set when the data set is first
            loaded. If something needs them earlier, give them here, `**asdict(VOCABULARY_2018)`; the files
            must then agree.

    Raises:
        ValueError: unknown split, or a mini subset of a split that has none.
    """
    _check_split(split, mini)
    register_relation_dataset(
        name,
        load_openimages_vrd,
        {"root": os.fspath(root), "split": split, "mini": mini, "dataset_name": name},
        train_dataset=train_dataset,
        image_root=os.fspath(root),
        **metadata,
    )


def _check_split(split: str, mini: bool) -> None:
    check_split(split)
    if mini and split not in MINI_SIZES:
        raise ValueError(f"Split {split!r} has no mini subset: the paper draws one of {tuple(MINI_SIZES)}.")


def _images_of_split(files: SplitFiles, rows: RelationshipRows, split: str, mini: bool) -> NDArray[np.int64]:
    """Numbers of the images to load, sorted."""
    of_split = np.ones(len(rows.image_ids), dtype=bool)
    if files.validation_list is not None:
        listed = read_table(files.validation_list, ["ImageID"])["ImageID"]
        of_split = np.isin(rows.image_ids, listed.cat.categories) == (split == "val")
        elsewhere = listed[~listed.isin(rows.image_ids)]
        if len(elsewhere):
            logger.warning(
                "%s: %d of %d images are not in %s, the first being %s in line %d. Without its own list, "
                "train would hold the images of val: take both files from the same source.",
                files.validation_list, len(elsewhere), len(listed), files.relationships.name,
                elsewhere.iloc[0], elsewhere.index[0],
            )  # fmt: skip
    related = np.zeros(len(rows.image_ids), dtype=bool)
    related[rows.image] = True
    chosen = np.flatnonzero(of_split & related)
    if not len(chosen):
        reason = f"its {of_split.sum()} images have rows of {ATTRIBUTE_RELATION!r} only, which are attributes"
        if not of_split.any():
            listed_images = "none" if split == "val" else "all"
            reason = f"{files.validation_list} lists {listed_images} of its {len(of_split)} images"
        raise ValueError(
            f"{files.relationships}: no image in the split {split!r}: {reason}. Use official files of the "
            "same year."
        )
    logger.info(
        "%s: %d images of split %r have relationships; %d that have attributes only are left out.",
        files.relationships, len(chosen), split, (of_split & ~related).sum(),
    )  # fmt: skip
    if not mini:
        return chosen
    size = MINI_SIZES[split]
    if len(chosen) < size:
        raise ValueError(
            f"{files.relationships}: {len(chosen)} images of split {split!r} have relationships, but the "
            f"mini subset is {size} of them. Load the whole split, or use the official file."
        )
    of_chosen = np.isin(rows.image, chosen)
    return draw_in_proportion(rows.image[of_chosen], rows.predicate[of_chosen], size)


def draw_in_proportion(
    image: NDArray[np.int64], predicate: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Draw images whose relationships have about the same shares of predicates as those of all images.

    The mini subset of the paper is not published. This one has its size and keeps its two conditions:
    predicates in proportion, and at least one instance of each. Nothing is random, so that everybody gets the
    same images.

    1. The images are sorted by their number of relationships with the rarest predicate, most first, then with
       the second rarest, and so on, then by their own number.
    2. For each predicate, the rarest first: if no image taken so far has the predicate, the first image that
       has it is taken.
    3. The remaining images are divided into equal steps in this order, and the image in the middle of each
       step is taken. Neighbours in the order have similar relationships, so equal steps take every kind in
       proportion.

    Args:
        image: (R,) the image of each relationship, in any order.
        predicate: (R,) the predicate of each relationship, at least 0.
        size: number of images to take.

    Returns:
        (size,) the images, sorted, without repeats.

    Raises:
        ValueError: there are fewer images than `size`, or too many predicates for so few images.
    """
    numbers, row = np.unique(image, return_inverse=True)
    if not 0 < size <= len(numbers):
        raise ValueError(f"{size} images cannot be drawn from {len(numbers)}")
    counts = np.zeros((len(numbers), int(predicate.max()) + 1), dtype=np.int64)
    np.add.at(counts, (row, predicate), 1)
    # Sort the columns by rarity, and drop predicates without an instance.
    counts = counts[:, np.argsort(counts.sum(axis=0), kind="stable")]
    counts = counts[:, counts.any(axis=0)]
    order = np.lexsort(-counts.T[::-1])
    counts = counts[order]
    taken = np.zeros(len(order), dtype=bool)
    for has_it in (counts > 0).T:
        if not (has_it & taken).any():
            taken[has_it.argmax()] = True
    remaining = size - int(taken.sum())
    if remaining < 0:
        raise ValueError(f"{size} images are too few to hold all of {counts.shape[1]} predicates")
    others = np.flatnonzero(~taken)
    # the middle of step k, at (2 k + 1) / 2 steps of len(others) / remaining, in integers
    middle = (2 * np.arange(remaining) + 1) * len(others) // (2 * max(remaining, 1))
    taken[others[middle]] = True
    drawn: NDArray[np.int64] = np.sort(numbers[order[taken]])
    return drawn


def _dataset_dicts(rows: RelationshipRows, images: Sequence[SizedImage], source: str) -> list[DatasetDict]:
    """One dict for each image.

    Args:
        rows: rows of the I images.
        images: the I pictures.
        source: the annotation file, for warnings.
    """
    sizes = np.array([one.size for one in images], dtype=np.int64).reshape(-1, 2)
    entities = merge_entities(rows)
    image = np.concatenate([entities.image, rows.attribute_image])
    parts = np.concatenate([entities.boxes, rows.attribute_box])
    pixels, changed = fit_boxes(
        parts * np.tile(sizes[image], 2),
        sizes[image],
        source,
        lambda row: f"image {rows.image_ids[image[row]]}",
    )
    boxes, attribute_boxes = np.split(pixels, [len(entities.image)])
    first_entity, first_row, first_attribute = (
        np.searchsorted(image_of, np.arange(len(sizes) + 1))
        for image_of in (entities.image, rows.image, rows.attribute_image)
    )
    positions = entities.subject_object - first_entity[rows.image, None]
    relations = np.concatenate([positions, rows.predicate[:, None]], axis=1)
    owners = np.where(entities.owners < 0, -1, entities.owners - first_entity[rows.attribute_image])
    dataset_dicts: list[DatasetDict] = []
    for i, (path, (width, height)) in enumerate(images):
        of_entities = slice(first_entity[i], first_entity[i + 1])
        of_attributes = slice(first_attribute[i], first_attribute[i + 1])
        dataset_dict: DatasetDict = {
            "file_name": str(path),
            "image_id": rows.image_ids[i],
            "width": width,
            "height": height,
            "annotations": Annotations(boxes[of_entities], entities.classes[of_entities]),
            "relations": relations[first_row[i] : first_row[i + 1]],
        }
        if first_attribute[i] < first_attribute[i + 1]:
            dataset_dict["attributes"] = {
                "boxes": attribute_boxes[of_attributes],
                "classes": rows.attribute_class[of_attributes],
                "attributes": rows.attribute[of_attributes],
                "annotation": owners[of_attributes],
            }
        dataset_dicts.append(dataset_dict)
    mark_changed_boxes(dataset_dicts, changed[: len(entities.image)])
    return dataset_dicts


def _set_class_metadata(name: str, root: str | os.PathLike[str], vocabulary: OpenImagesVocabulary) -> None:
    metadata = MetadataCatalog.get(name)
    for key, labels in asdict(vocabulary).items():
        known = metadata.get(key)
        if known is None:
            metadata.set(**{key: labels})
        elif list(known) != labels:
            raise ValueError(
                f"{root}: its vocabulary has {len(labels)} {key}, which are not the {len(known)} that the "
                f"metadata of {name!r} has. Register the folder under a name of its own: "
                "register_openimages_vrd(name, root, split)."
            )
