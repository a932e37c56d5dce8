"""Small scenes for the tests of metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from reldn_d2.evaluation import (
    EvaluatedSplit,
    EvaluationProtocol,
    GroundTruthGraph,
    PairAnswers,
    PredictedGraph,
    ProtocolResult,
    RankedTriplets,
    ScoredImage,
    TrainingSplit,
)
from tests.references.evaluation import Labels, Row, slow_ranking

NUM_CLASSES = 2
NUM_PREDICATES = 3
NAMES = ["on", "has", "near"]


def truth_graph(boxes: Sequence, classes: Sequence, relations: Sequence) -> GroundTruthGraph:
    return GroundTruthGraph(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(classes, dtype=np.int64),
        np.array(relations, dtype=np.int64).reshape(-1, 3),
    )


def ranked(rows: Sequence[Row]) -> RankedTriplets:
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    subject, object, predicate, rank = table[:, [0, 1, 2, 4]].T.astype(np.int32)
    return RankedTriplets(subject, object, predicate, table[:, 3].astype(np.float32), rank)


def predicted_graph(
    boxes: Sequence, classes: Sequence, rows: Sequence[Row], answers: PairAnswers | None = None
) -> PredictedGraph:
    return PredictedGraph(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(classes, dtype=np.int32),
        np.ones(len(classes), dtype=np.float32),
        ranked(rows),
        answers,
    )


def score_images(
    protocol: EvaluationProtocol,
    images: Sequence[tuple[GroundTruthGraph, PredictedGraph]],
    task: str = "sgdet",
    training: TrainingSplit | None = None,
) -> ProtocolResult:
    """Images "0", "1", ... under a protocol; the predicates are NAMES."""
    records = [
        protocol.match(
            ScoredImage(str(i), truth, predicted, None if training is None else training.is_zero_shot(truth)),
            task,
        )
        for i, (truth, predicted) in enumerate(images)
    ]
    ids = [str(i) for i in range(len(records))]
    return protocol.summarise(ids, records, EvaluatedSplit(NAMES, training))


@dataclass(frozen=True)
class Scene:
    """An image.

    Attributes:
        truth: annotation.
        predicted: prediction; its pair answers are about the annotated relationships, and None if there are
            fewer predicted than annotated entities.
        pairs: scores of every ordered pair of predicted entities.
        all_pairs: ranked list of all triplets of `pairs`, best first.
        annotated_pairs: ranked list of all triplets of the pair answers, best first.
    """

    truth: GroundTruthGraph
    predicted: PredictedGraph
    pairs: PairAnswers
    all_pairs: list[Row]
    annotated_pairs: list[Row]


def scored_pairs(pairs: Sequence, scores: Sequence, probs: Sequence, num_predicates: int) -> PairAnswers:
    subject, object = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    probabilities = np.array(probs, dtype=np.float32).reshape(-1, num_predicates)
    return PairAnswers(subject, object, np.array(scores, dtype=np.float32), probabilities)


def training_truths(labels: Sequence[Labels]) -> list[GroundTruthGraph]:
    """Annotated images with these labels, one relationship each."""
    box = (0, 0, 9, 9)
    return [truth_graph([box, box], [s, o], [(0, 1, p)]) for s, o, p in labels]


training_labels = st.lists(
    st.tuples(
        st.integers(0, NUM_CLASSES - 1), st.integers(0, NUM_CLASSES - 1), st.integers(0, NUM_PREDICATES - 1)
    ),
    max_size=8,
)


def _boxes(count: int) -> st.SearchStrategy[list]:
    # Few corners, so that equal, half-overlapping and touching boxes are common.
    low, high = st.integers(0, 2), st.integers(2, 5)
    return st.lists(st.tuples(low, low, high, high), min_size=count, max_size=count)


@st.composite
def scenes(draw: st.DrawFn, max_entities: int = 4) -> Scene:
    num_true = draw(st.integers(1, 3))
    num_predicted = draw(st.integers(0, max_entities))
    class_ids = st.integers(0, NUM_CLASSES - 1)
    entity = st.integers(0, num_true - 1)
    relations = draw(st.lists(st.tuples(entity, entity, st.integers(0, NUM_PREDICATES - 1)), max_size=5))
    truth = truth_graph(
        draw(_boxes(num_true)), draw(st.lists(class_ids, min_size=num_true, max_size=num_true)), relations
    )
    levels = st.sampled_from([0.0, 0.00001, 0.25, 0.5, 1.0])  # few levels: ties are common
    probs = st.lists(levels, min_size=NUM_PREDICATES, max_size=NUM_PREDICATES)
    pair_scores = st.sampled_from([0.0, 0.5, 1.0])  # powers of two: products are exact

    def scored(rows: list[tuple[int, int]]) -> PairAnswers:
        return scored_pairs(
            rows, [draw(pair_scores) for _ in rows], [draw(probs) for _ in rows], NUM_PREDICATES
        )

    pairs = scored([(s, o) for s in range(num_predicted) for o in range(num_predicted) if s != o])
    answers = scored([(s, o) for s, o, _ in relations]) if num_predicted >= num_true else None
    all_pairs = slow_ranking(pairs)
    predicted = predicted_graph(
        draw(_boxes(num_predicted)),
        draw(st.lists(class_ids, min_size=num_predicted, max_size=num_predicted)),
        all_pairs,
        answers,
    )
    return Scene(truth, predicted, pairs, all_pairs, [] if answers is None else slow_ranking(answers))
