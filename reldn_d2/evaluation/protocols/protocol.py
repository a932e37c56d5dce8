"""The contract of an evaluation protocol.

A protocol defines exactly the meaning of numbers like "R@50" and "mAP".
It compares each image with its annotation (`match`), and then turns the records of many images into numbers
(`summarise`). So an image is matched once, even if several subsets of the images are reported.
A protocol that also follows `StreamingProtocol` scores more images than the memory holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy.typing as npt

from reldn_d2.structures import Queries

from ..columns import Columns
from ..graphs import BoolArray, FloatArray, GroundTruthGraph, IntArray, PredictedGraph, Task
from ..metrics import PerImageRecall
from ..training_split import TrainingSplit, UnseenTriplets

LIST_LENGTH = 100
Record = TypeVar("Record")


@dataclass(frozen=True)
class ScoredImage:
    """The annotation of an image and the prediction for it.

    Attributes:
        image_id: id of the image as text.
        truth: the annotation.
        predicted: the prediction, with ranked triplets.
        zero_shot: (R,) bool, whether the three labels of a relationship (subject class, predicate, object
            class) never occur together in training; None if the training split is not known.
    """

    image_id: str
    truth: GroundTruthGraph
    predicted: PredictedGraph
    zero_shot: BoolArray | None = None


@dataclass(frozen=True)
class EvaluatedSplit:
    """Facts about the data set that a protocol may use besides its images.

    Attributes:
        predicate_classes: P names.
        training: the training split, or only the label triplets that it lacks; None if neither is known.
        num_classes: number C of entity classes, for checks. None: that of the training split; without one,
            classes have no upper limit.
        task: the task of the predictions, which the facts of the numbers name; `evaluate_graphs` sets it.
    """

    predicate_classes: Sequence[str]
    training: TrainingSplit | UnseenTriplets | None = None
    num_classes: int | None = None
    task: Task | None = None


@dataclass(frozen=True)
class NumberFacts:
    """What a number means, apart from its name.

    Attributes:
        protocol: name of the protocol.
        task: the task; None if it is not known.
        pairs: which pairs of entities may be in the list: "all" or "annotated"; empty if there is no list.
        constraint: which triplets of a pair may be in it: "graph constraint" (only the best one),
            "2 predicates a pair" or "no constraint"; empty if there is no list.
        k: how many triplets of the list of an image count; None if there is no such limit.
        average: how the number is averaged, for example "macro" (mean over images) or "micro" (share of all
            relationships).
        predicates: the number of predicates that a mean over predicates divides by; None for other numbers.
        images: number of images that the number is of.
        relationships: number of annotated relationships (or other cases) that the number is of.
    """

    protocol: str
    task: Task | None
    pairs: str
    constraint: str
    k: int | None
    average: str
    predicates: int | None
    images: int
    relationships: int


@dataclass(frozen=True)
class ProtocolResult:
    """The numbers of a split under one protocol.

    Attributes:
        metrics: name -> percent. A number that is undefined, such as a mean over no predicate, is absent.
        per_image: name under which the counts are saved -> counts of every image. The name is that of the
            protocol, sometimes followed by the kind of cases.
        per_predicate: column name -> (P,) numbers, a table with one row for each predicate.
        notes: facts that a reader of the numbers needs, for example denominators.
        excluded: one of the notes, which says how many images are not scored; empty if all are. The summary
            of a run repeats it.
        facts: name of a metric -> what it is of. Protocols of other projects may lack them.
        column_facts: name of a column of `per_predicate` -> what its numbers are of, over all predicates;
            columns of counts have none.
    """

    metrics: dict[str, float]
    per_image: dict[str, PerImageRecall]
    per_predicate: dict[str, FloatArray | IntArray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    excluded: str = ""
    facts: dict[str, NumberFacts] = field(default_factory=dict)
    column_facts: dict[str, NumberFacts] = field(default_factory=dict)

    def add(self, name: str, value: float, facts: NumberFacts) -> None:
        """Add a metric; an undefined one (NaN) is left out."""
        if not isnan(value):
            self.metrics[name] = value
            self.facts[name] = facts


class EvaluationProtocol(Protocol[Record]):
    """The contract of a protocol."""

    @property
    def name(self) -> str:
        """Name of the protocol; every report shows it beside the numbers."""
        ...

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks that the protocol is defined for."""
        ...

    @property
    def list_length(self) -> int:
        """Length of the longest ranked list that the protocol reads."""
        ...

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None:
        """Check the protocol's settings against the P predicates of the data set.

        Raises:
            ValueError: if they do not fit.
        """
        ...

    def queries(self, truth: GroundTruthGraph, task: Task) -> Queries:
        """The questions to the model about an image, whose answers are not in the ranked list.

        The answers come in `PredictedGraph.pair_answers` and `triplet_answers`. They also hold what other
        protocols asked, so a protocol finds its own rows by value (`rows.find_rows`).
        """
        ...

    def match(self, image: ScoredImage, task: Task) -> Record:
        """Compare the prediction for one image with its annotation.

        An image without prediction has an empty one, without answers. The record must be small: the records
        of all images are kept.
        """
        ...

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[Record], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Turn the records of some images into numbers, without those that are undefined.

        Equal scores of different images keep the order of `records`.
        """
        ...


@runtime_checkable
class StreamingProtocol(EvaluationProtocol[Record], Protocol[Record]):
    """The contract of a protocol whose records can be kept as arrays, so that they fit on the disk.

    Evaluations of more images than the memory holds need it; others need `EvaluationProtocol` alone.
    """

    def columns(self, records: Sequence[Record]) -> dict[str, npt.NDArray[Any]]:
        """The records of some images as columns of numbers, see `reldn_d2.evaluation.columns`."""
        ...

    def summarise_columns(
        self, image_ids: Sequence[str], parts: Sequence[Columns], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Turn the columns of some images into numbers, those of `summarise` bit for bit.

        Args:
            image_ids: ids of the N images.
            parts: columns of the first images, of the next ones, and so on: one part or more. A part may be
                read from the disk whenever it is asked for, and no part is kept.
            split: facts about the data set.
        """
        ...
