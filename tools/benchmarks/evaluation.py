"""Evaluating an image: from the predicate probabilities of all its pairs to the metrics of a protocol."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from reldn_d2.evaluation import (
    EvaluatedSplit,
    GroundTruthGraph,
    PairAnswers,
    PredictedGraph,
    ScoredImage,
    motifs,
    rank_triplets,
    reldn,
)
from reldn_d2.evaluation.graphs import FloatArray, IntArray
from reldn_d2.evaluation.protocols.recall import RecallProtocol
from tests.references.evaluation import Found, slow_mean_recalls, slow_recalls

from .timing import Row, Skipped, Timer

ENTITIES, CLASSES, PREDICATES, RELATIONS = 100, 20, 50, 20
KS = (*range(1, 11), 15, 20, 70)
_ANNOTATED = 20  # entities
_LENGTHS = (20, 50, 100)
# Precision, F, and the means over predicates of `reldn`.
_NOT_IN_USUAL = re.compile(r"[PF]@|_k\d+_mR")
_Metrics = dict[str, float]
_Listed = tuple[IntArray, IntArray]  # pair and predicate of each triplet


@dataclass(frozen=True)
class Case:
    """An image. `predicted` has no relationships yet, and `pairs` are all ordered pairs."""

    truth: GroundTruthGraph
    predicted: PredictedGraph
    pairs: PairAnswers


def rows(timer: Timer) -> Iterator[Row | Skipped]:
    """Measures two protocols on one image."""
    case = make_case(0)
    yield timer.measure(
        f"motifs, one image: {len(case.pairs.score):,} pairs × {PREDICATES} predicates",
        partial(_fast, case, motifs()),
        slow=partial(_usual_motifs, case),
        slow_name="argsort of all, loop over relationships",
        same=_same,
    )
    yield timer.measure(
        f"reldn, the same image: {len(KS)} numbers of predicates a pair, relation and phrase",
        partial(_fast, case, reldn(KS)),
        slow=partial(_usual_reldn, case),
        slow_name="argsort for each number, loop over relationships",
        same=_same,
    )


def make_case(seed: int, concentration: float = 0.1) -> Case:
    """Make an image with its prediction.

    Detections of annotated entities have high scores, others low ones. Most annotated pairs have a high
    probability of being related, and their annotated predicate is the first, second or third best.

    Args:
        seed: seed of the random numbers.
        concentration: the higher it is, the flatter are the distributions of the predicates, and the longer
            is the list that `rank_triplets` returns.
    """
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 500, (ENTITIES, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(50, 150, (ENTITIES, 2))], axis=1)
    classes = rng.integers(CLASSES, size=ENTITIES)
    scores = np.where(
        np.arange(ENTITIES) < _ANNOTATED, rng.uniform(0.7, 1.0, ENTITIES), rng.uniform(0.05, 0.6, ENTITIES)
    )
    subject, object = np.nonzero(~np.eye(ENTITIES, dtype=bool))
    between = np.flatnonzero((subject < _ANNOTATED) & (object < _ANNOTATED))
    annotated = rng.choice(between, RELATIONS, replace=False)
    related = 0.5 * rng.random(len(subject)) ** 4
    related[annotated] = rng.uniform(0.2, 1.0, RELATIONS)
    probs = related[:, None] * rng.dirichlet(np.full(PREDICATES, concentration), len(subject))
    predicate = np.argsort(-probs[annotated], axis=1)[np.arange(RELATIONS), rng.integers(3, size=RELATIONS)]
    pairs = PairAnswers(
        subject, object, (scores[subject] * scores[object]).astype(np.float32), probs.astype(np.float32)
    )

    truth = GroundTruthGraph(
        boxes[:_ANNOTATED] + rng.uniform(-15, 15, (_ANNOTATED, 4)),
        classes[:_ANNOTATED],
        np.stack([subject[annotated], object[annotated], predicate], axis=1),
    )
    predicted = replace(
        PredictedGraph.empty(),
        boxes=boxes.astype(np.float32),
        classes=classes,
        scores=scores.astype(np.float32),
    )
    return Case(truth, predicted, pairs)


def ranked(case: Case, list_length: int) -> PredictedGraph:
    """The prediction with its ranked list."""
    pairs = case.pairs
    relations = rank_triplets(pairs.subject, pairs.object, pairs.score, pairs.predicate_probs, list_length)
    return replace(case.predicted, relations=relations)


def _fast(case: Case, protocol: RecallProtocol) -> _Metrics:
    """All metrics are computed; those that the usual way does not compute are left out of the answer."""
    image = ScoredImage("1", case.truth, ranked(case, protocol.list_length))
    split = EvaluatedSplit([str(p) for p in range(PREDICATES)])
    metrics = protocol.summarise(["1"], [protocol.match(image, "sgdet")], split).metrics
    return {name: value for name, value in metrics.items() if not _NOT_IN_USUAL.search(name)}


def _usual_motifs(case: Case) -> _Metrics:
    """Sorts the best triplets of all pairs, and then all triplets, without an early stop."""
    probs, pair_score = case.pairs.predicate_probs, case.pairs.score
    best = probs.argmax(axis=1)
    order = np.argsort(-pair_score * probs[np.arange(len(best)), best])[: _LENGTHS[-1]]
    every = np.argsort(-(pair_score[:, None] * probs).ravel())[: _LENGTHS[-1]]
    metrics: _Metrics = {}
    for prefix, listed in (("", (order, best[order])), ("ng", (every // PREDICATES, every % PREDICATES))):
        places = _places(case, listed, phrase=False)
        for at in _LENGTHS:
            found: Found = [(places < at).tolist()]
            metrics |= slow_recalls([case.truth], prefix, at, found, average="macro", training=None)
            metrics |= slow_mean_recalls(
                [case.truth], prefix, at, found, num_predicates=PREDICATES, training=None
            )
    return metrics


def _usual_reldn(case: Case) -> _Metrics:
    """Sorts the predicates of every pair once, and for every k the k best triplets of all pairs."""
    probs, pair_score = case.pairs.predicate_probs, case.pairs.score
    by_rank = np.argsort(-probs, axis=1)
    scores = pair_score[:, None] * np.take_along_axis(probs, by_rank, axis=1)
    metrics: _Metrics = {}
    for k in KS:
        shown = min(k, PREDICATES)
        order = np.argsort(-scores[:, :shown].ravel())[: _LENGTHS[-1]]
        listed = order // shown, by_rank[order // shown, order % shown]
        for kind in ("rel", "phr"):
            places = _places(case, listed, phrase=kind == "phr")
            for at in _LENGTHS:
                found: Found = [(places < at).tolist()]
                prefix = f"{kind}_k{k}_"
                metrics |= slow_recalls([case.truth], prefix, at, found, average="micro", training=None)
    return metrics


def _places(case: Case, listed: _Listed, phrase: bool) -> IntArray:
    """The place of the first triplet that hits each relationship, or the list's length, in a loop."""
    pair, predicate = listed
    subject, object = case.pairs.subject[pair], case.pairs.object[pair]
    boxes, classes, truth = case.predicted.boxes, case.predicted.classes, case.truth
    places = np.full(len(truth.relations), len(pair))
    for i, (s, o, p) in enumerate(truth.relations):
        hit = (
            (classes[subject] == truth.classes[s]) & (classes[object] == truth.classes[o]) & (predicate == p)
        )
        if phrase:
            hit &= (
                _iou(_around(boxes[subject], boxes[object]), _around(truth.boxes[s], truth.boxes[o])) >= 0.5
            )
        else:
            hit &= _iou(boxes[subject], truth.boxes[s]) >= 0.5
            hit &= _iou(boxes[object], truth.boxes[o]) >= 0.5
        if hit.any():
            places[i] = hit.argmax()
    return places


def _around(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.concatenate([np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])], axis=-1)


def _iou(boxes: FloatArray, box: FloatArray) -> npt.NDArray[np.float64]:
    """(K,) IoU of (K, 4) boxes with one box, in whole pixels."""
    width, height = (np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]) + 1).clip(0).T
    areas = [(x[..., 2] - x[..., 0] + 1) * (x[..., 3] - x[..., 1] + 1) for x in (boxes, box)]
    iou: npt.NDArray[np.float64] = width * height / (areas[0] + areas[1] - width * height)
    return iou


def _same(fast: _Metrics, slow: _Metrics) -> None:
    assert fast.keys() == slow.keys(), "other metrics"
    np.testing.assert_allclose([fast[name] for name in slow], list(slow.values()), rtol=1e-9)
