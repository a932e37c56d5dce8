"""The contract of an evaluation protocol.

A protocol defines exactly the meaning of numbers like "R@50" and "mAP".
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
    """

    predicate_classes: Sequence[str]
    training: TrainingSplit | UnseenTriplets | None = None
    num_classes: int | None = None


@dataclass(frozen=True)
class ProtocolResult:
    """The numbers of a split under one protocol.

    Attributes:
        metrics: name -> percent; NaN if the number is undefined.
        per_image: name under which the counts are saved -> counts of every image. The name is that of the
            protocol, sometimes followed by the kind of cases.
        per_predicate: column name -> (P,) numbers, a table with one row for each predicate.
        notes: facts that a reader of the numbers needs, for example denominators.
        excluded: one of the notes, which says how many images are not scored; empty if all are. The summary
            of a run repeats it.
    """

    metrics: dict[str, float]
    per_image: dict[str, PerImageRecall]
    per_predicate: dict[str, FloatArray | IntArray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    excluded: str = ""


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
        """Turn the records of some images into numbers.

        Equal scores of different images keep the order of `records`.
        """
        ...
