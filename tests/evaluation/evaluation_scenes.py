"""Small scenes for the tests of metrics, and slow metrics from the definitions in docs/evaluation.md."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from reldn_d2.evaluation import (
    AnnotatedPairs,
    EvaluatedSplit,
    EvaluationProtocol,
    GroundTruthGraph,
    PredictedGraph,
    ProtocolResult,
    RankedTriplets,
    ScoredImage,
    TrainingSplit,
)

NUM_CLASSES = 2
NUM_PREDICATES = 3
NAMES = ["on", "has", "near"]
Row = tuple[int, int, int, float, int]  # subject, object, predicate, score, rank in pair


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
    boxes: Sequence, classes: Sequence, rows: Sequence[Row], annotated: AnnotatedPairs | None = None
) -> PredictedGraph:
    return PredictedGraph(
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(classes, dtype=np.int32),
        np.ones(len(classes), dtype=np.float32),
        ranked(rows),
        annotated,
    )


def score_images(
    protocol: EvaluationProtocol,
    images: Sequence[tuple[GroundTruthGraph, PredictedGraph]],
    task: str = "SGDET",
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
    """An image: its annotation, the full prediction, and the prediction's rows best first."""

    truth: GroundTruthGraph
    predicted: PredictedGraph
    all_pairs: list[Row]
    annotated_pairs: list[Row]


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
    pairs = [(s, o) for s in range(num_predicted) for o in range(num_predicted) if s != o]
    all_pairs = _rows(pairs, [draw(probs) for _ in pairs])
    annotated = [(s, o) for s, o, _ in relations] if num_predicted >= num_true else []
    annotated_probs = [draw(probs) for _ in annotated]
    predicted = predicted_graph(
        draw(_boxes(num_predicted)),
        draw(st.lists(class_ids, min_size=num_predicted, max_size=num_predicted)),
        all_pairs,
        AnnotatedPairs(
            np.array([s for s, _ in annotated], dtype=np.int32),
            np.array([o for _, o in annotated], dtype=np.int32),
            np.ones(len(annotated), dtype=np.float32),
            np.array(annotated_probs, dtype=np.float32).reshape(-1, NUM_PREDICATES),
        ),
    )
    return Scene(truth, predicted, all_pairs, _rows(annotated, annotated_probs))


def _rows(pairs: list[tuple[int, int]], probs: list[list[float]]) -> list[Row]:
    rows = []
    for (subject, object), row in zip(pairs, probs, strict=True):
        by_rank = sorted(range(NUM_PREDICATES), key=lambda p: (-row[p], p))
        rows += [(subject, object, p, row[p], rank) for rank, p in enumerate(by_rank, start=1)]
    return sorted(rows, key=lambda r: -r[3])  # stable: pair, then rank


def slow_iou(a: Sequence[float], b: Sequence[float], offset: float) -> float:
    def area(x0: float, y0: float, x1: float, y1: float) -> float:
        return max(0.0, x1 - x0 + offset) * max(0.0, y1 - y0 + offset)

    common = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    together = area(*a) + area(*b) - common
    return common / together if together else 0.0


def slow_overlap(
    predicted: PredictedGraph,
    row: Row,
    truth: GroundTruthGraph,
    relation: Sequence[int],
    phrase: bool,
    offset: float,
) -> float | None:
    """Overlap of a triplet with an annotated relationship; None where a label differs."""
    boxes, true_boxes = predicted.boxes.tolist(), truth.boxes.tolist()
    for end in (0, 1):
        if predicted.classes[row[end]] != truth.classes[relation[end]]:
            return None
    if row[2] != relation[2]:
        return None
    if phrase:
        a, b = (
            [min(s[0], o[0]), min(s[1], o[1]), max(s[2], o[2]), max(s[3], o[3])]
            for s, o in ((boxes[row[0]], boxes[row[1]]), (true_boxes[relation[0]], true_boxes[relation[1]]))
        )
        return slow_iou(a, b, offset)
    return min(slow_iou(boxes[row[end]], true_boxes[relation[end]], offset) for end in (0, 1))


def slow_hits(
    scene: Scene,
    rows: list[Row],
    *,
    k: int,
    at: int,
    phrase: bool = False,
    min_score: float = -1.0,
    list_length: int = 100,
) -> int:
    """Annotated relationships hit by one of the first `at` triplets (offset 1, overlap >= 0.5)."""
    candidates = [row for row in rows if row[4] <= k][:list_length]
    candidates = [row for row in candidates if row[3] > min_score][:at]
    found = 0
    for relation in scene.truth.relations.tolist():
        overlaps = [
            slow_overlap(scene.predicted, row, scene.truth, relation, phrase, 1.0) for row in candidates
        ]
        found += any(overlap is not None and overlap >= 0.5 for overlap in overlaps)
    return found


def slow_average_precision(true_positive: list[bool], num_truths: int) -> float:
    """The textbook loop: measured precision, made monotone from the right, times each step of recall."""
    recalls, precisions, found = [0.0], [0.0], 0
    for i, positive in enumerate(true_positive, start=1):
        found += positive
        recalls.append(found / num_truths)
        precisions.append(found / i)
    recalls.append(1.0)
    precisions.append(0.0)
    for i in reversed(range(len(precisions) - 1)):
        precisions[i] = max(precisions[i], precisions[i + 1])
    return sum((recalls[i] - recalls[i - 1]) * precisions[i] for i in range(1, len(recalls)))
