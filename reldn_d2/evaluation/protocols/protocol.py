"""What a named evaluation protocol is: it fixes what exactly a number called "R@50" or "mAP" means.

A protocol looks at every image alone (`match`) and then makes numbers of what it saw (`summarise`), so that the
images are matched once however many subsets of them are reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, get_args

from ..graphs import BoolArray, FloatArray, GroundTruthGraph, IntArray, PredictedGraph, Task
from ..metrics import PerImageRecall
from ..training_split import TrainingSplit, UnseenTriplets

TASKS: tuple[Task, ...] = get_args(Task)
LIST_LENGTH = 100
Need = Literal["annotated_pairs", "named_triplets"]
Record = TypeVar("Record")


def parse_task(task: str) -> Task:
    """The task of a name in upper or lower case; ValueError for any other name."""
    for known in TASKS:
        if known == task.upper():
            return known
    raise ValueError(f"unknown task '{task}'; the tasks are {', '.join(TASKS)}")


@dataclass(frozen=True)
class ScoredImage:
    """Annotation of an image and the prediction for it.

    Attributes:
        zero_shot: (R,) bool, whether the labels (subject, predicate, object) of a relationship never occur in
            training; None where the training split isn't known.
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
        training: what the training split holds, or only which label triplets it lacks; None if neither is known.
    """

    predicate_classes: Sequence[str]
    training: TrainingSplit | UnseenTriplets | None = None


@dataclass(frozen=True)
class ProtocolResult:
    """Numbers of a split under one protocol.

    Attributes:
        metrics: name -> percent; NaN where a number is undefined.
        per_image: what was counted in every image, by the name under which it is saved: the protocol's, or the
            protocol's and what was counted.
        per_predicate: column name -> (P,) numbers, a table with one row for each predicate.
        notes: what a reader of the numbers has to know, such as denominators.
    """

    metrics: dict[str, float]
    per_image: dict[str, PerImageRecall]
    per_predicate: dict[str, FloatArray | IntArray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class EvaluationProtocol(Protocol[Record]):
    """Contract of a protocol.

    Attributes:
        name: goes into every report beside the numbers.
        tasks: tasks the protocol is defined for.
        needs: what it reads besides the ranked list: "annotated_pairs" (`PredictedGraph.annotated`, in SGCLS and
            PRDCLS), "named_triplets" (`PredictedGraph.named`).
        list_length: longest ranked list it reads.
    """

    @property
    def name(self) -> str: ...

    @property
    def tasks(self) -> tuple[Task, ...]: ...

    @property
    def needs(self) -> frozenset[Need]: ...

    @property
    def list_length(self) -> int: ...

    def check_vocabulary(self, predicate_classes: Sequence[str]) -> None:
        """Raise ValueError if the protocol's settings do not fit the predicates of the data set."""
        ...

    def match(self, image: ScoredImage, task: Task) -> Record:
        """Compare one image's prediction with its annotation. The record must be small: all are kept."""
        ...

    def summarise(
        self, image_ids: Sequence[str], records: Sequence[Record], split: EvaluatedSplit
    ) -> ProtocolResult:
        """Numbers of some images. Equal scores in different images rank in the order of `records`."""
        ...
