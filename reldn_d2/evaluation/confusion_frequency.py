"""How frequent the two confusions are in a data set: how many relationships could be confused at all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .graphs import GroundTruthGraph, IntArray
from .protocols.confusion import KINDS


@dataclass(frozen=True, eq=False)
class ConfusionFrequency:
    """
    Attributes:
        relationships: (N,) distinct annotated relationships of each image, those of an entity with itself included.
        cases: "instance" and "proximity" -> (N,) how many of them are such a case.
    """

    relationships: IntArray
    cases: Mapping[str, IntArray]

    @property
    def confusable_images(self) -> int:
        """Images with a case of either kind: the confusion subset."""
        return int(np.any([*self.cases.values()], axis=0).sum())


def confusion_frequency(truths: Iterable[GroundTruthGraph]) -> ConfusionFrequency:
    """Count the cases of protocol `confusion` in N images.

    Args:
        truths: annotation of each image, with indices in range and finite boxes.
    """
    relationships: list[int] = []
    cases: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for truth in truths:
        relationships.append(len(np.unique(truth.relations, axis=0)))
        for kind, cases_of in KINDS.items():
            cases[kind].append(len(cases_of(truth).right))
    return ConfusionFrequency(
        np.array(relationships, dtype=np.int64),
        {kind: np.array(counts, dtype=np.int64) for kind, counts in cases.items()},
    )
