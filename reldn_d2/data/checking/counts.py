"""How large a data set is, and what is in it."""

from dataclasses import dataclass

import numpy as np
import torch

from reldn_d2.structures import boxes_overlap

from ..arrays import is_repeat
from .unchecked_arrays import IntArray, UncheckedArrays


@dataclass(frozen=True)
class Spread:
    """Numbers of things an image has."""

    minimum: int
    median: float
    maximum: int


@dataclass(frozen=True, eq=False)
class DatasetSummary:
    """
    Attributes:
        images: number of images; all numbers below leave out those whose dict is malformed.
        images_with_fewer_than_two_boxes, images_without_relationships: of them.
        entities, relationships: repeats and self relations included.
        entities_per_image, relationships_per_image: over all images.
        class_counts: (C,) entities of each class.
        predicate_counts: (P,) relationships of each predicate.
        pairs_with_several_predicates: ordered pairs of entities.
        relationships_without_overlap: between boxes that share no area; a filter by overlap loses them.
    """

    images: int
    images_with_fewer_than_two_boxes: int
    images_without_relationships: int
    entities: int
    relationships: int
    entities_per_image: Spread
    relationships_per_image: Spread
    class_counts: IntArray
    predicate_counts: IntArray
    pairs_with_several_predicates: int
    relationships_without_overlap: int


def summarise(arrays: UncheckedArrays, num_classes: int, num_predicates: int) -> DatasetSummary:
    """Count a data set of `num_classes` entity classes and `num_predicates` predicates."""
    readable = arrays.well_formed
    entities = np.diff(arrays.first_entity)[readable]
    relationships = np.diff(arrays.first_relation)[readable]
    return DatasetSummary(
        images=len(readable),
        images_with_fewer_than_two_boxes=int((entities < 2).sum()),
        images_without_relationships=int((relationships == 0).sum()),
        entities=len(arrays.classes),
        relationships=len(arrays.relations),
        entities_per_image=_spread(entities),
        relationships_per_image=_spread(relationships),
        class_counts=_histogram(arrays.classes, num_classes),
        predicate_counts=_histogram(arrays.relations[:, 2], num_predicates),
        pairs_with_several_predicates=_pairs_with_several_predicates(arrays),
        relationships_without_overlap=_without_overlap(arrays),
    )


def _spread(numbers: IntArray) -> Spread:
    if not len(numbers):
        return Spread(0, 0.0, 0)
    return Spread(int(numbers.min()), float(np.median(numbers)), int(numbers.max()))


def _histogram(numbers: IntArray, length: int) -> IntArray:
    known = numbers[(numbers >= 0) & (numbers < length)]
    return np.bincount(known, minlength=length)


def _pairs_with_several_predicates(arrays: UncheckedArrays) -> int:
    rows = np.concatenate([arrays.relation_image[:, None], arrays.relations], axis=1)
    distinct = rows[~is_repeat(rows)]
    # The second of several predicates repeats the pair, the third repeats it again.
    pairs = distinct[:, :3]
    again = pairs[is_repeat(pairs)]
    return int((~is_repeat(again)).sum())


def _without_overlap(arrays: UncheckedArrays) -> int:
    ends = arrays.ends
    ends = ends[(ends >= 0).all(axis=1)]
    subject, object = torch.from_numpy(arrays.boxes[ends]).unbind(1)
    return int((~boxes_overlap(subject, object)).sum())
