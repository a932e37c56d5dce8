"""Scene graphs of one image as plain numpy arrays: what is annotated, and what a model predicts.

Legend of shape letters in this package:

    G  annotated entities of an image            R  annotated relationships of an image
    E  predicted entities of an image            T  triplets of a ranked list
    A  annotated pairs given to the model        P  predicates, background left out
    Q  triplets that the model is asked for      C  entity classes
    N  images                                    K  length of the list a recall is counted in

Boxes are XYXY in absolute pixels of the original image, continuous coordinates.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
Task = Literal["SGDET", "SGCLS", "PRDCLS"]


@dataclass(frozen=True)
class GroundTruthGraph:
    """Annotation of one image.

    Attributes:
        boxes: (G, 4) float.
        classes: (G,) int in [0, C).
        relations: (R, 3) int rows (subject, object, predicate); the first two are rows of `boxes`.
            Relationships of an entity with itself and repeated rows are ground truth like any other.
        verified_classes: (V,) int, classes whose presence or absence in the image somebody verified (the
            image labels of OpenImages); empty where nothing is known.
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
        score: (T,) float, never rising.
        rank_in_pair: (T,) int; 1 is the best predicate of its ordered pair, 2 the next.
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
class AnnotatedPairs:
    """Scores of the annotated pairs: row r belongs to row r of `GroundTruthGraph.relations`, so A = R.

    Attributes:
        subject, object: (A,) int, rows of the predicted entities.
        score: (A,) float, subject score times object score.
        predicate_probs: (A, P) float, the softmax without its background column, not renormalised.
    """

    subject: IntArray
    object: IntArray
    score: FloatArray
    predicate_probs: FloatArray


@dataclass(frozen=True)
class NamedTriplets:
    """Scores of triplets between annotated entities that the model was asked for by name (see `confusion`).

    Attributes:
        subject, object: (Q,) int, rows of the annotated entities.
        predicate: (Q,) int in [0, P).
        score: (Q,) float, on the scale of the ranked list.
        detected: (Q,) bool. False in SGDET where the two entities were not found by two different detections, or by two
            whose pair the model never considers; the score is 0 there.
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
        relations: ranked triplets over all the pairs the model considers. For every k the list has to hold
            the best triplets with rank_in_pair <= k, as many of them as the longest recall list.
        annotated: scores of the annotated pairs; None where the model was not given any.
        named: scores of named triplets; None where the model was not asked for any.
    """

    boxes: FloatArray
    classes: IntArray
    scores: FloatArray
    relations: RankedTriplets
    annotated: AnnotatedPairs | None = None
    named: NamedTriplets | None = None

    @staticmethod
    def empty() -> "PredictedGraph":
        """The prediction of a model that finds nothing."""
        index = np.zeros(0, dtype=np.int32)
        score = np.zeros(0, dtype=np.float32)
        boxes = np.zeros((0, 4), dtype=np.float32)
        return PredictedGraph(boxes, index, score, RankedTriplets(index, index, index, score, index))
