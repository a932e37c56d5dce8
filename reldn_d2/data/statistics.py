"""Counting a training set: how often each predicate joins each pair of entity classes.

Legend of shape letters: C entity classes, P predicate classes (background is index P), K pairs of entities.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from reldn_d2.structures import boxes_overlap
from reldn_d2.structures.dataset_dicts import DatasetDict

from .arrays import DatasetArrays, check_vocabulary, dataset_arrays
from .cache import cached_array, digest

BackgroundCount = Literal["unrelated", "all"]
_IntArray = NDArray[np.int64]

# About how many pairs of entities are looked at together: bounds the memory, and is too little for PyTorch to split
# between threads, which would wait for each other on a busy machine.
_PAIRS_AT_ONCE = 2**13
# Of what the cache keeps: raise it when the counts of the same data change.
_VERSION = 2


def predicate_counts(
    dataset_dicts: Sequence[DatasetDict],
    num_classes: int,
    num_predicates: int,
    *,
    overlap_only: bool = False,
    background_count: BackgroundCount = "unrelated",
) -> NDArray[np.int64]:
    """Counts behind the semantic module, `p(predicate | subject class, object class)`, without smoothing.

    Every row of `"relations"` counts once for its predicate, wherever its boxes lie. The last column counts
    ordered pairs of distinct entities of an image: those that carry no relationship ("unrelated", the paper's
    text), or, as in the published code, all pairs of entities that are in some relationship, related pairs too
    ("all"). Pairs that differ only in several annotated predicates are one pair there.

    Args:
        dataset_dicts: the training images; with "unrelated", those without relationships add to the last column too.
        num_classes, num_predicates: C and P.
        overlap_only: count in the last column only pairs whose boxes share area.
        background_count: "unrelated" or "all". The latter follows the published code also where no such pair of an
            image overlaps: then `overlap_only` counts all of them.

    Returns:
        (C, C, P + 1) counts, indexed [subject class, object class, predicate].

    Raises:
        ValueError: unknown `background_count`; a class outside [0, C) or a predicate outside [0, P).
    """
    arrays = _checked_arrays(dataset_dicts, num_classes, num_predicates, background_count)
    return _count(arrays, num_classes, num_predicates, overlap_only, background_count)


def cached_predicate_counts(
    dataset_dicts: Sequence[DatasetDict],
    num_classes: int,
    num_predicates: int,
    *,
    overlap_only: bool = False,
    background_count: BackgroundCount = "unrelated",
) -> NDArray[np.int64]:
    """As `predicate_counts`, which is called once for the same content and options: the user's cache keeps the result.

    The annotations themselves are the key, so that changed data are counted anew; image files do not matter, nor do
    boxes without `overlap_only`. On 62,723 images with 723,000 entities the digest of them takes 0.02 s and the count that
    it saves 0.3 s, with `overlap_only` 0.5 s; both need the flat arrays first, which takes 0.2 s.
    """
    arrays = _checked_arrays(dataset_dicts, num_classes, num_predicates, background_count)
    options = f"{num_classes} {num_predicates} {overlap_only} {background_count}"
    boxes = [arrays.boxes] if overlap_only else []
    counts = cached_array(
        "statistics",
        _VERSION,
        digest([options, arrays.first_entity, arrays.classes, arrays.relations, *boxes]),
        lambda: _count(arrays, num_classes, num_predicates, overlap_only, background_count),
    )
    return counts.astype(np.int64, copy=False)


def _checked_arrays(
    dataset_dicts: Sequence[DatasetDict], num_classes: int, num_predicates: int, background_count: str
) -> DatasetArrays:
    if background_count not in ("unrelated", "all"):
        raise ValueError(f"background_count must be 'unrelated' or 'all', not {background_count!r}.")
    arrays = dataset_arrays(dataset_dicts)
    check_vocabulary(arrays, dataset_dicts, num_classes, num_predicates)
    return arrays


def _count(
    arrays: DatasetArrays,
    num_classes: int,
    num_predicates: int,
    overlap_only: bool,
    background_count: BackgroundCount,
) -> _IntArray:
    shape = (num_classes, num_classes, num_predicates + 1)
    subject, object, predicate = arrays.relations.T
    cells = np.ravel_multi_index((arrays.classes[subject], arrays.classes[object], predicate), shape)
    counts = np.bincount(cells, minlength=np.prod(shape)).reshape(shape)
    counts[..., num_predicates] = _background(arrays, num_classes, overlap_only, background_count)
    return counts


def _background(
    arrays: DatasetArrays, num_classes: int, overlap_only: bool, background_count: BackgroundCount
) -> _IntArray:
    """(C, C) counts of the last column."""
    if background_count == "all":
        arrays = _entities_in_relations(arrays)
    counts = np.zeros((num_classes, num_classes), dtype=np.int64)
    for first, second in _entity_pairs(arrays):
        if overlap_only:
            counted = _overlapping(arrays, first, second)
            if background_count == "all":
                image = np.searchsorted(arrays.first_entity, first, side="right")
                counted |= ~np.isin(image, image[counted])
            first, second = first[counted], second[counted]
        # Both directions count or neither does.
        pairs = _class_pairs(arrays, first, second, num_classes)
        counts += pairs + pairs.T
    if background_count == "unrelated":
        # An ordered pair with several predicates was counted once, an entity with itself never.
        pair = np.unique(arrays.relations[:, 0] * len(arrays.classes) + arrays.relations[:, 1])
        subject, object = np.divmod(pair, len(arrays.classes))
        counted = subject != object
        if overlap_only:
            counted &= _overlapping(arrays, subject, object)
        counts -= _class_pairs(arrays, subject[counted], object[counted], num_classes)
    return counts


def _entities_in_relations(arrays: DatasetArrays) -> DatasetArrays:
    """Without the entities that are in no relationship, and without the relationships, whose rows would be others."""
    kept = np.zeros(len(arrays.classes), dtype=np.bool_)
    kept[arrays.relations[:, :2]] = True
    return replace(
        arrays,
        boxes=arrays.boxes[kept],
        classes=arrays.classes[kept],
        first_entity=np.concatenate([[0], np.cumsum(kept)])[arrays.first_entity],
        relations=arrays.relations[:0],
        first_relation=np.zeros_like(arrays.first_relation),
    )


def _entity_pairs(arrays: DatasetArrays) -> Iterator[tuple[_IntArray, _IntArray]]:
    """Entity rows (K,), (K,) of all unordered pairs inside an image, piece by piece; no image is cut in two."""
    entities = np.diff(arrays.first_entity)
    pairs_before = np.cumsum([0, *(entities * (entities - 1) // 2)])
    cuts = np.searchsorted(pairs_before, np.arange(0, pairs_before[-1], _PAIRS_AT_ONCE))
    rows = arrays.first_entity[np.unique([0, *cuts, len(entities)])]
    # of the entities that come after each in its image
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


def _class_pairs(arrays: DatasetArrays, first: _IntArray, second: _IntArray, num_classes: int) -> _IntArray:
    """(C, C) how many of the pairs (K,), (K,) of entity rows join each two classes."""
    cells = arrays.classes[first] * num_classes + arrays.classes[second]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
