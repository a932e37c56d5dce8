"""The common part of the protocols of OpenImages: average precision, its means, and the score."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from reldn_d2.structures import Queries

from ..columns import Columns, compact, image_of_rows
from ..graphs import BoolArray, FloatArray, GroundTruthGraph, IntArray, RankedTriplets, Task
from ..matching import MIN_OVERLAP, Matches, find_matches, true_positives
from ..ranking import top_triplets
from ..sorted_runs import SortedRun, TruePositives, run_order
from .protocol import LIST_LENGTH, EvaluatedSplit, NumberFacts, ProtocolResult, ScoredImage
from .recall import ALL_PREDICATES, FoundRelationships, RecallSummary

Float64Array = npt.NDArray[np.float64]
_KINDS = ("rel", "phr")  # true positives by relation and by phrase overlap
# Names of `means_and_scores` -> how they are averaged, in words.
_AVERAGES = {
    **{f"mAP_{kind}": "mean over {} predicates" for kind in _KINDS},
    **{f"wmAP_{kind}": "mean over {} predicates, weighted by relationships" for kind in _KINDS},
    "score": "0.2 R@50 + 0.4 mAP_rel + 0.4 mAP_phr",
    "score_wtd": "0.2 R@50 + 0.4 wmAP_rel + 0.4 wmAP_phr",
}


@dataclass(frozen=True)
class JudgedTriplets:
    """The triplets of an image that count, best first, and which of them are true positives.

    Attributes:
        predicate: (T,) int.
        score: (T,) float.
        true: "rel" and "phr" -> (T,) bool, true positives by relation and by phrase overlap.
        found: where the list finds the annotated relationships, for recall.
    """

    predicate: IntArray
    score: FloatArray
    true: dict[str, BoolArray]
    found: FoundRelationships


@dataclass(frozen=True)
class AveragePrecisionProtocol(ABC):
    """Average precision, recall and their weighted score; for sgdet only.

    The list of an image holds its best triplets. A subclass says which of them count. In average precision a
    triplet answers at most one relationship (see `matching.true_positives`).

    Attributes:
        excluded_predicates: predicates that are not in the "starred" numbers; if empty, there are no starred
            numbers.
        predicates_per_pair: how many predicates of an ordered pair are in the list.
        list_length: length of the list.
        name, tasks: see `EvaluationProtocol`.
        offset: pixel convention of the overlap, 0 or 1 (see `matching.box_iou`).
        strict: whether the overlap of a true positive must be greater than 0.5; else it may be equal.
        absent_is_zero: whether a predicate without annotated relationship has average precision 0 and counts
            in mAP; else its average precision is NaN and mAP excludes it.
    """

    excluded_predicates: tuple[str, ...] = ()
    predicates_per_pair: int = 2
    list_length: int = LIST_LENGTH
    name: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = ("sgdet",)
    offset: ClassVar[float]
    strict: ClassVar[bool]
    absent_is_zero: ClassVar[bool]

    def __post_init__(self) -> None:
        if self.predicates_per_pair < 1 or self.list_length < 1:
            raise ValueError(
                f"protocol {self.name}: predicates_per_pair and list_length must be >= 1, "
                f"got {self.predicates_per_pair} and {self.list_length}"
            )

    @property
    @abstractmethod
    def recall(self) -> RecallSummary:
        """The recalls that are reported."""

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None:
        """Check that the data set has the excluded predicates, and at least one other.

        Raises:
            ValueError: if it does not.
        """
        unknown = sorted(set(self.excluded_predicates) - set(predicate_classes))
        if unknown:
            raise ValueError(
                f"protocol {self.name} excludes {unknown}, which the data set does not have; "
                f"its predicates are {list(predicate_classes)}"
            )
        if set(predicate_classes) <= set(self.excluded_predicates):
            raise ValueError(f"protocol {self.name} excludes every predicate of the data set; exclude fewer")

    def queries(self, truth: GroundTruthGraph, task: Task) -> Queries:
        """No questions, because the ranked list is enough."""
        return Queries.nothing()

    def match(self, image: ScoredImage, task: Task) -> JudgedTriplets:
        """Find out which triplets of the image's list count and which are true positives."""
        triplets = top_triplets(image.predicted.relations, self.predicates_per_pair, self.list_length)
        triplets = triplets.rows(self._counts(image, triplets))
        matches, true = {}, {}
        for kind in _KINDS:
            matches[kind] = find_matches(
                image.predicted, triplets, image.truth, phrase=kind == "phr", offset=self.offset
            )
            true[kind] = true_positives(matches[kind], len(triplets), MIN_OVERLAP, strict=self.strict)
        predicate = image.truth.relations[:, 2]
        places, correct = self._places(triplets, matches, true, len(predicate))
        found = FoundRelationships(places, correct, predicate, image.zero_shot)
        return JudgedTriplets(triplets.predicate, triplets.score, true, found)

    @abstractmethod
    def _counts(self, image: ScoredImage, triplets: RankedTriplets) -> BoolArray:
        """(T,) bool, whether each triplet of the list counts.

        The others have no place in the list and are not wrong.
        """

    @abstractmethod
    def _places(
        self,
        triplets: RankedTriplets,
        matches: Mapping[str, Matches],
        true: Mapping[str, BoolArray],
        num_truths: int,
    ) -> tuple[IntArray, IntArray]:
        """Find the annotated relationships in each list of `recall`.

        Args:
            triplets: the T triplets that count.
            matches: "rel" and "phr" -> matches of these triplets.
            true: "rel" and "phr" -> (T,) bool, the true positives.
            num_truths: number R of annotated relationships.

        Returns:
            (lists, R) int, the place of the triplet that finds each relationship, from 0; LIST_LENGTH if none
            of the first LIST_LENGTH triplets finds it. And (lists, K's) int, how many of the first K triplets
            find a relationship.
        """

    def columns(self, records: Sequence[JudgedTriplets]) -> dict[str, npt.NDArray[Any]]:
        """The records of N images as columns (see `reldn_d2.evaluation.columns`).

        The columns of `RecallSummary.columns`, and a table of the triplets: "predicate", (T,) int; "score",
        (T,) float; "true_rel" and "true_phr", (T,) bool. Its rows are a sorted run (see `run_order`), which
        takes 9 bytes a triplet with float32 scores and no more than 256 predicates and 65,536 images.
        """
        predicate = [np.zeros(0, dtype=np.int64), *(record.predicate for record in records)]
        score = [record.score for record in records] or [np.zeros(0, dtype=np.float32)]
        table: dict[str, npt.NDArray[Any]] = {
            "image": image_of_rows([len(record.predicate) for record in records]),
            "predicate": compact(np.concatenate(predicate)),
            "score": np.concatenate(score),
        }
        for kind in _KINDS:
            true = [np.zeros(0, dtype=np.bool_), *(record.true[kind] for record in records)]
            table[f"true_{kind}"] = np.concatenate(true)
        order = run_order(table["predicate"], table["score"])
        return {
            **self.recall.columns([record.found for record in records]),
            **{f"triplets/{name}": values[order] for name, values in table.items()},
        }

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[JudgedTriplets], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Turn the records of one or more images into numbers.

        `check_vocabulary` must have accepted the predicates.
        """
        return self.summarise_columns(image_ids, [self.columns(records)], split)

    def summarise_columns(
        self, image_ids: Sequence[str], parts: Sequence[Columns], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Turn the columns of one or more images into numbers. Every part is read twice."""
        names = split.predicate_classes
        tally, true_positives = self.recall.tally(split, len(image_ids)), TruePositives()
        for columns in parts:
            tally.add(columns)
            true_positives.add(_run(columns))
        places = true_positives.places()
        for columns in parts:
            places.count(_run(columns))
        annotated = tally.predicates.annotated
        ap = {}
        for kind in _KINDS:
            share = places.average_precision(kind, annotated)
            ap[kind] = 100.0 * (np.nan_to_num(share) if self.absent_is_zero else share)
        result = self.recall.result(image_ids, tally)

        facts = NumberFacts(
            self.name,
            split.task,
            "all",
            self.recall.lists[0].constraint,
            None if self.list_length >= ALL_PREDICATES else self.list_length,
            "area under the curve",
            None,
            len(image_ids),
            int(annotated.sum()),
        )
        in_mean = np.full(len(names), True) if self.absent_is_zero else annotated > 0
        self._add_means(result, ap, annotated, in_mean, facts)
        if self.excluded_predicates:
            in_mean &= np.array([name not in self.excluded_predicates for name in names])
            self._add_means(result, ap, annotated, in_mean, facts, "_starred")
        for kind, values in ap.items():
            result.per_predicate[f"AP_{kind}"] = values
            result.column_facts[f"AP_{kind}"] = facts
            for name, value, count in zip(names, values.tolist(), annotated.tolist(), strict=True):
                result.add(f"AP_{kind}/{name}", value, replace(facts, relationships=count))
        return result

    def _add_means(
        self,
        result: ProtocolResult,
        ap: Mapping[str, Float64Array],
        annotated: IntArray,
        in_mean: BoolArray,
        facts: NumberFacts,
        suffix: str = "",
    ) -> None:
        """Add the means and scores over the predicates that `in_mean`, (P,) bool, selects."""
        values = {kind: column[in_mean] for kind, column in ap.items()}
        recall_at_50 = result.metrics.get("R@50", float("nan"))
        of_mean = replace(
            facts,
            predicates=int(np.count_nonzero(in_mean)),
            relationships=int(annotated[in_mean].sum()),
        )
        for name, mean in means_and_scores(values, annotated[in_mean], recall_at_50).items():
            average = _AVERAGES[name].format("all" if self.absent_is_zero else "annotated")
            result.add(name + suffix, mean, replace(of_mean, average=average))
        result.notes.append(
            f"mAP{suffix} is the mean over {np.count_nonzero(in_mean)} of {len(in_mean)} predicates, of "
            f"which {np.count_nonzero(annotated[in_mean])} are annotated."
        )


def _run(columns: Columns) -> SortedRun:
    true = {kind: columns[f"triplets/true_{kind}"] for kind in _KINDS}
    return SortedRun(columns["triplets/predicate"], columns["triplets/score"], true)


def means_and_scores(
    average_precision: Mapping[str, Float64Array], num_truths: IntArray, recall_at_50: float
) -> dict[str, float]:
    """Compute means and scores over a set of predicates.

    mAP is the plain mean. wmAP is the mean with the share of each predicate in the annotated relationships as
    weight. score = 0.2 R@50 + 0.4 mAP_rel + 0.4 mAP_phr, and score_wtd is the same with wmAP.

    Args:
        average_precision: "rel" and "phr" -> (P,) percent, not NaN.
        num_truths: (P,) number of annotated relationships.
        recall_at_50: R@50 in percent.

    Returns:
        name -> percent. mAP is NaN if there is no predicate, wmAP if there is no annotated relationship.
    """
    total = num_truths.sum()
    metrics = {}
    for kind, values in average_precision.items():
        metrics[f"mAP_{kind}"] = float(values.mean()) if len(values) else float("nan")
    for kind, values in average_precision.items():
        metrics[f"wmAP_{kind}"] = float(values @ num_truths / total) if total else float("nan")
    for name, mean in (("score", "mAP"), ("score_wtd", "wmAP")):
        metrics[name] = 0.2 * recall_at_50 + 0.4 * metrics[f"{mean}_rel"] + 0.4 * metrics[f"{mean}_phr"]
    return metrics
