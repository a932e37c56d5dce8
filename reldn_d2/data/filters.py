"""Filters of relationships and images: those that training always applies, and optional ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from reldn_d2.structures import boxes_overlap
from reldn_d2.structures.dataset_dicts import DatasetDict, crowd_flags, describe, entity_boxes

from .arrays import DatasetArrays, dataset_arrays, is_repeat

logger = logging.getLogger(__name__)

_BoolArray = NDArray[np.bool_]

# Sides of a box, in pixels, up to which Detectron2's `filter_empty_instances` calls it empty.
_LEAST_SIDE = 1e-5
# How many images a warning names.
_NAMED = 5


def prepare_training_relations(dataset_dicts: list[DatasetDict], dataset_name: str) -> list[DatasetDict]:
    """Drop the relationships and images that no loss can learn from, and log how many.

    Four kinds are dropped, in this order: relationships of an entity with itself; relationships of an entity
    that training drops, a crowd or a box without area in its image; repeats of a (subject, object, predicate)
    row of the same image, of which the first stays; images that have no relationship left. Entities stay:
    the mapper drops crowds and empty boxes. A warning names the images that lose all of their relationships
    with dropped entities.

    Args:
        dataset_dicts: the images; they are not modified.
        dataset_name: name of the data set, for messages.

    Returns:
        New dicts that share everything but `"relations"`, (R, 3) int64.

    Raises:
        ValueError: no image has a relationship, or relationships do not fit the annotations.
    """
    arrays = dataset_arrays(dataset_dicts)
    dropped = _dropped(dataset_dicts, arrays)
    related = _with_relations(dataset_dicts, arrays, dropped.kept)
    kept = images_with_relations(related)
    if not kept:
        raise ValueError(
            f"Data set {dataset_name!r} has no relationship to train on: {len(dataset_dicts)} images were "
            f"read; {_in_words(dropped)} were left out. Check the 'relations' of its annotation file."
        )
    logger.info(
        "Training relationships of %s: kept %d in %d images; dropped %s and %d images without relationships.",
        dataset_name, dropped.kept.sum(), len(kept), _in_words(dropped), len(dataset_dicts) - len(kept),
    )  # fmt: skip
    _say_lost_images(dataset_dicts, related, arrays, dropped, dataset_name)
    return kept


def count_training_relations(dataset_dicts: list[DatasetDict]) -> NDArray[np.int64]:
    """(I,) number of relationships of each image that `prepare_training_relations` keeps.

    Raises:
        ValueError: relationships do not fit the annotations.
    """
    arrays = dataset_arrays(dataset_dicts)
    kept = np.concatenate([[0], np.cumsum(_dropped(dataset_dicts, arrays).kept)])
    counts: NDArray[np.int64] = np.diff(kept[arrays.first_relation])
    return counts


@dataclass(frozen=True)
class _Dropped:
    """Relationships that training drops; each has at most one reason.

    Attributes:
        itself: (R,) whether one joins an entity with itself.
        unusable: (R,) whether one ends in a crowd or in a box without area.
        repeat: (R,) whether one repeats an earlier one.
    """

    itself: _BoolArray
    unusable: _BoolArray
    repeat: _BoolArray

    @property
    def kept(self) -> _BoolArray:
        """(R,) whether training keeps a relationship."""
        kept: _BoolArray = ~self.itself & ~self.unusable & ~self.repeat
        return kept


def _dropped(dataset_dicts: Sequence[DatasetDict], arrays: DatasetArrays) -> _Dropped:
    itself: _BoolArray = arrays.relations[:, 0] == arrays.relations[:, 1]
    crowd, empty = _crowds_and_empty_boxes(dataset_dicts, arrays.boxes)
    unusable = (crowd | empty)[arrays.relations[:, :2]].any(axis=1) & ~itself
    return _Dropped(itself, unusable, is_repeat(arrays.relations) & ~itself & ~unusable)


def _in_words(dropped: _Dropped) -> str:
    words = f"{dropped.itself.sum()} of an entity with itself, {dropped.repeat.sum()} repeats"
    unusable = dropped.unusable.sum()
    return f"{words}, {unusable} of crowds or of boxes without area" if unusable else words


def _say_lost_images(
    dataset_dicts: Sequence[DatasetDict],
    related: Sequence[DatasetDict],
    arrays: DatasetArrays,
    dropped: _Dropped,
    dataset_name: str,
) -> None:
    """Names the images that are left without relationships because of the entities that training drops."""
    unusable = np.concatenate([[0], np.cumsum(dropped.unusable)])
    had = np.diff(unusable[arrays.first_relation]) > 0
    lost = [
        old
        for old, new, x in zip(dataset_dicts, related, had, strict=True)
        if x and not len(new["relations"])
    ]
    if lost:
        logger.warning(
            "%s: %d images are not trained on, since all of their relationships are of crowds or of boxes "
            "without area: %s%s",
            dataset_name, len(lost), ", ".join(map(describe, lost[:_NAMED])), ", ..." * (len(lost) > _NAMED),
        )  # fmt: skip


def _crowds_and_empty_boxes(
    dataset_dicts: Sequence[DatasetDict], boxes: NDArray[np.float64]
) -> tuple[_BoolArray, _BoolArray]:
    """(N,) whether an entity is a crowd, and (N,) whether its box has no area in its image.

    These are the entities that the mapper drops in training, whatever the augmentation is.

    Args:
        dataset_dicts: the images. An image without "width" and "height" has no edges.
        boxes: (N, 4) boxes of their entities.
    """
    flags = [crowd_flags(image) for image in dataset_dicts]
    crowd: _BoolArray = np.concatenate([np.zeros(0, dtype=np.bool_), *flags])
    sides = np.array([(x.get("width", np.inf), x.get("height", np.inf)) for x in dataset_dicts], np.float32)
    ends = np.repeat(sides.reshape(-1, 2), [len(x) for x in flags], axis=0)
    # In float32, as the mapper's boxes.
    near, far = boxes[:, :2].astype(np.float32), boxes[:, 2:].astype(np.float32)
    inside: NDArray[np.float32] = np.clip(far, 0, ends) - np.clip(near, 0, ends)
    empty: _BoolArray = (inside[:, 0] <= _LEAST_SIDE) | (inside[:, 1] <= _LEAST_SIDE)
    return crowd, empty


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
    """Keep the images with an entity that training keeps, and log how many images and entities are dropped.

    Crowds and boxes without area are dropped. Detectron2's `filter_images_with_only_crowd_annotations` keeps
    the same images where no box is empty, but asks for the dict of every annotation.

    Raises:
        ValueError: no image has such an entity.
    """
    crowd, empty = _unusable_entities(dataset_dicts)
    used = _kept_in_images(dataset_dicts, ~(crowd | empty))
    kept = [image for image, number in zip(dataset_dicts, used, strict=True) if number]
    logger.info(
        "Training entities: kept %d in %d images; dropped %d crowds, %d boxes without area and %d images "
        "without entities.",
        used.sum(), len(kept), crowd.sum(), (empty & ~crowd).sum(), len(dataset_dicts) - len(kept),
    )  # fmt: skip
    if not kept:
        raise ValueError(
            f"no image has an entity to train on: of {len(dataset_dicts)} images, {crowd.sum()} entities are "
            f"crowds and {(empty & ~crowd).sum()} boxes have no area. Check the annotations of DATASETS.TRAIN"
        )
    return kept


def count_training_entities(dataset_dicts: Sequence[DatasetDict]) -> NDArray[np.int64]:
    """(I,) number of entities of each image that training keeps."""
    crowd, empty = _unusable_entities(dataset_dicts)
    return _kept_in_images(dataset_dicts, ~(crowd | empty))


def _unusable_entities(dataset_dicts: Sequence[DatasetDict]) -> tuple[_BoolArray, _BoolArray]:
    """See `_crowds_and_empty_boxes`."""
    boxes = np.concatenate([np.zeros((0, 4)), *map(entity_boxes, dataset_dicts)])
    return _crowds_and_empty_boxes(dataset_dicts, boxes)


def _kept_in_images(dataset_dicts: Sequence[DatasetDict], kept: _BoolArray) -> NDArray[np.int64]:
    """(I,) number of kept entities of each image, from (N,) flags."""
    first = np.cumsum([0, *(len(image["annotations"]) for image in dataset_dicts)])
    counts: NDArray[np.int64] = np.diff(np.concatenate([[0], np.cumsum(kept)])[first])
    return counts


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
