"""Scene graphs of one image as plain NumPy arrays: the annotation, and the prediction of a model.

Shape letters in this package:

    G  annotated entities of an image            R  annotated relationships of an image
    E  predicted entities of an image            T  triplets of a ranked list
    A  pairs that the model was asked about      P  predicates, without background
    Q  triplets that the model was asked about   C  entity classes
    N  images                                    K  length of the list a recall is counted in

Boxes are XYXY in absolute pixels of the original image, continuous coordinates.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
Task = Literal["sgdet", "sgcls", "prdcls"]
TASKS: tuple[Task, ...] = get_args(Task)


def parse_task(task: str) -> Task:
    """The task with this name, in upper or lower case.

    Raises:
        ValueError: if there is no such task.
    """
    for known in TASKS:
        if known == task.lower():
            return known
    raise ValueError(f"unknown task '{task}'; the tasks are {', '.join(TASKS)}")


@dataclass(frozen=True)
class GroundTruthGraph:
    """Annotation of one image.

    Attributes:
        boxes: (G, 4) float.
        classes: (G,) int in [0, C).
        relations: (R, 3) int rows (subject, object, predicate); the first two are rows of `boxes`.
            A relationship of an entity with itself counts, and so does every repeated row.
        verified_classes: (V,) int, classes whose presence or absence in the image people verified (the image
            labels of OpenImages); empty if nothing is known.
    """

    boxes: FloatArray
    classes: IntArray
    relations: IntArray
    verified_classes: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True)
class RankedTriplets:
    """Predicted relationships, best first.

    Attributes:
        subject, object: (T,) int, rows of the predicted entities.
        predicate: (T,) int in [0, P).
        score: (T,) float, in descending order; scores may be equal.
        rank_in_pair: (T,) int; 1 is the best predicate of its ordered pair, 2 is the next one.
    """

    subject: IntArray
    object: IntArray
    predicate: IntArray
    score: FloatArray
    rank_in_pair: IntArray

    def __len__(self) -> int:
        return len(self.score)

    def rows(self, index: IntArray | BoolArray | slice) -> "RankedTriplets":
        """The triplets that `index` selects, in its order."""
        return RankedTriplets(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


@dataclass(frozen=True)
class PairAnswers:
    """The model's answers about pairs of given entities, one for each row of `Queries.pairs`.

    Attributes:
        subject, object: (A,) int, rows of the entities.
        score: (A,) float, subject score times object score.
        predicate_probs: (A, P) float, the softmax without its background column, not renormalised.
    """

    subject: IntArray
    object: IntArray
    score: FloatArray
    predicate_probs: FloatArray

    def rows(self, index: IntArray) -> "PairAnswers":
        """The answers that `index` selects, in its order."""
        return PairAnswers(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


@dataclass(frozen=True)
class TripletAnswers:
    """The model's answers about triplets of annotated entities, one for each row of `Queries.triplets`.

    Attributes:
        subject, object: (Q,) int, rows of the annotated entities.
        predicate: (Q,) int in [0, P).
        score: (Q,) float, on the scale of the ranked list.
        detected: (Q,) bool. It is False in sgdet if the two entities were not found by two different
            detections, or if the model never considers the pair of these detections. The score is 0 then.
    """

    subject: IntArray
    object: IntArray
    predicate: IntArray
    score: FloatArray
    detected: BoolArray


@dataclass(frozen=True)
class PredictedGraph:
    """Prediction for one image.

    Attributes:
        boxes: (E, 4) float.
        classes: (E,) int in [0, C).
        scores: (E,) float.
        relations: ranked triplets of all pairs that the model considers. For every k the list must hold the
            best triplets with rank_in_pair <= k, as many of them as the longest list of a protocol.
        pair_answers: answers about pairs; None if the model was not asked about any.
        triplet_answers: answers about triplets; None if the model was not asked about any.
        has_repeats: whether `relations` may hold a triplet several times, as lists of other models do (see
            `triplet_graphs`). Otherwise, a repeat is an error.
    """

    boxes: FloatArray
    classes: IntArray
    scores: FloatArray
    relations: RankedTriplets
    pair_answers: PairAnswers | None = None
    triplet_answers: TripletAnswers | None = None
    has_repeats: bool = False

    @staticmethod
    def empty() -> "PredictedGraph":
        """The prediction of a model that finds nothing."""
        index = np.zeros(0, dtype=np.int32)
        score = np.zeros(0, dtype=np.float32)
        boxes = np.zeros((0, 4), dtype=np.float32)
        return PredictedGraph(boxes, index, score, RankedTriplets(index, index, index, score, index))
