"""Counting a training set: how often each predicate joins each pair of entity classes.

Legend of shape letters: C entity classes, P predicate classes (background is index P), E entities and
R relationships of one image.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from reldn_d2.structures import boxes_overlap

from .dataset_dicts import DatasetDict, describe, entity_boxes, entity_classes, relation_rows

BackgroundCount = Literal["unrelated", "all"]

# How many images' table cells are collected before they are added up: bounds the memory of large sets.
_IMAGES_AT_ONCE = 2000


def predicate_counts(
    dataset_dicts: list[DatasetDict],
    num_classes: int,
    num_predicates: int,
    *,
    overlap_only: bool = False,
    background_count: BackgroundCount = "unrelated",
) -> NDArray[np.int64]:
    """Counts behind the semantic module, `p(predicate | subject class, object class)`, without smoothing.

    Every row of `"relations"` counts once for its predicate, wherever its boxes lie. The last column counts
    ordered pairs of distinct entities of an image: those that carry no relationship ("unrelated", the paper's
    text), or all of them, related ones too ("all", the published code). Pairs that differ only in several
    annotated predicates are one pair there.

    Args:
        dataset_dicts: the training images; those without relationships add to the last column too.
        num_classes, num_predicates: C and P.
        overlap_only: count in the last column only pairs whose boxes share area.
        background_count: "unrelated" or "all". The latter follows the published code also where no pair of an
            image overlaps: then `overlap_only` counts all its pairs.

    Returns:
        (C, C, P + 1) counts, indexed [subject class, object class, predicate].

    Raises:
        ValueError: unknown `background_count`; a class outside [0, C) or a predicate outside [0, P).
    """
    if background_count not in ("unrelated", "all"):
        raise ValueError(f"background_count must be 'unrelated' or 'all', not {background_count!r}.")
    shape = (num_classes, num_classes, num_predicates + 1)
    counts = np.zeros(shape, dtype=np.int64).reshape(-1)
    for start in range(0, len(dataset_dicts), _IMAGES_AT_ONCE):
        cells = []
        for dataset_dict in dataset_dicts[start : start + _IMAGES_AT_ONCE]:
            classes = entity_classes(dataset_dict)
            relations = relation_rows(dataset_dict)
            _check_ranges(dataset_dict, classes, relations, num_classes, num_predicates)
            subject, object = _background_pairs(dataset_dict, relations, overlap_only, background_count)
            background = np.full(len(subject), num_predicates)
            ends = classes[relations[:, :2]]
            cells += [
                np.ravel_multi_index((ends[:, 0], ends[:, 1], relations[:, 2]), shape),
                np.ravel_multi_index((classes[subject], classes[object], background), shape),
            ]
        counts += np.bincount(np.concatenate(cells), minlength=counts.size)
    return counts.reshape(shape)


def _background_pairs(
    dataset_dict: DatasetDict,
    relations: NDArray[np.int64],
    overlap_only: bool,
    background_count: BackgroundCount,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Subject and object rows of the image's ordered pairs that count as background."""
    counted = ~np.eye(len(dataset_dict["annotations"]), dtype=bool)
    if overlap_only:
        boxes = torch.from_numpy(entity_boxes(dataset_dict))
        overlapping = counted & boxes_overlap(boxes[:, None], boxes[None]).numpy()
        if overlapping.any() or background_count == "unrelated":
            counted = overlapping
    if background_count == "unrelated":
        counted[relations[:, 0], relations[:, 1]] = False
    subject, object = counted.nonzero()
    return subject, object


def _check_ranges(
    dataset_dict: DatasetDict,
    classes: NDArray[np.int64],
    relations: NDArray[np.int64],
    num_classes: int,
    num_predicates: int,
) -> None:
    for values, limit, what in (
        (classes, num_classes, "category_id"),
        (relations[:, 2], num_predicates, "predicate"),
    ):
        wrong = values[(values < 0) | (values >= limit)]
        if len(wrong):
            raise ValueError(
                f"{describe(dataset_dict)} has {what} {wrong[0]}, outside [0, {limit}). The number of "
                "classes in the config must be that of the data set."
            )
