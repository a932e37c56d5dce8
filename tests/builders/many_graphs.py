"""Random annotations and predictions of many small images, for every task and protocol."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from reldn_d2.evaluation import (
    AnnotatedSet,
    AnnotationShardWriter,
    GroundTruthGraph,
    PairAnswers,
    PredictedGraph,
    PredictionShardWriter,
    TripletAnswers,
    make_protocols,
    rank_triplets,
)
from reldn_d2.structures import Queries, Vocabulary

CLASSES, PREDICATES = ["cat", "dog"], ["on", "by", "near"]
VOCABULARY = Vocabulary(CLASSES, PREDICATES)
NAME = "many_graphs"
SIDE = 40
PROTOCOLS_OF = {
    "sgdet": ["motifs", "reldn", "vrd2016", "openimages", "reldn_openimages", "confusion"],
    "sgcls": ["motifs", "reldn", "confusion"],
    "prdcls": ["motifs", "reldn", "confusion"],
}


@dataclass(frozen=True)
class ManyGraphs:
    """Images of a task, in the order of their ids.

    Attributes:
        task: the task.
        truths: image id -> annotation.
        predictions: image id -> prediction, which answers the protocols of `PROTOCOLS_OF`.
    """

    task: str
    truths: dict[str, GroundTruthGraph]
    predictions: dict[str, PredictedGraph]


def many_graphs(task: str, count: int, seed: int = 0) -> ManyGraphs:
    """Make images. Scores have few values, so that equal ones are common, also in different images."""
    rng = np.random.default_rng(seed)
    ids = sorted(str(i) for i in rng.choice(10_000, count, replace=False))
    truths = {i: random_truth(rng) for i in ids}
    return ManyGraphs(task, truths, {i: _prediction(rng, truths[i], task) for i in ids})


def random_truth(rng: np.random.Generator) -> GroundTruthGraph:
    """The annotation of an image with up to four entities and six relationships."""
    entities = int(rng.integers(0, 5))
    relations = np.zeros((0, 3), dtype=np.int64)
    if entities > 1:
        subject, object = rng.integers(entities, size=(2, int(rng.integers(0, 7))))
        relations = np.column_stack([subject, object, rng.integers(len(PREDICATES), size=len(subject))])
    verified = np.arange(len(CLASSES))[rng.random(len(CLASSES)) < 0.5]
    return GroundTruthGraph(_boxes(rng, entities), rng.integers(2, size=entities), relations, verified)


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes with few different corners, so that many overlap."""
    corners = 10.0 * rng.integers(0, 2, (count, 2))
    return np.concatenate([corners, corners + 10.0 * rng.integers(1, 4, (count, 2)) - 1], axis=1)


def _prediction(rng: np.random.Generator, truth: GroundTruthGraph, task: str) -> PredictedGraph:
    given = task != "sgdet"
    entities = len(truth.boxes) if given else int(rng.integers(0, 6))
    boxes = truth.boxes if given else _boxes(rng, entities)
    classes = truth.classes if task == "prdcls" else rng.integers(len(CLASSES), size=entities)
    subject, object = np.nonzero(~np.eye(entities, dtype=np.bool_))
    probs = _scores(rng, (len(subject), len(PREDICATES)))
    relations = rank_triplets(subject, object, _scores(rng, len(subject)), probs, list_length=100)
    protocols = make_protocols(PROTOCOLS_OF[task])
    asked = Queries.union([protocol.queries(truth, task) for protocol in protocols])
    pairs, triplets = asked.pairs.numpy(), asked.triplets.numpy()
    return PredictedGraph(
        boxes.astype(np.float32),
        classes,
        np.ones(entities, dtype=np.float32),
        relations,
        PairAnswers(*pairs.T, _scores(rng, len(pairs)), _scores(rng, (len(pairs), len(PREDICATES)))),
        TripletAnswers(*triplets.T, _scores(rng, len(triplets)), rng.random(len(triplets)) < 0.8),
    )


def _scores(rng: np.random.Generator, shape: Any) -> np.ndarray:
    return rng.choice(np.array([0.0, 0.25, 0.5, 1.0], dtype=np.float32), shape)


def dataset_dicts(truths: Mapping[str, GroundTruthGraph]) -> list[dict[str, Any]]:
    """The same annotation as Detectron2's dataset dicts."""
    return [
        {
            "image_id": image_id,
            "height": SIDE,
            "width": SIDE,
            "annotations": [
                {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": category}
                for box, category in zip(truth.boxes.tolist(), truth.classes.tolist(), strict=True)
            ],
            "relations": truth.relations,
            "verified_classes": truth.verified_classes.tolist(),
        }
        for image_id, truth in truths.items()
    ]


def parts_of(ids: Iterable[str], parts: int) -> list[list[str]]:
    """The sorted ids in consecutive parts of about the same size."""
    return [part.tolist() for part in np.array_split(np.array(list(ids)), parts)]


def write_annotations(
    folder: Path, truths: Mapping[str, GroundTruthGraph], shard_size: int, *, name: str = NAME
) -> Path:
    """A folder of annotation files."""
    with AnnotationShardWriter(folder, AnnotatedSet(name, VOCABULARY), shard_size=shard_size) as writer:
        for image_id in sorted(truths):
            writer.add(image_id, truths[image_id], (SIDE, SIDE))
    return folder


def write_predictions(
    folder: Path, graphs: ManyGraphs, shard_size: int, *, without: Sequence[str] = ()
) -> Path:
    """A folder of prediction files."""
    with PredictionShardWriter(folder, NAME, graphs.task, VOCABULARY, shard_size=shard_size) as writer:
        for image_id, predicted in graphs.predictions.items():
            if image_id not in without:
                writer.add(image_id, predicted)
    return folder
