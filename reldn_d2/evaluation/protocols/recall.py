"""Recall: how many annotated relationships are among the best K triplets of each image.

`RecallProtocol` finds the relationships of an image in its ranked lists. `RecallSummary` turns these finds
of many images into recalls; the protocols of OpenImages use it, too. `motifs`, `reldn` and `vrd2016` are the
named protocols.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from reldn_d2.structures import Queries

from ..graphs import TASKS, BoolArray, GroundTruthGraph, IntArray, PredictedGraph, RankedTriplets, Task
from ..matching import (
    MIN_OVERLAP,
    count_found,
    count_hitting,
    find_matches,
    first_hits,
    first_takers,
    places_in_lists,
)
from ..metrics import (
    Float64Array,
    PerImageRecall,
    harmonic_mean,
    image_recall_per_predicate,
    macro_recall,
    mean_over_all,
    mean_over_annotated,
    micro_recall,
    share_per_predicate,
)
from ..ranking import rank_pair_answers
from ..rows import find_rows
from ..training_split import TrainingSplit
from .protocol import LIST_LENGTH, EvaluatedSplit, NumberFacts, ProtocolResult, ScoredImage

ALL_PREDICATES = np.iinfo(np.int64).max
PUBLISHED_PREDICATES_PER_PAIR = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
_AVERAGES = {"macro": macro_recall, "micro": micro_recall}


@dataclass(frozen=True)
class FoundRelationships:
    """Where the ranked lists of one image find its annotated relationships.

    Attributes:
        places: (lists, R) int, place (from 0) of the triplet that finds each relationship; the length of the
            list if no triplet does.
        correct: (lists, K's) int, how many of the first K triplets find a relationship.
        predicate: (R,) int.
        zero_shot: see `ScoredImage`.
    """

    places: IntArray
    correct: IntArray
    predicate: IntArray
    zero_shot: BoolArray | None


@dataclass(frozen=True)
class RecallList:
    """One of the ranked lists whose recall is reported.

    Attributes:
        prefix: beginning of the names of the list's metrics.
        predicates_per_pair: how many predicates of an ordered pair may be in the list.
        phrase: whether hits are counted by phrase detection; else by relation detection.
        by_predicate: whether the list has columns in the table of predicates, and means over predicates.
    """

    prefix: str
    predicates_per_pair: int
    phrase: bool = False
    by_predicate: bool = True

    @property
    def constraint(self) -> str:
        """See `NumberFacts`."""
        if self.predicates_per_pair == 1:
            return "graph constraint"
        if self.predicates_per_pair >= ALL_PREDICATES:
            return "no constraint"
        return f"{self.predicates_per_pair} predicates a pair"


@dataclass(frozen=True)
class RecallSummary:
    """The recalls that are reported, and their names.

    Attributes:
        name: name of the protocol; the counts of each image are saved under it.
        lists: the ranked lists; each has its recalls.
        recall_at: the K's.
        average: the average that has the plain name of the metric; the other average has its own name as a
            prefix.
        mean_recalls: whether the recall of a predicate is also averaged over images before it is averaged
            over predicates, and F is reported.
        annotated_pairs: whether the lists hold the annotated pairs only.
    """

    name: str
    lists: tuple[RecallList, ...]
    recall_at: tuple[int, ...]
    average: Literal["macro", "micro"]
    mean_recalls: bool = False
    annotated_pairs: bool = False

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[FoundRelationships], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Compute the recall and the precision of every list at every K.

        There are recalls of all relationships; of those whose labels never occur in training, if the training
        split is known; and averages over predicates.
        """
        found = self._pool(image_ids, records)
        result = ProtocolResult({}, {})
        self._add_recalls(result, self.name, "R", found, split)
        if split.training is not None:
            zero_shot = [record.zero_shot for record in records if record.zero_shot is not None]
            unseen = found.rows(np.concatenate([np.zeros(0, dtype=np.bool_), *zero_shot]))
            self._add_recalls(result, f"{self.name}_zero_shot", "zR", unseen, split)
            result.notes.append(
                f"zR: recall of the {len(unseen.image)} of {len(found.image)} relationships whose labels "
                "never occur together in training."
            )
        self._add_predicates(result, found, split)
        self._add_precisions(result, records, found, split)
        return result

    def _facts(
        self,
        split: EvaluatedSplit,
        listed: RecallList,
        k: int | None,
        average: str,
        size: tuple[int, int],
        predicates: int | None = None,
    ) -> NumberFacts:
        """The facts of a number that is of some images and relationships (`size`)."""
        pairs = "annotated" if self.annotated_pairs else "all"
        return NumberFacts(self.name, split.task, pairs, listed.constraint, k, average, predicates, *size)

    def _pool(self, image_ids: Sequence[str], records: Sequence[FoundRelationships]) -> "_Split":
        places = [np.zeros((len(self.lists), 0), dtype=np.int32), *(record.places for record in records)]
        predicate = [np.zeros(0, dtype=np.int64), *(record.predicate for record in records)]
        image = np.repeat(np.arange(len(records)), [len(record.predicate) for record in records])
        pooled = np.concatenate(places, axis=1)
        found = {
            (listed.prefix, k): pooled[i] < k for i, listed in enumerate(self.lists) for k in self.recall_at
        }
        return _Split(tuple(image_ids), image, np.concatenate(predicate), found)

    def _name(self, average: str, name: str) -> str:
        """The name of a recall: plain for the protocol's own average, with a prefix for the other one."""
        return name if average == self.average else f"{average}_{name}"

    def _add_recalls(
        self, result: ProtocolResult, counted: str, letter: str, found: "_Split", split: EvaluatedSplit
    ) -> None:
        """Add both averages of the recalls: first the protocol's own one, under the plain names."""
        counts = found.per_image(letter)
        result.per_image[counted] = counts
        for average in sorted(_AVERAGES, key=lambda name: name != self.average):
            for listed in self.lists:
                for k in self.recall_at:
                    name = f"{listed.prefix}{letter}@{k}"
                    value = _AVERAGES[average](counts.hits[name], counts.ground_truths)
                    facts = self._facts(split, listed, k, average, found.size)
                    result.add(self._name(average, name), value, facts)

    def _add_predicates(self, result: ProtocolResult, found: "_Split", split: EvaluatedSplit) -> None:
        """Add the table of predicates and the means over predicates."""
        num_predicates = len(split.predicate_classes)
        annotated = np.bincount(found.predicate, minlength=num_predicates)
        result.per_predicate["annotated"] = annotated
        everything = np.arange(num_predicates)
        means = [
            _Mean("mR_all", "all predicates", everything, found.size, over_all=True),
            _Mean("mR", "annotated predicates", everything, found.size),
        ]
        if isinstance(split.training, TrainingSplit):
            result.per_predicate["in training"] = split.training.predicate_counts
            for group, members in split.training.predicate_groups().items():
                size = _size(found.image[np.isin(found.predicate, members)])
                means.append(_Mean(f"mR_{group}", f"annotated {group} predicates", members, size))
        for listed in self.lists:
            for k in self.recall_at if listed.by_predicate else ():
                self._add_means(result, found, listed, k, means, split)
        if self.mean_recalls:
            result.notes.append(
                f"mR is the mean over the {np.count_nonzero(annotated)} predicates that are annotated, "
                f"mR_all over all {num_predicates}."
            )

    def _add_means(
        self,
        result: ProtocolResult,
        found: "_Split",
        listed: RecallList,
        k: int,
        means: Sequence["_Mean"],
        split: EvaluatedSplit,
    ) -> None:
        num_predicates = len(split.predicate_classes)
        hit = found.found[listed.prefix, k]
        forms = {"pooled_": ("micro", share_per_predicate(hit, found.predicate, num_predicates))}
        if self.mean_recalls:
            recall = image_recall_per_predicate(hit, found.predicate, found.image, num_predicates)
            forms = {"": ("macro", recall), **forms}
        for form, (average, recall) in forms.items():
            column = f"{form}{listed.prefix}R@{k}"
            result.per_predicate[column] = recall
            result.column_facts[column] = self._facts(split, listed, k, average, found.size)
            for mean in means:
                value, predicates = mean.of(recall)
                average_of = f"{average}, then mean over {mean.predicates}"
                facts = self._facts(split, listed, k, average_of, mean.size, predicates)
                result.add(f"{form}{listed.prefix}{mean.name}@{k}", value, facts)
        if self.mean_recalls:
            parts = [self._name("macro", f"{listed.prefix}R"), f"{listed.prefix}mR_all"]
            value = harmonic_mean(*(result.metrics.get(f"{part}@{k}", np.nan) for part in parts))
            average = f"harmonic mean of {parts[0]}@K and {parts[1]}@K"
            facts = self._facts(split, listed, k, average, found.size)
            result.add(f"{listed.prefix}F@{k}", value, facts)

    def _add_precisions(
        self,
        result: ProtocolResult,
        records: Sequence[FoundRelationships],
        found: "_Split",
        split: EvaluatedSplit,
    ) -> None:
        """Add the precisions over the images with a relationship, where macro and micro are equal."""
        correct = np.zeros((len(self.lists), len(self.recall_at)), dtype=np.int64)
        for record in records:
            correct += record.correct
        images, _ = found.size
        if not images:
            return
        for i, listed in enumerate(self.lists):
            for j, k in enumerate(self.recall_at):
                value = 100.0 * float(correct[i, j]) / (k * images)
                facts = self._facts(split, listed, k, "macro (equal to micro)", found.size)
                result.add(f"{listed.prefix}P@{k}", value, facts)
        result.notes.append(
            "P@K: correct triplets among the first K of a list, divided by K. Annotation is sparse: a true "
            "triplet that nobody annotated counts as wrong."
        )


@dataclass(frozen=True)
class _Split:
    """The annotated relationships of some images in one sequence, and whether each list found them."""

    image_ids: tuple[str, ...]
    image: IntArray
    predicate: IntArray
    found: Mapping[tuple[str, int], BoolArray]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Number of images with one of the relationships, and number of relationships."""
        return _size(self.image)

    def rows(self, index: BoolArray) -> "_Split":
        """The relationships that `index` selects. All images stay."""
        found = {key: value[index] for key, value in self.found.items()}
        return _Split(self.image_ids, self.image[index], self.predicate[index], found)

    def per_image(self, letter: str) -> PerImageRecall:
        num_images = len(self.image_ids)
        hits = {
            f"{prefix}{letter}@{k}": np.bincount(self.image[hit], minlength=num_images)
            for (prefix, k), hit in self.found.items()
        }
        return PerImageRecall(self.image_ids, np.bincount(self.image, minlength=num_images), hits)


def _size(image: IntArray) -> tuple[int, int]:
    """Number of images and of relationships, from the (R,) images of the relationships."""
    return len(np.unique(image)), len(image)


@dataclass(frozen=True)
class _Mean:
    """A mean over predicates.

    Attributes:
        name: name of the metric.
        predicates: the predicates in words.
        members: (M,) int, the predicates.
        size: number of images with a relationship of these predicates, and number of these relationships.
        over_all: whether predicates that are not annotated count as 0; else they are left out.
    """

    name: str
    predicates: str
    members: IntArray
    size: tuple[int, int]
    over_all: bool = False

    def of(self, recall: Float64Array) -> tuple[float, int]:
        """The mean of a column of the table of predicates, and the number of predicates that it is over."""
        values = recall[self.members]
        if self.over_all:
            return mean_over_all(values), len(values)
        return mean_over_annotated(values), int(np.count_nonzero(~np.isnan(values)))


@dataclass(frozen=True)
class RecallProtocol:
    """Recall in the best K triplets of each image.

    Attributes:
        name, tasks: see `EvaluationProtocol`.
        lists: the ranked lists; each has a recall for every K.
        average, mean_recalls, recall_at: see `RecallSummary`; no K exceeds `list_length`.
        one_to_one: whether a triplet finds at most one relationship (see `first_takers`); else it finds all
            that it hits.
        ranks_annotated_pairs: whether the lists of sgcls and prdcls hold the annotated pairs only; else all
            pairs.
        list_length: length of the ranked lists.
        offset: pixel convention of the overlap, 0 or 1 (see `matching.box_iou`).
    """

    name: str
    lists: tuple[RecallList, ...]
    average: Literal["macro", "micro"]
    one_to_one: bool = False
    mean_recalls: bool = False
    ranks_annotated_pairs: bool = False
    tasks: tuple[Task, ...] = TASKS
    recall_at: tuple[int, ...] = (20, 50, 100)
    list_length: int = LIST_LENGTH
    offset: float = 1.0

    def __post_init__(self) -> None:
        if max(self.recall_at) > self.list_length:
            raise ValueError(
                f"protocol {self.name}: recall at {max(self.recall_at)} of {self.list_length} triplets"
            )

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None:
        """Accept any vocabulary."""

    def queries(self, truth: GroundTruthGraph, task: Task) -> Queries:
        """The annotated pairs, row by row, if the protocol ranks them in this task; else no questions."""
        if not self._ranks_answers(task):
            return Queries.nothing()
        return Queries.from_rows(pairs=truth.relations[:, :2])

    def match(self, image: ScoredImage, task: Task) -> FoundRelationships:
        """Find the place of every annotated relationship in every list."""
        truth = image.truth
        triplets = self._ranked(image, task)
        places = np.empty((len(self.lists), len(truth.relations)), dtype=np.int32)
        correct = np.empty((len(self.lists), len(self.recall_at)), dtype=np.int32)
        for phrase in (False, True):
            rows = [i for i, ranked in enumerate(self.lists) if ranked.phrase == phrase]
            if not rows:
                continue
            matches = find_matches(image.predicted, triplets, truth, phrase=phrase, offset=self.offset)
            hits = matches.rows(matches.overlap >= MIN_OVERLAP)
            ranks, limits = triplets.rank_in_pair, [self.lists[i].predicates_per_pair for i in rows]
            if self.one_to_one:
                places[rows] = first_takers(hits, ranks, limits, self.list_length, len(truth.relations))
                correct[rows] = count_found(places[rows], self.recall_at)
            else:
                in_lists = places_in_lists(ranks, limits, self.list_length)
                places[rows] = first_hits(hits, in_lists, self.list_length, len(truth.relations))
                correct[rows] = count_hitting(hits, in_lists, self.recall_at)
        return FoundRelationships(places, correct, truth.relations[:, 2], image.zero_shot)

    def _ranks_answers(self, task: Task) -> bool:
        return self.ranks_annotated_pairs and task != "sgdet"

    def _ranked(self, image: ScoredImage, task: Task) -> RankedTriplets:
        answers = image.predicted.pair_answers
        if not self._ranks_answers(task):
            return image.predicted.relations
        if answers is None:
            return PredictedGraph.empty().relations
        rows = find_rows(np.stack([answers.subject, answers.object], axis=1), image.truth.relations[:, :2])
        return rank_pair_answers(answers.rows(rows), self.list_length)

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[FoundRelationships], split: EvaluatedSplit
    ) -> ProtocolResult:
        """See `RecallSummary.summarise`."""
        annotated_pairs = split.task is not None and self._ranks_answers(split.task)
        summary = RecallSummary(
            self.name, self.lists, self.recall_at, self.average, self.mean_recalls, annotated_pairs
        )
        return summary.summarise(image_ids, records, split)


def motifs() -> RecallProtocol:
    """Recall as in work on Visual Genome, with ("R@K") and without ("ngR@K") the graph constraint."""
    lists = (RecallList("", 1), RecallList("ng", ALL_PREDICATES))
    return RecallProtocol("motifs", lists, average="macro", mean_recalls=True)


def reldn(predicates_per_pair: Sequence[int] = PUBLISHED_PREDICATES_PER_PAIR) -> RecallProtocol:
    """Recall as in the code published with the paper, for Visual Genome and VRD (there also with k = 70).

    Args:
        predicates_per_pair: the k's. For each there is the recall of relations ("rel_k1_R@50") and of phrases
            ("phr_k1_R@50"). The smallest and the largest k have columns in the table of predicates.

    Raises:
        ValueError: if a k is below 1 or repeated, or if there is none.
    """
    ks = tuple(predicates_per_pair)
    if not ks or min(ks) < 1 or len(set(ks)) < len(ks):
        raise ValueError(f"protocol reldn: predicates_per_pair must be distinct and >= 1, got {list(ks)}")
    # The tables of predicates would be unreadable with all k's.
    lists = [
        RecallList(f"{kind}_k{k}_", k, kind == "phr", by_predicate=k in (min(ks), max(ks)))
        for kind in ("rel", "phr")
        for k in ks
    ]
    return RecallProtocol("reldn", tuple(lists), average="micro", ranks_annotated_pairs=True)


def vrd2016() -> RecallProtocol:
    """Recall as in the code of the VRD data set (Lu et al. 2016).

    There is the recall of relations ("R@50") and of phrases ("phr_R@50"). All predicates of a pair are in the
    list, and a triplet finds at most one relationship. Zero-shot recall ("zR@50") excludes annotated
    relationships, not triplets.
    """
    lists = (RecallList("", ALL_PREDICATES), RecallList("phr_", ALL_PREDICATES, phrase=True))
    return RecallProtocol(
        "vrd2016", lists, average="micro", one_to_one=True, tasks=("sgdet",), recall_at=(50, 100)
    )
