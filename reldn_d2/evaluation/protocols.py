"""Named evaluation protocols: what exactly a number called "R@50" or "mAP" means.

A protocol is anything with the attributes and the method of `EvaluationProtocol`. It scores all images of a
split and returns named numbers, together with what it counted in every image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np

from .graphs import GroundTruthGraph, IntArray, PredictedGraph, RankedTriplets, Task
from .matching import find_matches, first_hits
from .ranking import annotated_triplets
from .recall import PerImageRecall, macro_recall, micro_recall

TASKS: tuple[Task, ...] = get_args(Task)
RECALL_AT = (20, 50, 100)
LIST_LENGTH = 100
ALL_PREDICATES = np.iinfo(np.int64).max
PUBLISHED_PREDICATES_PER_PAIR = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)


def parse_task(task: str) -> Task:
    """The task of a name in upper or lower case; ValueError for any other name."""
    for known in TASKS:
        if known == task.upper():
            return known
    raise ValueError(f"unknown task '{task}'; the tasks are {', '.join(TASKS)}")


@dataclass(frozen=True)
class ScoredImage:
    """Annotation of an image and the prediction for it."""

    image_id: str
    truth: GroundTruthGraph
    predicted: PredictedGraph


@dataclass(frozen=True)
class ProtocolResult:
    """Numbers of a split (percent, by name) and the counts of every image behind its recalls."""

    metrics: dict[str, float]
    per_image: PerImageRecall


class EvaluationProtocol(Protocol):
    """Contract of a protocol.

    Attributes:
        name: goes into every report beside the numbers.
        tasks: tasks the protocol is defined for.
        needs_annotated_pairs: whether it ranks `PredictedGraph.annotated` in SGCLS and PRDCLS.
        list_length: longest ranked list it reads.
    """

    @property
    def name(self) -> str: ...

    @property
    def tasks(self) -> tuple[Task, ...]: ...

    @property
    def needs_annotated_pairs(self) -> bool: ...

    @property
    def list_length(self) -> int: ...

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None:
        """Raise ValueError if the protocol's settings do not fit the predicates of the data set."""
        ...

    def score(
        self, images: Sequence[ScoredImage], task: Task, predicate_classes: Sequence[str]
    ) -> ProtocolResult:
        """Score a split. Equal scores in different images rank in the order of `images`."""
        ...


@dataclass(frozen=True)
class RecallList:
    """One of the ranked lists a recall protocol counts hits in.

    Attributes:
        prefix: begins the name of the list's numbers.
        predicates_per_pair: how many predicates of an ordered pair compete.
        phrase: phrase detection instead of relation detection.
    """

    prefix: str
    predicates_per_pair: int
    phrase: bool = False


@dataclass(frozen=True)
class RecallProtocol:
    """Recall in the best K triplets of each image; one triplet may hit several annotated relationships.

    Attributes:
        name: see `EvaluationProtocol`.
        lists: the ranked lists, each giving a number for every K.
        average: the average named by the plain metric name; the other one gets its name as a prefix.
        needs_annotated_pairs: rank the annotated pairs, not all pairs, in SGCLS and PRDCLS.
        min_score: triplets must score higher than this (exclusive).
        tasks: see `EvaluationProtocol`.
        recall_at: the K's.
        list_length: longest ranked list; no K exceeds it.
        min_iou: a hit overlaps at least this much (inclusive).
        offset: pixel convention of the overlap, 0 or 1 (see `matching.box_iou`).
    """

    name: str
    lists: tuple[RecallList, ...]
    average: Literal["macro", "micro"]
    needs_annotated_pairs: bool = False
    min_score: float = float("-inf")
    tasks: tuple[Task, ...] = TASKS
    recall_at: tuple[int, ...] = RECALL_AT
    list_length: int = LIST_LENGTH
    min_iou: float = 0.5
    offset: float = 1.0

    def __post_init__(self) -> None:
        if max(self.recall_at) > self.list_length:
            raise ValueError(
                f"protocol {self.name}: recall at {max(self.recall_at)} of {self.list_length} triplets"
            )

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None:
        """Any vocabulary will do."""

    def score(
        self, images: Sequence[ScoredImage], task: Task, predicate_classes: Sequence[str]
    ) -> ProtocolResult:
        """Recall of every list at every K, averaged both ways. `predicate_classes` has no influence."""
        ids, truths, hits = [], [], []
        for image in images:
            ids.append(image.image_id)
            truths.append(len(image.truth.relations))
            hits.append(self._hits(image, task))
        counts = np.array(hits, dtype=np.int64).reshape(len(ids), len(self.lists), len(self.recall_at))
        per_image = PerImageRecall(
            tuple(ids),
            np.array(truths, dtype=np.int64),
            {
                f"{ranked.prefix}R@{k}": counts[:, i, j]
                for i, ranked in enumerate(self.lists)
                for j, k in enumerate(self.recall_at)
            },
        )
        return ProtocolResult(_recalls(per_image, self.average), per_image)

    def _hits(self, image: ScoredImage, task: Task) -> IntArray:
        """(lists, K's) annotated relationships of an image found in the best K triplets of each list."""
        places = self.first_places(image.truth, image.predicted, task)
        counts: IntArray = (places[:, None, :] < np.asarray(self.recall_at)[None, :, None]).sum(axis=2)
        return counts

    def first_places(self, truth: GroundTruthGraph, predicted: PredictedGraph, task: Task) -> IntArray:
        """(lists, R) place, from 0, of the first triplet hitting each relationship; `list_length` if none."""
        triplets = self._ranked(predicted, task)
        places = np.empty((len(self.lists), len(truth.relations)), dtype=np.int64)
        for phrase in (False, True):
            rows = [i for i, ranked in enumerate(self.lists) if ranked.phrase == phrase]
            if not rows:
                continue
            matches = find_matches(predicted, triplets, truth, phrase=phrase, offset=self.offset)
            hit = (matches.overlap >= self.min_iou) & (triplets.score[matches.triplet] > self.min_score)
            places[rows] = first_hits(
                matches.rows(hit),
                triplets.rank_in_pair,
                [self.lists[i].predicates_per_pair for i in rows],
                self.list_length,
                len(truth.relations),
            )
        return places

    def _ranked(self, predicted: PredictedGraph, task: Task) -> RankedTriplets:
        if task == "SGDET" or not self.needs_annotated_pairs:
            return predicted.relations
        if predicted.annotated is None:
            return PredictedGraph.empty().relations
        return annotated_triplets(predicted.annotated, self.list_length)


def _recalls(counts: PerImageRecall, average: str) -> dict[str, float]:
    averages = {"macro": macro_recall, "micro": micro_recall}
    first = averages.pop(average)
    metrics = {name: first(hits, counts.ground_truths) for name, hits in counts.hits.items()}
    for other, recall in averages.items():
        for name, hits in counts.hits.items():
            metrics[f"{other}_{name}"] = recall(hits, counts.ground_truths)
    return metrics


def motifs() -> RecallProtocol:
    """Visual Genome community's recall, with ("R@K") and without ("ngR@K") the graph constraint."""
    return RecallProtocol("motifs", (RecallList("", 1), RecallList("ng", ALL_PREDICATES)), average="macro")


def reldn(predicates_per_pair: Sequence[int] = PUBLISHED_PREDICATES_PER_PAIR) -> RecallProtocol:
    """Recall as in the code published with the paper, on Visual Genome and VRD (there also with 70
    predicates).

    Args:
        predicates_per_pair: the k's; each gives relation ("rel_k1_R@50") and phrase ("phr_k1_R@50") recall.

    Raises:
        ValueError: if a k is below 1, is repeated, or if there is none.
    """
    ks = tuple(predicates_per_pair)
    if not ks or min(ks) < 1 or len(set(ks)) < len(ks):
        raise ValueError(f"protocol reldn: predicates_per_pair must be distinct and >= 1, got {list(ks)}")
    lists = [RecallList(f"{kind}_k{k}_", k, kind == "phr") for kind in ("rel", "phr") for k in ks]
    return RecallProtocol("reldn", tuple(lists), average="micro", needs_annotated_pairs=True)
