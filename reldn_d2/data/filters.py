"""Filters of relationships and images: those that training always applies, and optional ones."""

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from reldn_d2.structures import boxes_overlap
from reldn_d2.structures.dataset_dicts import DatasetDict, crowd_flags

from .arrays import DatasetArrays, dataset_arrays, is_repeat

logger = logging.getLogger(__name__)


def prepare_training_relations(dataset_dicts: list[DatasetDict], dataset_name: str) -> list[DatasetDict]:
    """Drop the relationships and images that no loss can learn from, and log how many.

    Three kinds are dropped, in this order: relationships of an entity with itself; repeats of a (subject,
    object, predicate) row of the same image, of which the first stays; images that have no relationship left.
    Entities stay.

    Args:
        dataset_dicts: the images; they are not modified.
        dataset_name: name of the data set, for messages.

    Returns:
        New dicts that share everything but `"relations"`, (R, 3) int64.

    Raises:
        ValueError: no image has a relationship, or relationships do not fit the annotations.
    """
    arrays = dataset_arrays(dataset_dicts)
    itself, repeat = _of_itself_and_repeats(arrays)
    kept = images_with_relations(_with_relations(dataset_dicts, arrays, ~itself & ~repeat))
    if not kept:
        raise ValueError(
            f"Data set {dataset_name!r} has no relationship to train on: {len(dataset_dicts)} images were "
            "read. Check the 'relations' of its annotation file."
        )
    logger.info(
        "Training relationships of %s: kept %d in %d images; dropped %d of an entity with itself, %d repeats "
        "and %d images without relationships.",
        dataset_name, len(repeat) - itself.sum() - repeat.sum(), len(kept), itself.sum(), repeat.sum(),
        len(dataset_dicts) - len(kept),
    )  # fmt: skip
    return kept


def count_training_relations(dataset_dicts: list[DatasetDict]) -> NDArray[np.int64]:
    """(I,) number of relationships of each image that `prepare_training_relations` keeps.

    Raises:
        ValueError: relationships do not fit the annotations.
    """
    arrays = dataset_arrays(dataset_dicts)
    itself, repeat = _of_itself_and_repeats(arrays)
    kept = np.concatenate([[0], np.cumsum(~itself & ~repeat)])
    counts: NDArray[np.int64] = np.diff(kept[arrays.first_relation])
    return counts


def _of_itself_and_repeats(arrays: DatasetArrays) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the relationships of an entity with itself, and of the other ones that are repeated."""
    itself: NDArray[np.bool_] = arrays.relations[:, 0] == arrays.relations[:, 1]
    return itself, is_repeat(arrays.relations) & ~itself


def one_relation_per_pair(dataset_dicts: list[DatasetDict], source: str) -> list[DatasetDict]:
    """Keep the first relationship of each ordered pair of entities, and log how many others were dropped.

    Args:
        dataset_dicts: the images; they are not modified.
        source: the file that the images were read from, for the log.

    Returns:
        New dicts that share everything but `"relations"`, (R, 3) int64.

    Raises:
        ValueError: relationships do not fit the annotations.
    """
    arrays = dataset_arrays(dataset_dicts)
    repeat = is_repeat(arrays.relations[:, :2])
    logger.info("%s: dropped %d relationships of pairs that have an earlier one.", source, repeat.sum())
    return _with_relations(dataset_dicts, arrays, ~repeat)


def overlapping_relations(dataset_dicts: list[DatasetDict], source: str) -> list[DatasetDict]:
    """Keep the relationships whose boxes share area, and log how many others were dropped.

    Boxes that only touch share no area. Arguments, result and errors are those of `one_relation_per_pair`.
    """
    arrays = dataset_arrays(dataset_dicts)
    subject, object = torch.from_numpy(arrays.boxes[arrays.relations[:, :2].T])
    overlap: NDArray[np.bool_] = boxes_overlap(subject, object).numpy()
    logger.info("%s: dropped %d relationships whose boxes share no area.", source, (~overlap).sum())
    return _with_relations(dataset_dicts, arrays, overlap)


def images_with_entities(dataset_dicts: list[DatasetDict]) -> list[DatasetDict]:
    """Keep the images with at least one entity that is no crowd, and log how many others were dropped.

    Detectron2's `filter_images_with_only_crowd_annotations` keeps the same images, but asks for the dict of
    every annotation.
    """
    kept = [dataset_dict for dataset_dict in dataset_dicts if not crowd_flags(dataset_dict).all()]
    logger.info(
        "Dropped %d of %d images: they have no entity, or only crowds.",
        len(dataset_dicts) - len(kept), len(dataset_dicts),
    )  # fmt: skip
    return kept


def images_with_relations(dataset_dicts: list[DatasetDict]) -> list[DatasetDict]:
    """The images that have at least one relationship."""
    return [dataset_dict for dataset_dict in dataset_dicts if len(dataset_dict["relations"])]


def _with_relations(
    dataset_dicts: list[DatasetDict], arrays: DatasetArrays, keep: NDArray[np.bool_]
) -> list[DatasetDict]:
    """Copies of the images with only the relationships for which `keep`, (R,), is true."""
    counts = np.diff(arrays.first_relation)
    image = np.repeat(np.arange(len(counts)), counts)[keep]
    relations = arrays.relations[keep]
    relations[:, :2] -= arrays.first_entity[image, None]
    last = np.cumsum(np.bincount(image, minlength=len(counts)))
    return [
        {**dataset_dict, "relations": rows}
        for dataset_dict, rows in zip(dataset_dicts, np.split(relations, last)[:-1], strict=True)
    ]
