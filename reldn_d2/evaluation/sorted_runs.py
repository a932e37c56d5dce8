"""Average precision of lists that are longer than the memory, from sorted runs.

A run has the triplets of some consecutive images, sorted; together, the runs have those of all images. Only
the places of the true positives in the list of all images matter for average precision. So the true positives
are kept in memory, and each run is read to count how many of its triplets come before each of them: twice
through all runs, whatever their number, and no list of all triplets is ever made.

    true_positives = TruePositives()
    for run in runs:
        true_positives.add(run)
    places = true_positives.places()
    for run in runs:
        places.count(run)
    places.average_precision("rel", num_truths)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .graphs import BoolArray, FloatArray, IntArray
from .metrics import Float64Array, average_precision


@dataclass(frozen=True)
class SortedRun:
    """The triplets of some images, sorted as `run_order` says.

    Attributes:
        predicate: (D,) int.
        score: (D,) float.
        true: kind of match -> (D,) bool, whether a triplet is a true positive.
    """

    predicate: IntArray
    score: FloatArray
    true: Mapping[str, BoolArray]

    def predicates(self) -> Iterator[tuple[int, slice]]:
        """Each predicate of the run, and its rows."""
        starts = np.flatnonzero(np.diff(self.predicate, prepend=-1))
        ends = np.append(starts, len(self.predicate))[1:]
        rows = (self.predicate[starts].tolist(), starts.tolist(), ends.tolist())
        for predicate, start, end in zip(*rows, strict=True):
            yield predicate, slice(start, end)


def run_order(predicate: IntArray, score: FloatArray) -> IntArray:
    """(D,) the rows of a run: by predicate, then the best score first; equal scores keep their order."""
    return np.lexsort((-score, predicate))


class TruePositives:
    """Collects the true positives of all runs, from the first run to the last."""

    def __init__(self) -> None:
        """Has none yet."""
        self._rows: list[tuple[SortedRun, IntArray]] = []
        self._size = 0

    def add(self, run: SortedRun) -> None:
        """Take the true positives of the next run."""
        rows = np.flatnonzero(np.logical_or.reduce([*run.true.values()]))
        true = {kind: values[rows] for kind, values in run.true.items()}
        self._rows.append((SortedRun(run.predicate[rows], run.score[rows], true), rows + self._size))
        self._size += len(run.predicate)

    def places(self) -> "Places":
        """Sort the true positives, so that the triplets before them can be counted."""
        runs = [run for run, _ in self._rows]
        predicate = np.concatenate([run.predicate for run in runs])
        score = np.concatenate([run.score for run in runs])
        number = np.concatenate([numbers for _, numbers in self._rows])
        true = {kind: np.concatenate([run.true[kind] for run in runs]) for kind in runs[0].true}
        order = run_order(predicate, score)
        sorted_run = SortedRun(
            predicate[order], score[order], {kind: values[order] for kind, values in true.items()}
        )
        return Places(sorted_run, number[order], self._size)


@dataclass(frozen=True)
class _OfPredicate:
    """The true positives of a predicate, best first.

    Attributes:
        scores: (S,) their different scores with the sign changed, so that they rise.
        keys: (T,) int64, ascending: row of `scores` times the number of all triplets, plus the number of the
            triplet.
        before: (T + 1,) int64, how many triplets come between a true positive and the one before it; the true
            positive is one of them.
        true: kind of match -> (T,) bool.
    """

    scores: FloatArray
    keys: IntArray
    before: npt.NDArray[np.int64]
    true: Mapping[str, BoolArray]


class Places:
    """Counts the triplets before each true positive."""

    def __init__(self, true_positives: SortedRun, numbers: IntArray, size: int) -> None:
        """Has counted nothing yet.

        Args:
            true_positives: the T true positives of all runs.
            numbers: (T,) int, their numbers if all triplets are counted from the first run to the last.
            size: number of all triplets.
        """
        self._size, self._counted = size, 0
        self._predicates = {
            predicate: self._of_predicate(true_positives, numbers, rows)
            for predicate, rows in true_positives.predicates()
        }

    def _of_predicate(self, true_positives: SortedRun, numbers: IntArray, rows: slice) -> _OfPredicate:
        score = -true_positives.score[rows]
        is_new = np.concatenate([[True], score[1:] != score[:-1]])
        keys = (np.cumsum(is_new) - 1) * self._size + numbers[rows]
        before = np.zeros(len(keys) + 1, dtype=np.int64)
        true = {kind: values[rows] for kind, values in true_positives.true.items()}
        return _OfPredicate(score[is_new], keys, before, true)

    def count(self, run: SortedRun) -> None:
        """Count the triplets of the next run, from the first run to the last."""
        for predicate, rows in run.predicates():
            if predicate in self._predicates:
                positives = self._predicates[predicate]
                score = -run.score[rows]
                row = np.searchsorted(positives.scores, score)
                equal = positives.scores.take(row, mode="clip") == score
                # A triplet with the score of a true positive comes before it if its number is lower.
                numbers = np.arange(self._counted + rows.start, self._counted + rows.stop)
                first_behind = np.searchsorted(positives.keys, row * self._size + np.where(equal, numbers, 0))
                np.add.at(positives.before, first_behind, 1)
        self._counted += len(run.predicate)

    def average_precision(self, kind: str, num_truths: Sequence[int] | IntArray) -> Float64Array:
        """Average precision of every predicate, after all runs are counted.

        Args:
            kind: kind of match.
            num_truths: (P,) number of annotated relationships of each predicate.

        Returns:
            (P,) in [0, 1]; NaN for a predicate without annotated relationship.
        """
        nowhere = np.zeros(0, dtype=np.int64)
        places = {p: np.cumsum(x.before[:-1])[x.true[kind]] for p, x in self._predicates.items()}
        return np.array([average_precision(places.get(p, nowhere), int(n)) for p, n in enumerate(num_truths)])
