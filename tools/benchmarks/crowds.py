"""Time and memory of the confusion protocol on an image with very many relationships.

Each measurement has its own process.
"""

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from reldn_d2.evaluation import (
    ConfusionProtocol,
    GroundTruthGraph,
    PredictedGraph,
    ScoredImage,
    TripletAnswers,
)

from .memory import watch_peak

#: Boxes and relationships of the images.
SIZES = ((400, 600), (400, 1_000), (400, 2_400), (4_800, 2_400))


@dataclass(frozen=True)
class CrowdedImage:
    """What it takes to ask about an image and to judge the answers.

    Attributes:
        boxes, relationships: size of the image.
        triplets: number of triplets that the model is asked about.
        ask_seconds, judge_seconds: processor time of `ConfusionProtocol.queries` and `match`.
        peak_mb: peak memory of both above the memory before, in MB (1e6 bytes).
    """

    boxes: int
    relationships: int
    triplets: int
    ask_seconds: float
    judge_seconds: float
    peak_mb: float


def crowded_images() -> Iterator[CrowdedImage]:
    """Measures an image of each size."""
    for boxes, relationships in SIZES:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            yield pool.submit(measure, boxes, relationships).result()


def measure(boxes: int, relationships: int) -> CrowdedImage:
    """Measures an image in this process."""
    truth, protocol = crowd(boxes, relationships), ConfusionProtocol()
    peak, start = watch_peak(), time.process_time()
    asked = protocol.queries(truth, "prdcls").triplets.numpy()
    has_asked = time.process_time()
    score = np.linspace(0, 1, len(asked), dtype=np.float32)
    subject, object, predicate = asked.T.astype(np.int32)
    answers = TripletAnswers(subject, object, predicate, score, np.ones(len(asked), dtype=np.bool_))
    predicted = replace(PredictedGraph.empty(), triplet_answers=answers)
    answered = time.process_time()
    protocol.match(ScoredImage("1", truth, predicted), "prdcls")
    judged = time.process_time()
    return CrowdedImage(boxes, relationships, len(asked), has_asked - start, judged - answered, peak())


def crowd(boxes: int, relationships: int, *, classes: int = 1, predicates: int = 1) -> GroundTruthGraph:
    """Makes an image of 960 x 960 pixels with small boxes and random relationships, all different."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 900, (boxes, 2))
    pairs = rng.choice(boxes * (boxes - 1), relationships, replace=False)
    subject, other = np.divmod(pairs, boxes - 1)
    rows = [subject, other + (other >= subject), rng.integers(predicates, size=relationships)]
    return GroundTruthGraph(
        np.concatenate([corners, corners + rng.uniform(10, 60, (boxes, 2))], axis=1),
        rng.integers(classes, size=boxes),
        np.stack(rows, axis=1),
    )
