"""Recall: how many annotated relationships are among the best K triplets of each image.

`RecallProtocol` finds the relationships of an image in its ranked lists. `RecallTally` counts these finds in
many images, and `RecallSummary` turns the counts into recalls; the protocols of OpenImages use both, too.
`motifs`, `reldn` and `vrd2016` are the named protocols.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from reldn_d2.structures import Queries

from ..columns import Columns, compact, image_of_rows, rows_per_image
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
    PredicateRecall,
    harmonic_mean,
    macro_recall,
    mean_over_all,
    mean_over_annotated,
    micro_recall,
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

    def recall(self, k: int) -> str:
        """Name of the recall in the first `k` triplets."""
        return f"{self.prefix}R@{k}"


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

    def columns(self, records: Sequence[FoundRelationships]) -> dict[str, npt.NDArray[Any]]:
        """The records of N images as columns (see `reldn_d2.evaluation.columns`).

        A table of the relationships with "predicate", (R,) int; "places", (R, lists) int; and "zero_shot",
        (R,) bool, if it is known. And "images/correct", (N, lists, K's) int.
        """
        lists, numbers = len(self.lists), len(self.recall_at)
        predicate = [np.zeros(0, dtype=np.int64), *(record.predicate for record in records)]
        places = [np.zeros((lists, 0), dtype=np.int64), *(record.places for record in records)]
        correct = [
            np.zeros((0, lists, numbers), dtype=np.int64),
            *(record.correct[None] for record in records),
        ]
        columns = {
            "images/correct": compact(np.concatenate(correct)),
            "relationships/image": image_of_rows([len(record.predicate) for record in records]),
            "relationships/predicate": compact(np.concatenate(predicate)),
            "relationships/places": compact(np.concatenate(places, axis=1).T),
        }
        zero_shot = [record.zero_shot for record in records if record.zero_shot is not None]
        if len(zero_shot) == len(records):
            columns["relationships/zero_shot"] = np.concatenate([np.zeros(0, dtype=np.bool_), *zero_shot])
        return columns

    def tally(self, split: EvaluatedSplit, num_images: int) -> "RecallTally":
        """Counts to which the columns of all images can be added, part by part."""
        return RecallTally(self, split, num_images)

    def result(self, image_ids: Sequence[str], tally: "RecallTally") -> ProtocolResult:
        """Compute the recall and the precision of every list at every K.

        There are recalls of all relationships; of those whose labels never occur in training, if the training
        split is known; and averages over predicates.
        """
        split, every, unseen = tally.split, tally.every, tally.unseen
        result = ProtocolResult({}, {})
        self._add_recalls(result, self.name, "R", every.per_image(image_ids, "R"), every.size, split)
        if split.training is not None:
            counts = unseen.per_image(image_ids, "zR")
            self._add_recalls(result, f"{self.name}_zero_shot", "zR", counts, unseen.size, split)
            result.notes.append(
                f"zR: recall of the {unseen.size[1]} of {every.size[1]} relationships whose labels "
                "never occur together in training."
            )
        self._add_predicates(result, tally)
        self._add_precisions(result, tally)
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

    def _name(self, average: str, name: str) -> str:
        """The name of a recall: plain for the protocol's own average, with a prefix for the other one."""
        return name if average == self.average else f"{average}_{name}"

    def _add_recalls(
        self,
        result: ProtocolResult,
        counted: str,
        letter: str,
        counts: PerImageRecall,
        size: tuple[int, int],
        split: EvaluatedSplit,
    ) -> None:
        """Add both averages of the recalls: first the protocol's own one, under the plain names."""
        result.per_image[counted] = counts
        for average in sorted(_AVERAGES, key=lambda name: name != self.average):
            for listed in self.lists:
                for k in self.recall_at:
                    name = f"{listed.prefix}{letter}@{k}"
                    value = _AVERAGES[average](counts.hits[name], counts.ground_truths)
                    facts = self._facts(split, listed, k, average, size)
                    result.add(self._name(average, name), value, facts)

    def _add_predicates(self, result: ProtocolResult, tally: "RecallTally") -> None:
        """Add the table of predicates and the means over predicates."""
        training, annotated, size = tally.split.training, tally.predicates.annotated, tally.every.size
        num_predicates = len(annotated)
        result.per_predicate["annotated"] = annotated
        everything = np.arange(num_predicates)
        means = [
            _Mean("mR_all", "all predicates", everything, size, over_all=True),
            _Mean("mR", "annotated predicates", everything, size),
        ]
        if isinstance(training, TrainingSplit):
            result.per_predicate["in training"] = training.predicate_counts
            for group, members in tally.groups.items():
                of_group = tally.images_of_group[group], int(annotated[members].sum())
                means.append(_Mean(f"mR_{group}", f"annotated {group} predicates", members, of_group))
        for listed in self.lists:
            for k in self.recall_at if listed.by_predicate else ():
                self._add_means(result, tally, listed, k, means)
        if self.mean_recalls:
            result.notes.append(
                f"mR is the mean over the {np.count_nonzero(annotated)} predicates that are annotated, "
                f"mR_all over all {num_predicates}."
            )

    def _add_means(
        self,
        result: ProtocolResult,
        tally: "RecallTally",
        listed: RecallList,
        k: int,
        means: Sequence["_Mean"],
    ) -> None:
        split, size, name = tally.split, tally.every.size, listed.recall(k)
        forms = {"pooled_": ("micro", tally.predicates.pooled(name))}
        if self.mean_recalls:
            forms = {"": ("macro", tally.predicates.image_mean(name)), **forms}
        for form, (average, recall) in forms.items():
            column = f"{form}{name}"
            result.per_predicate[column] = recall
            result.column_facts[column] = self._facts(split, listed, k, average, size)
            for mean in means:
                value, predicates = mean.of(recall)
                average_of = f"{average}, then mean over {mean.predicates}"
                facts = self._facts(split, listed, k, average_of, mean.size, predicates)
                result.add(f"{form}{listed.prefix}{mean.name}@{k}", value, facts)
        if self.mean_recalls:
            parts = [self._name("macro", f"{listed.prefix}R"), f"{listed.prefix}mR_all"]
            value = harmonic_mean(*(result.metrics.get(f"{part}@{k}", np.nan) for part in parts))
            average = f"harmonic mean of {parts[0]}@K and {parts[1]}@K"
            facts = self._facts(split, listed, k, average, size)
            result.add(f"{listed.prefix}F@{k}", value, facts)

    def _add_precisions(self, result: ProtocolResult, tally: "RecallTally") -> None:
        """Add the precisions over the images with a relationship, where macro and micro are equal."""
        images, _ = tally.every.size
        if not images:
            return
        for i, listed in enumerate(self.lists):
            for j, k in enumerate(self.recall_at):
                value = 100.0 * float(tally.correct[i, j]) / (k * images)
                facts = self._facts(tally.split, listed, k, "macro (equal to micro)", tally.every.size)
                result.add(f"{listed.prefix}P@{k}", value, facts)
        result.notes.append(
            "P@K: correct triplets among the first K of a list, divided by K. Annotation is sparse: a true "
            "triplet that nobody annotated counts as wrong."
        )


class _ImageCounts:
    """Counts of some of the relationships in each image.

    Attributes:
        size: number of images with one of the relationships, and number of relationships.
    """

    def __init__(self, lists: Sequence[RecallList], recall_at: Sequence[int], num_images: int) -> None:
        self._lists, self._recall_at = lists, recall_at
        self._ground_truths = np.zeros(num_images, dtype=np.int32)
        self._hits = {
            listed.recall(k): np.zeros(num_images, dtype=np.int32) for listed in lists for k in recall_at
        }
        self.size = (0, 0)

    def add(self, image: IntArray, found: Mapping[str, BoolArray], rows: slice) -> None:
        """Add some images.

        Args:
            image: (R,) int, the image of each relationship, from 0.
            found: name of a recall -> (R,) bool.
            rows: the images among all.
        """
        ground_truths = self._ground_truths[rows]
        ground_truths += rows_per_image(image, len(ground_truths))
        for name, hits in self._hits.items():
            hits[rows] += rows_per_image(image[found[name]], len(ground_truths))
        images, relationships = self.size
        self.size = images + int(np.count_nonzero(ground_truths)), relationships + len(image)

    def per_image(self, image_ids: Sequence[str], letter: str) -> PerImageRecall:
        """The counts of all images; the name of a recall has this letter, or these letters, for "R"."""
        hits = {
            f"{listed.prefix}{letter}@{k}": self._hits[listed.recall(k)]
            for listed in self._lists
            for k in self._recall_at
        }
        return PerImageRecall(tuple(image_ids), self._ground_truths, hits)


class RecallTally:
    """What is counted of images that come in parts. It has four bytes an image for each recall.

    Attributes:
        split: facts about the data set.
        every: counts of all relationships.
        unseen: counts of those whose labels never occur in training; none if training is not known.
        predicates: recalls of each predicate, of the lists that report them.
        groups: "head", "body", "tail" -> their predicates; empty without a training split.
        images_of_group: group -> number of images with a relationship of it.
        correct: (lists, K's) int, how many of the first K triplets of all images find a relationship.
    """

    def __init__(self, summary: RecallSummary, split: EvaluatedSplit, num_images: int) -> None:
        """Counts nothing yet."""
        self.split = split
        num_unseen = 0 if split.training is None else num_images
        self.every = _ImageCounts(summary.lists, summary.recall_at, num_images)
        self.unseen = _ImageCounts(summary.lists, summary.recall_at, num_unseen)
        by_predicate = [x.recall(k) for x in summary.lists if x.by_predicate for k in summary.recall_at]
        self.predicates = PredicateRecall(len(split.predicate_classes), by_predicate)
        training = split.training
        self.groups = training.predicate_groups() if isinstance(training, TrainingSplit) else {}
        self.images_of_group = dict.fromkeys(self.groups, 0)
        self.correct = np.zeros((len(summary.lists), len(summary.recall_at)), dtype=np.int64)
        self._summary, self._images = summary, 0

    def add(self, columns: Columns) -> None:
        """Add the next images, from the columns of `RecallSummary.columns`."""
        predicate, image = columns["relationships/predicate"], columns["relationships/image"]
        places, correct = columns["relationships/places"], columns["images/correct"]
        rows = slice(self._images, self._images + len(correct))
        found = {
            listed.recall(k): places[:, i] < k
            for i, listed in enumerate(self._summary.lists)
            for k in self._summary.recall_at
        }
        self.every.add(image, found, rows)
        if self.split.training is not None:
            unseen = columns["relationships/zero_shot"]
            hits = {name: hit[unseen] for name, hit in found.items()}
            self.unseen.add(image[unseen], hits, rows)
        self.predicates.add(predicate, image, found)
        for group, members in self.groups.items():
            self.images_of_group[group] += len(np.unique(image[np.isin(predicate, members)]))
        self.correct += correct.sum(axis=0, dtype=np.int64)
        self._images = rows.stop


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

    def columns(self, records: Sequence[FoundRelationships]) -> dict[str, npt.NDArray[Any]]:
        """See `RecallSummary.columns`."""
        return self._summary(None).columns(records)

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[FoundRelationships], split: EvaluatedSplit
    ) -> ProtocolResult:
        """See `RecallSummary.result`."""
        return self.summarise_columns(image_ids, [self.columns(records)], split)

    def summarise_columns(
        self, image_ids: Sequence[str], parts: Iterable[Columns], split: EvaluatedSplit
    ) -> ProtocolResult:
        """See `RecallSummary.result`."""
        summary = self._summary(split.task)
        tally = summary.tally(split, len(image_ids))
        for columns in parts:
            tally.add(columns)
        return summary.result(image_ids, tally)

    def _summary(self, task: Task | None) -> RecallSummary:
        annotated_pairs = task is not None and self._ranks_answers(task)
        return RecallSummary(
            self.name, self.lists, self.recall_at, self.average, self.mean_recalls, annotated_pairs
        )


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
