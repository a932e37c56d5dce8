"""The contract of an evaluation protocol.

A protocol defines exactly what a number such as "R@50" or "mAP" means.
It compares each image with its annotation (`match`), and then turns the records of many images into numbers
(`summarise`). So an image is matched once, even if several subsets of the images are reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from reldn_d2.structures import Queries

from ..graphs import BoolArray, FloatArray, GroundTruthGraph, IntArray, PredictedGraph, Task
from ..metrics import PerImageRecall
from ..training_split import TrainingSplit, UnseenTriplets

LIST_LENGTH = 100
Record = TypeVar("Record")


@dataclass(frozen=True)
class ScoredImage:
    """The annotation of an image and the prediction for it.

    Attributes:
        zero_shot: (R,) bool, whether the three labels of a relationship (subject class, predicate, object
            class) never occur together in training; None if the training split is not known.
    """

    image_id: str
    truth: GroundTruthGraph
    predicted: PredictedGraph
    zero_shot: BoolArray | None = None


@dataclass(frozen=True)
class EvaluatedSplit:
    """What a protocol may know about the data set besides its images.

    Attributes:
        predicate_classes: P names.
        training: the training split, or only the label triplets that it lacks; None if neither is known.
    """

    predicate_classes: Sequence[str]
    training: TrainingSplit | UnseenTriplets | None = None


@dataclass(frozen=True)
class ProtocolResult:
    """The numbers of a split under one protocol.

    Attributes:
        metrics: name -> percent; NaN if the number is undefined.
        per_image: name under which the counts are saved -> counts of every image. The name is that of the
            protocol, sometimes followed by what was counted.
        per_predicate: column name -> (P,) numbers, a table with one row for each predicate.
        notes: what a reader of the numbers must know, such as denominators.
    """

    metrics: dict[str, float]
    per_image: dict[str, PerImageRecall]
    per_predicate: dict[str, FloatArray | IntArray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class EvaluationProtocol(Protocol[Record]):
    """The contract of a protocol.

    Attributes:
        name: name of the protocol; every report shows it beside the numbers.
        tasks: tasks that the protocol is defined for.
        list_length: length of the longest ranked list that it reads.
    """

    @property
    def name(self) -> str: ...

    @property
    def tasks(self) -> tuple[Task, ...]: ...

    @property
    def list_length(self) -> int: ...

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None:
        """Check the protocol's settings against the P predicates of the data set.

        Raises:
            ValueError: if they do not fit.
        """
        ...

    def queries(self, truth: GroundTruthGraph, task: Task) -> Queries:
        """What the protocol asks the model about an image, besides the ranked list.

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
        """Turn the records of some images into numbers.

        Equal scores of different images keep the order of `records`.
        """
        ...
