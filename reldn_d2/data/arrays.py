"""A whole data set as flat arrays, for code that uses all of its images at once.

Legend of shape letters:

    I  images
    N  entities of all images, image after image
    R  relationships of all images, image after image; repeats and self relations included
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reldn_d2.structures.dataset_dicts import (
    DatasetDict,
    describe,
    entity_boxes,
    entity_classes,
    relation_rows,
)


@dataclass(frozen=True)
class DatasetArrays:
    """Entities and relationships of a data set.

    Attributes:
        boxes: (N, 4) float64, XYXY in absolute pixels of the entity's image.
        classes: (N,) int64.
        first_entity: (I + 1,) int64; image i has the entities first_entity[i]:first_entity[i + 1].
        relations: (R, 3) int64 rows (subject, object, predicate). Subject and object are rows of `boxes`, not
            positions in their image.
        first_relation: (I + 1,) int64; image i has the relationships first_relation[i]:first_relation[i + 1].
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    first_entity: NDArray[np.int64]
    relations: NDArray[np.int64]
    first_relation: NDArray[np.int64]


def dataset_arrays(dataset_dicts: Sequence[DatasetDict]) -> DatasetArrays:
    """Flatten dataset dicts.

    Raises:
        ValueError: the relationships of an image do not fit its annotations; the message names the image.
    """
    classes = [entity_classes(dataset_dict) for dataset_dict in dataset_dicts]
    rows = [_unchecked_rows(dataset_dict) for dataset_dict in dataset_dicts]
    first_entity, first_relation = _starts(classes), _starts(rows)
    relations = np.concatenate([np.zeros((0, 3), dtype=np.int64), *rows])
    image = np.repeat(np.arange(len(rows)), np.diff(first_relation))
    subject_object, counts = relations[:, :2], np.diff(first_entity)[image]
    wrong = (relations < 0).any(axis=1) | (subject_object >= counts[:, None]).any(axis=1)
    if wrong.any():
        relation_rows(dataset_dicts[image[wrong.argmax()]])  # raises, and names the wrong row
    subject_object += first_entity[image][:, None]
    return DatasetArrays(
        boxes=np.concatenate([np.zeros((0, 4)), *map(entity_boxes, dataset_dicts)]),
        classes=np.concatenate([np.zeros(0, dtype=np.int64), *classes]),
        first_entity=first_entity,
        relations=relations,
        first_relation=first_relation,
    )


def check_vocabulary(
    arrays: DatasetArrays, dataset_dicts: Sequence[DatasetDict], num_classes: int, num_predicates: int
) -> None:
    """Check that every class and every predicate is in the vocabulary.

    Args:
        arrays: the result of `dataset_arrays`.
        dataset_dicts: the same images; messages name them.
        num_classes: number of entity classes.
        num_predicates: number of predicates.

    Raises:
        ValueError: a class outside [0, num_classes) or a predicate outside [0, num_predicates).
    """
    for values, first, limit, what in (
        (arrays.classes, arrays.first_entity, num_classes, "category_id"),
        (arrays.relations[:, 2], arrays.first_relation, num_predicates, "predicate"),
    ):
        wrong = (values < 0) | (values >= limit)
        if wrong.any():
            row = wrong.argmax()
            image = int(np.searchsorted(first, row, side="right")) - 1
            raise ValueError(
                f"{describe(dataset_dicts[image])} has {what} {values[row]}, outside [0, {limit}). The "
                "number of classes in the config must be that of the data set."
            )


def _unchecked_rows(dataset_dict: DatasetDict) -> NDArray[np.int64]:
    """(R, 3) rows of an image; only their shape is checked. The values of all images are checked at once."""
    given = dataset_dict.get("relations")
    if isinstance(given, np.ndarray) and given.dtype == np.int64 and given.shape[1:] == (3,):
        return given
    return relation_rows(dataset_dict)


def _starts(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """(I + 1,) row where each part begins in the concatenation of all parts; the last is its length."""
    return np.cumsum([0, *map(len, parts)], dtype=np.int64)


def is_repeat(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """(K,) whether a row repeats an earlier row.

    Args:
        rows: (K, D) numbers; NaN does not equal NaN.
    """
    repeat = np.zeros(len(rows), dtype=np.bool_)
    # the sort is stable, so that the first of equal rows stays first
    order = np.lexsort(rows.T[::-1])
    ordered = rows[order]
    repeat[order[1:]] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return repeat
