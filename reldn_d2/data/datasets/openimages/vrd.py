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

The whole challenge (`challenge=True`) is another data set of the same files. Attributes are classes, and a
row with "is" is a relationship of two entities: the one that has the attribute, and one with the attribute's
class and the second box of the row, which is the same box in official files. All images of the files belong
to it: those with relationships, those with attributes only, and those that only have image labels.
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
from reldn_d2.utils.inner_paths import names_outside
from reldn_d2.utils.refusals import Refusal, refuse

from ...fit_boxes import fit_boxes, mark_changed_boxes
from ...images import SizedImage, find_sized_images
from ...registration import register_relation_dataset
from .files import SplitFiles, check_split, split_files
from .relationships import (
    ID_OUTSIDE,
    ID_OUTSIDE_PROBLEM,
    ID_OUTSIDE_REMEDY,
    RelationshipRows,
    merge_entities,
    read_relationships,
)
from .vocabulary import ATTRIBUTE_RELATION, OpenImagesVocabulary, challenge_vocabulary, read_vocabulary

logger = logging.getLogger(__name__)

# Number of images of the paper's subset.
MINI_SIZES = {"train": 4500, "val": 1000}


# Sentences about the numbers of a data set.
_WITHOUT_ATTRIBUTES = (
    "{predicates} predicates of OpenImages without 'is': attributes do not count, and images without another "
    "relationship are left out, as in the paper. The official tool counts both: its numbers are those of the "
    "data sets of the whole challenge (reldn_openimages_vrd_challenge_val, or challenge=True)."
)
_CHALLENGE = (
    "{predicates} relations of the OpenImages challenge: 'is' with {attributes} attributes counts, and so "
    "does every image of the files."
)
# A detector learns one class for each region, which is that of the first of two equal boxes.
_NOT_FOR_TRAINING = (
    "this data set of the whole challenge is made for scoring. An attribute is an entity with the box of its "
    "owner, so a detector that gives each region one class learns no attribute, and RelDN finds no 'is'. "
    "Train on the data set without challenge, or use ROI heads that give a region several classes."
)


def load_openimages_vrd(
    root: str | os.PathLike[str],
    split: str,
    *,
    mini: bool = False,
    challenge: bool = False,
    dataset_name: str | None = None,
) -> list[DatasetDict]:
    """Read a split into dataset dicts. Only the headers of the pictures are read.

    Without `challenge`, an image that has attributes gets the key `"attributes"`, a dict of

    * `"boxes"`: (A, 4) float64, XYXY in absolute pixels;
    * `"classes"`: (A,) int64, classes of the entities;
    * `"attributes"`: (A,) int64;
    * `"annotation"`: (A,) int64, the position of the same box and class in `"annotations"`, or -1.

    An image that has image labels gets `"verified_classes"`, (V,) int64, sorted, without repeats.

    Args:
        root: folder of the files.
        split: "train", "val" or "test".
        mini: load only the subset that `draw_in_proportion` takes: 4,500 images of train, or 1,000 of val.
        challenge: load the whole challenge, with attributes as classes, "is" as a predicate, and all images.
        dataset_name: when given, the vocabulary goes to this data set's metadata, and sentences about it:
            "evaluation_note" for results, and with `challenge` "training_note" for a training.

    Raises:
        FileNotFoundError: a file or a picture is missing.
        ValueError: unknown split; a split without images; damaged files; several files could be the same file
            of the split; labels outside the vocabulary; a vocabulary that differs from the metadata; an
            attribute with the label or the name of a class, with `challenge`; too few images for the mini
            subset, or a mini subset of the challenge.
    """
    _check_split(split, mini, challenge)
    files = split_files(root, split)
    of_rows = read_vocabulary(root)
    vocabulary = challenge_vocabulary(of_rows) if challenge else of_rows
    if dataset_name is not None:
        _set_class_metadata(dataset_name, root, vocabulary)
        _set_notes(dataset_name, vocabulary, challenge)
    rows = read_relationships(files.relationships, of_rows, attributes_as_classes=challenge)
    verified = _verified_classes(files, vocabulary, challenge)
    if challenge:
        rows = rows.with_images(verified)
    rows = rows.of_images(_images_of_split(files, rows, split, mini, challenge))
    names = [f"{image_id}.jpg" for image_id in rows.image_ids]
    source = str(files.relationships)
    both = f"{source} or {files.image_labels}" if challenge and files.image_labels else source
    images = find_sized_images(names, files.picture_folders, both)
    if len(images) < len(names):
        rows = rows.of_images(np.flatnonzero([name in images for name in names]))
    dataset_dicts = _dataset_dicts(rows, [*images.values()], source)
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
    challenge: bool = False,
    **metadata: Any,
) -> None:
    """Register a split of OpenImages' relationships under `name`. Files are read when the data set is loaded.

    Args:
        name: the name to use in `DATASETS.TRAIN` and `DATASETS.TEST`.
        root: see `load_openimages_vrd`.
        split: see `load_openimages_vrd`.
        mini: see `load_openimages_vrd`.
        train_dataset: name of its training split, for zero-shot recall; None if it is not known.
        challenge: see `load_openimages_vrd`.
        metadata: more metadata. The fields of `OpenImagesVocabulary` are set when the data set is first
            loaded. If something needs them earlier, give them here, `**asdict(VOCABULARY_2018)`, with
            `challenge` those of `challenge_vocabulary`; the files must then agree.

    Raises:
        ValueError: unknown split, or a mini subset of a split that has none, or of the challenge.
    """
    _check_split(split, mini, challenge)
    arguments = {"root": os.fspath(root), "split": split, "mini": mini, "dataset_name": name}
    if challenge:  # else the metadata `loaded_by` is that of earlier releases
        arguments["challenge"] = True
    register_relation_dataset(
        name,
        load_openimages_vrd,
        arguments,
        train_dataset=train_dataset,
        image_root=os.fspath(root),
        **metadata,
    )


def _check_split(split: str, mini: bool, challenge: bool) -> None:
    check_split(split)
    if mini and split not in MINI_SIZES:
        raise ValueError(f"Split {split!r} has no mini subset: the paper draws one of {tuple(MINI_SIZES)}.")
    if mini and challenge:
        raise ValueError("mini and challenge: the mini subset is one of the paper's, without attributes.")


def _verified_classes(
    files: SplitFiles, vocabulary: OpenImagesVocabulary, challenge: bool
) -> dict[str, NDArray[np.int64]]:
    """Image id -> verified classes; in the challenge only of ids that are names of files."""
    if files.image_labels is None:
        if challenge:
            logger.warning(
                "No file of image labels (*-vrd-labels.csv) beside %s: no class is known to be absent, and "
                "images that have only labels are missing, so that numbers differ from the official ones.",
                files.relationships,
            )  # fmt: skip
        return {}
    verified = read_image_labels(files.image_labels, vocabulary.class_labels)
    if challenge:  # else an id without relationships is not used
        ids = list(verified)
        outside = [ids[i] for i in names_outside(ids)]
        refuse(
            files.image_labels,
            ID_OUTSIDE,
            len(outside),
            lambda k: Refusal(f"image {outside[k]}", ID_OUTSIDE_PROBLEM, ID_OUTSIDE_REMEDY),
        )
        for image_id in outside:
            del verified[image_id]
    return verified


def _images_of_split(
    files: SplitFiles, rows: RelationshipRows, split: str, mini: bool, challenge: bool
) -> NDArray[np.int64]:
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
    chosen = np.flatnonzero(of_split if challenge else of_split & related)
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
        "%s: %d images of split %r have relationships; %d that have %s only are %s.",
        files.relationships, (of_split & related).sum(), split, (of_split & ~related).sum(),
        *(("image labels", "kept") if challenge else ("attributes", "left out")),
    )  # fmt: skip
    return _mini_subset(files, rows, split, chosen) if mini else chosen


def _mini_subset(
    files: SplitFiles, rows: RelationshipRows, split: str, chosen: NDArray[np.int64]
) -> NDArray[np.int64]:
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


def _set_notes(name: str, vocabulary: OpenImagesVocabulary, challenge: bool) -> None:
    metadata = MetadataCatalog.get(name)
    if metadata.get("evaluation_note") is None:
        note = _CHALLENGE if challenge else _WITHOUT_ATTRIBUTES
        numbers = {
            "predicates": len(vocabulary.predicate_labels),
            "attributes": len(vocabulary.attribute_labels),
        }
        metadata.set(evaluation_note=note.format(**numbers))
    if challenge and metadata.get("training_note") is None:
        metadata.set(training_note=_NOT_FOR_TRAINING)
