"""Statistics of a data set: counts for the semantic module, repeat factors, and zero-shot triplets.

Legend of shape letters:

    C  entity classes
    P  predicate classes; background is index P
    K  pairs of entities
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.samplers import RepeatFactorTrainingSampler
from numpy.typing import NDArray
from torch import Tensor

from reldn_d2.structures import boxes_overlap
from reldn_d2.structures.dataset_dicts import DatasetDict, relation_rows
from reldn_d2.structures.predicate_counts import PredicateCounts, SparsePredicateCounts, is_large

from .arrays import DatasetArrays, check_vocabulary, dataset_arrays

logger = logging.getLogger(__name__)

BackgroundCount = Literal["unrelated", "all"]
_IntArray = NDArray[np.int64]

# About how many pairs of entities are compared at once. This limits the memory. It is also too few pairs for
# PyTorch to use several threads, which would wait for each other on a busy machine.
_PAIRS_AT_ONCE = 2**13


def predicate_counts(
    dataset_dicts: Sequence[DatasetDict],
    num_classes: int,
    num_predicates: int,
    *,
    overlap_only: bool = False,
    background_count: BackgroundCount = "unrelated",
) -> PredicateCounts:
    """Count how often each predicate joins each pair of entity classes, for the semantic module.

    The counts are those of `p(predicate | subject class, object class)`, without smoothing. Every row of
    `"relations"` counts once for its predicate, wherever its boxes lie. The last column counts ordered pairs
    of distinct entities of an image, each pair once:

    * "unrelated", the paper's text: pairs without a relationship;
    * "all", the published code: all pairs of boxes that occur in some relationship, related pairs included.
      Annotated entities with equal boxes are one, of the class of the first one. A box holds its last pixel,
      so boxes overlap if x1 of one is below x2 + 1 of the other, and so on.

    Args:
        dataset_dicts: the training images. With "unrelated", images without relationships add to the last
            column too.
        num_classes: number of entity classes C.
        num_predicates: number of predicate classes P.
        overlap_only: count in the last column only pairs whose boxes share area (with "all": or pixels).
        background_count: "unrelated" or "all". With "all", `overlap_only` has no effect on an image in which
            no pair overlaps, as in the published code: all of its pairs count.

    Returns:
        (C, C, P + 1) counts, indexed [subject class, object class, predicate]. For a vocabulary whose table
        would be larger than 256 MB (`is_large`), only what occurs, which `np.asarray` makes an array of.

    Raises:
        ValueError: unknown `background_count`; a class outside [0, C) or a predicate outside [0, P).
    """
    if background_count not in ("unrelated", "all"):
        raise ValueError(f"background_count must be 'unrelated' or 'all', not {background_count!r}.")
    arrays = dataset_arrays(dataset_dicts)
    check_vocabulary(arrays, dataset_dicts, num_classes, num_predicates)
    triplets = _label_numbers(arrays, num_classes, num_predicates)
    background = _background(arrays, num_classes, overlap_only, background_count)
    if is_large(num_classes, num_predicates):
        occurring, times = np.unique(triplets, return_counts=True)
        return SparsePredicateCounts(num_classes, num_predicates, occurring, times, background)
    shape = (num_classes, num_classes, num_predicates + 1)
    # each pair of classes has one more column than predicates
    cells = triplets + triplets // num_predicates
    counts = np.bincount(cells, minlength=np.prod(shape)).reshape(shape)
    counts[..., num_predicates] = background
    return counts


def predicate_repeat_factors(
    dataset_dicts: Sequence[DatasetDict], threshold: float, *, sqrt: bool = True
) -> Tensor:
    """How often each image is drawn in an epoch, on average, so that rare predicates are drawn more often.

    Let f(p) be the share of images that have predicate p. The factor of an image is the largest max(1,
    threshold / f(p)) of its predicates. This is the rule of Detectron2's RepeatFactorTrainingSampler, with
    predicates instead of classes.

    Args:
        dataset_dicts: the training images.
        threshold: share of images below which a predicate is rare, `DATALOADER.REPEAT_THRESHOLD`.
        sqrt: take the square root of threshold / f(p), `DATALOADER.REPEAT_SQRT`.

    Returns:
        (I,) float32, at least 1; 1 for an image without relationships.

    Raises:
        ValueError: the threshold is not positive, so no image would be drawn more often; an image has no
            `"relations"`, or invalid ones.
    """
    if not threshold > 0:
        raise ValueError(
            f"DATALOADER.REPEAT_THRESHOLD is {threshold}, so no predicate is rare and no image would be "
            "repeated. Set it to the share of images below which a predicate is rare (such as 0.01), or "
            "choose another SAMPLER_TRAIN."
        )
    # Detectron2's function reads only the classes of the annotations
    as_categories = [
        {"annotations": [{"category_id": p} for p in set(relation_rows(dataset_dict)[:, 2].tolist())]}
        for dataset_dict in dataset_dicts
    ]
    logger.info("Repeat factors by predicate: predicates are the categories (Cat ID) that Detectron2 lists.")
    factors: Tensor = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        as_categories, threshold, sqrt=sqrt
    )
    repeated, epoch = int((factors > 1).sum()), float(factors.sum())
    logger.info("%d of %d images are repeated: %.0f are drawn in an epoch.", repeated, len(factors), epoch)
    return factors


def zero_shot_triplets(dataset_name: str) -> NDArray[np.int64]:
    """Label triplets that are annotated in a data set, but never in its training split.

    The first call reads both data sets and stores the triplets as a list in the metadata
    `zero_shot_triplets`. If the metadata already have that list, nothing is read.

    Args:
        dataset_name: a registered data set whose metadata name its training split as `train_dataset`.

    Returns:
        (Z, 3) rows (subject class, object class, predicate), sorted, without repeats.

    Raises:
        KeyError: a data set is not registered.
        FileNotFoundError: a file of a data set is missing.
        ValueError: the metadata name no training split; the two data sets have different names of classes or
            predicates; an annotation is invalid.
    """
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("zero_shot_triplets") is None:
        train_dataset = metadata.get("train_dataset")
        if train_dataset is None:
            raise ValueError(
                f"The metadata of data set {dataset_name!r} name no training split. Give train_dataset where "
                f"it is registered, or MetadataCatalog.get({dataset_name!r}).set(train_dataset=...)."
            )
        (things, predicates), annotated = _label_triplets(dataset_name)
        names, seen = _label_triplets(train_dataset)
        if names != (things, predicates):
            raise ValueError(
                f"{train_dataset!r} is not a training split of {dataset_name!r}: the names of its classes or "
                "predicates differ. Register the two with the same lists."
            )
        unseen = np.setdiff1d(annotated, seen)
        rows = np.unravel_index(unseen, (len(things), len(things), len(predicates)))
        metadata.set(zero_shot_triplets=np.stack(rows, axis=1).tolist())
    return np.array(metadata.zero_shot_triplets, dtype=np.int64).reshape(-1, 3)


def _label_triplets(dataset_name: str) -> tuple[tuple[list[str], list[str]], NDArray[np.int64]]:
    """Names of classes and predicates, and (R,) one number for the three labels of each relationship."""
    # This comes first, because a loader may read the names from its file.
    dataset_dicts = DatasetCatalog.get(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    things, predicates = list(metadata.thing_classes), list(metadata.predicate_classes)
    arrays = dataset_arrays(dataset_dicts)
    check_vocabulary(arrays, dataset_dicts, len(things), len(predicates))
    return (things, predicates), _label_numbers(arrays, len(things), len(predicates))


def _label_numbers(arrays: DatasetArrays, num_classes: int, num_predicates: int) -> _IntArray:
    """(R,) `(subject class * C + object class) * P + predicate` of each relationship."""
    subject, object, predicate = arrays.relations.T
    pair = arrays.classes[subject] * num_classes + arrays.classes[object]
    numbers: _IntArray = pair * num_predicates + predicate
    return numbers


def _background(
    arrays: DatasetArrays, num_classes: int, overlap_only: bool, background_count: BackgroundCount
) -> _IntArray:
    """(C, C) counts of the last column."""
    if background_count == "all":
        arrays = _boxes_in_relations(arrays)
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    for first, second in _entity_pairs(arrays):
        if overlap_only:
            counted = _overlapping(arrays, first, second)
            if background_count == "all":
                image = np.searchsorted(arrays.first_entity, first, side="right")
                counted |= ~np.isin(image, image[counted])
            first, second = first[counted], second[counted]
        _add_pairs(counts, arrays, first, second, 1)
    counts += counts.T.copy()  # a pair counts in both directions or in neither
    if background_count == "unrelated":
        # Subtract the related pairs. A pair with several predicates was counted once above. An entity with
        # itself was not counted.
        pair = np.unique(arrays.relations[:, 0] * len(arrays.classes) + arrays.relations[:, 1])
        subject, object = np.divmod(pair, len(arrays.classes))
        counted = subject != object
        if overlap_only:
            counted &= _overlapping(arrays, subject, object)
        _add_pairs(counts, arrays, subject[counted], object[counted], -1)
    return counts


def _boxes_in_relations(arrays: DatasetArrays) -> DatasetArrays:
    """The boxes that occur in a relationship, each once, as the published code counts them.

    Of entities with equal boxes, the first one is kept. Boxes are made larger by the last pixel. Rows change,
    so `relations` is left empty.
    """
    kept = np.zeros(len(arrays.classes), dtype=np.bool_)
    kept[arrays.relations[:, :2]] = True
    image = np.repeat(np.arange(len(arrays.first_entity) - 1), np.diff(arrays.first_entity))
    rows = np.flatnonzero(kept)
    table = np.column_stack([image[rows], arrays.boxes[rows]])
    order = np.lexsort(table.T)  # stable: the first of equal rows stays the first
    repeated = (table[order[1:]] == table[order[:-1]]).all(axis=1)
    kept[rows[order[1:][repeated]]] = False
    return replace(
        arrays,
        boxes=arrays.boxes[kept] + [0, 0, 1, 1],
        classes=arrays.classes[kept],
        first_entity=np.concatenate([[0], np.cumsum(kept)])[arrays.first_entity],
        relations=arrays.relations[:0],
        first_relation=np.zeros_like(arrays.first_relation),
    )


def _entity_pairs(arrays: DatasetArrays) -> Iterator[tuple[_IntArray, _IntArray]]:
    """All unordered pairs of entities of an image, as rows (K,), (K,), in pieces that hold whole images."""
    entities = np.diff(arrays.first_entity)
    pairs_before = np.cumsum([0, *(entities * (entities - 1) // 2)])
    cuts = np.searchsorted(pairs_before, np.arange(0, pairs_before[-1], _PAIRS_AT_ONCE))
    rows = arrays.first_entity[np.unique([0, *cuts, len(entities)])]
    # for each entity, the number of entities that follow it in its image
    partners = np.repeat(arrays.first_entity[1:], entities) - np.arange(len(arrays.classes)) - 1
    for start, end in pairwise(rows):
        count = partners[start:end]
        first = np.repeat(np.arange(start, end), count)
        place = np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
        yield first, first + 1 + place


def _overlapping(arrays: DatasetArrays, first: _IntArray, second: _IntArray) -> NDArray[np.bool_]:
    """(K,) whether the boxes of two entity rows share area."""
    a, b = torch.from_numpy(arrays.boxes[first]), torch.from_numpy(arrays.boxes[second])
    overlap: NDArray[np.bool_] = boxes_overlap(a, b).numpy()
    return overlap


def _add_pairs(
    counts: _IntArray, arrays: DatasetArrays, first: _IntArray, second: _IntArray, number: int
) -> None:
    """Adds a number to the (C, C) counts, in place, for each of the pairs (K,), (K,) of entity rows."""
    # In time and memory of the pairs. A histogram of each piece would be one of all pairs of classes.
    np.add.at(counts.reshape(-1), arrays.classes[first] * len(counts) + arrays.classes[second], number)
