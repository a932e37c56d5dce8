"""Counts of a data set: images, entities, relationships, classes and predicates."""

from dataclasses import dataclass

import numpy as np
import torch

from reldn_d2.structures import boxes_overlap

from ..arrays import is_repeat
from .unchecked_arrays import IntArray, UncheckedArrays


@dataclass(frozen=True)
class Spread:
    """Smallest, median and largest number of entities or relationships of an image."""

    minimum: int
    median: float
    maximum: int


@dataclass(frozen=True, eq=False)
class DatasetSummary:
    """The counts. An image whose dict is malformed counts only in `images`.

    Attributes:
        images: number of images.
        images_with_fewer_than_two_boxes: number of these images.
        images_without_relationships: number of these images.
        entities: number of entities, including repeats.
        relationships: number of relationships, including repeats and self relations.
        entities_per_image: number of entities of an image.
        relationships_per_image: number of relationships of an image.
        class_counts: (C,) entities of each class.
        predicate_counts: (P,) relationships of each predicate.
        pairs_with_several_predicates: number of ordered pairs of entities that have several predicates.
        relationships_without_overlap: number of relationships between boxes that share no area; a filter by
            overlap would drop them.
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
    """Count the content of a data set.

    Args:
        arrays: the content.
        num_classes: number of entity classes C.
        num_predicates: number of predicates P.
    """
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
    # the second predicate of a pair repeats the pair once, the third repeats it again
    pairs = distinct[:, :3]
    again = pairs[is_repeat(pairs)]
    return int((~is_repeat(again)).sum())


def _without_overlap(arrays: UncheckedArrays) -> int:
    rows = arrays.subject_object
    rows = rows[(rows >= 0).all(axis=1)]
    subject, object = torch.from_numpy(arrays.boxes[rows]).unbind(1)
    return int((~boxes_overlap(subject, object)).sum())
