"""Queries: questions of an evaluator to a model about one image, besides the list of relationships.

Some metrics need scores that are in no ranked list: those of the annotated pairs, or that of a wrong triplet
which a right one must beat. An evaluator has queries for each image, the test loader puts them into the
model's input under "queries", and the model answers row by row.

Legend of shape letters:

    A  pairs asked about
    Q  triplets asked about
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Queries:
    """Questions about the annotated entities of one image.

    Attributes:
        pairs: (A, 2) long rows (subject, object). The answer is the probability of every predicate. Rows may
            repeat, and subject and object may be the same entity. Models answer pairs only if the entities
            are given (sgcls, prdcls).
        triplets: (Q, 3) long rows (subject, object, predicate). The answer is the score of each triplet, on
            the scale of the ranked list, and whether both entities were detected.

    Subjects and objects are positions in the image's "annotations". In the model they are rows of the input's
    "instances", which are the same at test time.
    """

    pairs: Tensor
    triplets: Tensor

    @staticmethod
    def from_rows(*, pairs: ArrayLike = (), triplets: ArrayLike = ()) -> "Queries":
        """Makes queries from rows of integers.

        Args:
            pairs: (A, 2) rows (subject, object).
            triplets: (Q, 3) rows (subject, object, predicate).

        Raises:
            ValueError: the rows have another shape, or are not integers.
        """
        return Queries(_long_rows(pairs, 2), _long_rows(triplets, 3))

    @staticmethod
    def nothing() -> "Queries":
        """No question: A and Q are 0."""
        return Queries.from_rows()

    @staticmethod
    def union(parts: Sequence["Queries"]) -> "Queries":
        """The queries of all parts, without repeating rows of later parts.

        The rows of the first part that has any stay as they are. New rows of later parts follow.
        """
        return Queries(
            _union([part.pairs for part in parts], 2), _union([part.triplets for part in parts], 3)
        )

    def __bool__(self) -> bool:
        """Whether there is any query."""
        return bool(len(self.pairs) or len(self.triplets))

    def to(self, device: torch.device | str) -> "Queries":
        """The same queries on a device."""
        return Queries(self.pairs.to(device), self.triplets.to(device))


def _long_rows(rows: ArrayLike, columns: int) -> Tensor:
    array = np.asarray(rows)
    if array.size == 0:
        return torch.zeros((0, columns), dtype=torch.long)
    if array.ndim != 2 or array.shape[1] != columns or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"queries must be rows of {columns} integers, not an array of shape {array.shape} and type "
            f"{array.dtype}"
        )
    return torch.from_numpy(array.astype(np.int64))


def _union(parts: Sequence[Tensor], columns: int) -> Tensor:
    parts = [rows for rows in parts if len(rows)]
    if not parts:
        return torch.zeros((0, columns), dtype=torch.long)
    if len(parts) == 1:
        return parts[0]
    known = set(map(tuple, parts[0].tolist()))
    added: list[list[int]] = []
    for rows in parts[1:]:
        for row in rows.tolist():
            if tuple(row) not in known:
                known.add(tuple(row))
                added.append(row)
    return torch.cat([parts[0], parts[0].new_tensor(added).reshape(-1, columns)])
