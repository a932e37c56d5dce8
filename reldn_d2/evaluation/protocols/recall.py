"""Recall: how many annotated relationships are among the best K triplets of each image.

`RecallProtocol` finds the relationships of an image in its ranked lists. `RecallSummary` turns these finds
of many images into recalls; the protocols of OpenImages use it, too. `motifs`, `reldn` and `vrd2016` are the
named protocols.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reldn_d2.structures import Queries

from ..graphs import TASKS, BoolArray, GroundTruthGraph, IntArray, PredictedGraph, RankedTriplets, Task
from ..matching import MIN_OVERLAP, find_matches, first_hits, first_takers
from ..metrics import (
    PerImageRecall,
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
from .protocol import LIST_LENGTH, EvaluatedSplit, ProtocolResult, ScoredImage

ALL_PREDICATES = np.iinfo(np.int64).max
PUBLISHED_PREDICATES_PER_PAIR = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
_AVERAGES = {"macro": macro_recall, "micro": micro_recall}


@dataclass(frozen=True)
class FoundRelationships:
    """Where the ranked lists of one image find its annotated relationships.

    Attributes:
        places: (lists, R) int, place (from 0) of the triplet that finds each relationship; the length of the
            list if no triplet does.
        predicate: (R,) int.
        zero_shot: see `ScoredImage`.
    """

    places: IntArray
    predicate: IntArray
    zero_shot: BoolArray | None


@dataclass(frozen=True)
class RecallSummary:
    """The recalls that are reported, and their names.

    Attributes:
        name: name of the protocol; the counts of each image are saved under it.
        prefixes: one for each ranked list; the names of the list's metrics begin with it.
        recall_at: the K's.
        average: the average that has the plain name of the metric; the other average has its own name as a
            prefix.
        mean_recalls: whether recalls averaged over predicates and the table of predicates are reported, too.
    """

    name: str
    prefixes: tuple[str, ...]
    recall_at: tuple[int, ...]
    average: Literal["macro", "micro"]
    mean_recalls: bool = False

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[FoundRelationships], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Compute the recall of every list at every K.

        There are recalls of all relationships; of those whose labels never occur in training, if the training
        split is known; and averages over predicates, if `mean_recalls` is set.
        """
        found = self._pool(image_ids, records)
        result = ProtocolResult({}, {})
        self._add_recalls(result, self.name, "R", found)
        if split.training is not None:
            zero_shot = [record.zero_shot for record in records if record.zero_shot is not None]
            unseen = found.rows(np.concatenate([np.zeros(0, dtype=np.bool_), *zero_shot]))
            self._add_recalls(result, f"{self.name}_zero_shot", "zR", unseen)
            result.notes.append(
                f"zR: recall of the {len(unseen.image)} of {len(found.image)} relationships whose labels "
                "never occur together in training."
            )
        if self.mean_recalls:
            self._add_mean_recalls(result, found, split)
        return result

    def _pool(self, image_ids: Sequence[str], records: Sequence[FoundRelationships]) -> "_Split":
        places = [np.zeros((len(self.prefixes), 0), dtype=np.int32), *(record.places for record in records)]
        predicate = [np.zeros(0, dtype=np.int64), *(record.predicate for record in records)]
        image = np.repeat(np.arange(len(records)), [len(record.predicate) for record in records])
        pooled = np.concatenate(places, axis=1)
        found = {(prefix, k): pooled[i] < k for i, prefix in enumerate(self.prefixes) for k in self.recall_at}
        return _Split(tuple(image_ids), image, np.concatenate(predicate), found)

    def _add_recalls(self, result: ProtocolResult, counted: str, letter: str, found: "_Split") -> None:
        """Add both averages of the recalls: first the protocol's own one, under the plain names."""
        counts = found.per_image(letter)
        result.per_image[counted] = counts
        for average in sorted(_AVERAGES, key=lambda name: name != self.average):
            prefix = "" if average == self.average else f"{average}_"
            for name, hits in counts.hits.items():
                result.metrics[prefix + name] = _AVERAGES[average](hits, counts.ground_truths)

    def _add_mean_recalls(self, result: ProtocolResult, found: "_Split", split: EvaluatedSplit) -> None:
        num_predicates = len(split.predicate_classes)
        annotated = np.bincount(found.predicate, minlength=num_predicates)
        result.per_predicate["annotated"] = annotated
        groups = {}
        if isinstance(split.training, TrainingSplit):
            result.per_predicate["in training"] = split.training.predicate_counts
            groups = split.training.predicate_groups()
        for (prefix, k), hit in found.found.items():
            forms = {
                "": image_recall_per_predicate(hit, found.predicate, found.image, num_predicates),
                "pooled_": share_per_predicate(hit, found.predicate, num_predicates),
            }
            for form, recall in forms.items():
                result.per_predicate[f"{form}{prefix}R@{k}"] = recall
                result.metrics[f"{form}{prefix}mR@{k}"] = mean_over_annotated(recall)
                result.metrics[f"{form}{prefix}mR_all@{k}"] = mean_over_all(recall)
            for group, members in groups.items():
                result.metrics[f"{prefix}mR_{group}@{k}"] = mean_over_annotated(forms[""][members])
        result.notes.append(
            f"mR is the mean over the {np.count_nonzero(annotated)} predicates that are annotated, mR_all "
            f"over all {num_predicates}."
        )


@dataclass(frozen=True)
class _Split:
    """The annotated relationships of some images in one sequence, and whether each list found them."""

    image_ids: tuple[str, ...]
    image: IntArray
    predicate: IntArray
    found: Mapping[tuple[str, int], BoolArray]

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


@dataclass(frozen=True)
class RecallList:
    """One of the ranked lists of a recall protocol.

    Attributes:
        prefix: beginning of the names of the list's metrics.
        predicates_per_pair: how many predicates of an ordered pair may be in the list.
        phrase: whether hits are counted by phrase detection; else by relation detection.
    """

    prefix: str
    predicates_per_pair: int
    phrase: bool = False


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
        find_places = first_takers if self.one_to_one else first_hits
        for phrase in (False, True):
            rows = [i for i, ranked in enumerate(self.lists) if ranked.phrase == phrase]
            if not rows:
                continue
            matches = find_matches(image.predicted, triplets, truth, phrase=phrase, offset=self.offset)
            places[rows] = find_places(
                matches.rows(matches.overlap >= MIN_OVERLAP),
                triplets.rank_in_pair,
                [self.lists[i].predicates_per_pair for i in rows],
                self.list_length,
                len(truth.relations),
            )
        return FoundRelationships(places, truth.relations[:, 2], image.zero_shot)

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
        prefixes = tuple(ranked.prefix for ranked in self.lists)
        summary = RecallSummary(self.name, prefixes, self.recall_at, self.average, self.mean_recalls)
        return summary.summarise(image_ids, records, split)


def motifs() -> RecallProtocol:
    """Recall as in work on Visual Genome, with ("R@K") and without ("ngR@K") the graph constraint."""
    lists = (RecallList("", 1), RecallList("ng", ALL_PREDICATES))
    return RecallProtocol("motifs", lists, average="macro", mean_recalls=True)


def reldn(predicates_per_pair: Sequence[int] = PUBLISHED_PREDICATES_PER_PAIR) -> RecallProtocol:
    """Recall as in the code published with the paper, for Visual Genome and VRD (there also with k = 70).

    Args:
        predicates_per_pair: the k's. For each there is the recall of relations ("rel_k1_R@50") and of phrases
            ("phr_k1_R@50").

    Raises:
        ValueError: if a k is below 1 or repeated, or if there is none.
    """
    ks = tuple(predicates_per_pair)
    if not ks or min(ks) < 1 or len(set(ks)) < len(ks):
        raise ValueError(f"protocol reldn: predicates_per_pair must be distinct and >= 1, got {list(ks)}")
    lists = [RecallList(f"{kind}_k{k}_", k, kind == "phr") for kind in ("rel", "phr") for k in ks]
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
