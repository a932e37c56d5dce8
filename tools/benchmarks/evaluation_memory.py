"""Memory and time of evaluating a whole split of generated images. Each measurement has its own process.

All protocols are scored, also on the confusion subset. The training split is as large as the test split.
"""

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances

from reldn_d2.evaluation import (
    PROTOCOLS,
    GroundTruthGraph,
    PredictedGraph,
    RankedTriplets,
    RelationEvaluator,
    confusion_triplets,
)

from .evaluation import CLASSES, PREDICATES, Case, make_case, ranked
from .memory import status_kb

_NAME = "evaluation_memory"
_RELATIONS = 8  # annotated relationships of an image
_SCENES = 50  # different scenes; the images repeat them
_Output = dict[str, Instances]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    Attributes:
        images: number of images.
        triplets: average length of the lists that the evaluator was given.
        peak_mb: peak memory of the whole process with its imports, in MB (1e6 bytes).
        process_seconds, evaluate_seconds: time in `RelationEvaluator.process` and in `evaluate`.
    """

    images: int
    triplets: float
    peak_mb: float
    process_seconds: float
    evaluate_seconds: float


def evaluations() -> Iterator[Evaluation]:
    """Measures a Visual Genome test split, and smaller ones with short lists and with every pair."""
    for images, every_pair in ((26_000, False), (2_000, False), (2_000, True)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            yield pool.submit(evaluate, images, every_pair).result()


def evaluate(images: int, every_pair: bool) -> Evaluation:
    """Evaluate generated images in this process.

    Args:
        images: number of images.
        every_pair: list the best triplet of each of the 9,900 pairs, not the list of `rank_triplets`.
    """
    scenes = [_scene(seed, every_pair) for seed in range(min(_SCENES, images))]
    truths, outputs = zip(*scenes, strict=True)
    DatasetCatalog.register(_NAME, lambda: [_record(i, truths[i % len(truths)]) for i in range(images)])
    MetadataCatalog.get(_NAME).set(
        thing_classes=[str(c) for c in range(CLASSES)],
        predicate_classes=[str(p) for p in range(PREDICATES)],
        train_dataset=_NAME,
    )
    try:
        with TemporaryDirectory() as folder:
            evaluator = RelationEvaluator(
                _NAME, "sgdet", list(PROTOCOLS), output_dir=folder, confusion_subset=True
            )
            start = time.perf_counter()
            for i in range(images):
                evaluator.process([{"image_id": i}], [outputs[i % len(outputs)]])
            processed = time.perf_counter()
            evaluator.evaluate()
            evaluated = time.perf_counter()
    finally:
        DatasetCatalog.remove(_NAME)
        MetadataCatalog.remove(_NAME)
    lengths = [len(output["relations"]) for output in outputs]
    peak_mb = status_kb("VmHWM") * 1024 / 1e6
    return Evaluation(images, float(np.mean(lengths)), peak_mb, processed - start, evaluated - processed)


def _scene(seed: int, every_pair: bool) -> tuple[GroundTruthGraph, _Output]:
    """The annotation of an image, and a model's output for it."""
    case = make_case(seed, concentration=10.0)  # flat distributions make long lists
    triplets = _best_of_every_pair(case) if every_pair else ranked(case, 100).relations
    truth = replace(case.truth, relations=case.truth.relations[:_RELATIONS])
    return truth, {**_output(case.predicted, triplets), "triplet_answers": _answers(truth)}


def _record(image_id: int, truth: GroundTruthGraph) -> dict[str, Any]:
    annotations = [
        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label}
        for box, label in zip(truth.boxes.tolist(), truth.classes.tolist(), strict=True)
    ]
    return {"image_id": image_id, "annotations": annotations, "relations": truth.relations}


def _output(predicted: PredictedGraph, triplets: RankedTriplets) -> _Output:
    entities, relations = Instances((800, 800)), Instances((800, 800))
    entities.pred_boxes = Boxes(torch.from_numpy(predicted.boxes))
    entities.pred_classes, entities.scores = (
        torch.from_numpy(predicted.classes),
        torch.from_numpy(predicted.scores),
    )
    relations.subject_index, relations.object_index = map(
        torch.from_numpy, (triplets.subject, triplets.object)
    )
    relations.pred_predicates = torch.from_numpy(triplets.predicate)
    relations.scores, relations.rank_in_pair = map(torch.from_numpy, (triplets.score, triplets.rank_in_pair))
    return {"instances": entities, "relations": relations}


def _answers(truth: GroundTruthGraph) -> Instances:
    """Scores of the triplets that the confusion metrics ask for."""
    subject, object, predicate = torch.from_numpy(confusion_triplets(truth)).T
    return Instances(
        (800, 800),
        subject_index=subject,
        object_index=object,
        pred_predicates=predicate,
        scores=torch.linspace(1, 0, len(subject)),
        detected=subject != object,
    )


def _best_of_every_pair(case: Case) -> RankedTriplets:
    pairs = case.pairs
    score = pairs.score * pairs.predicate_probs.max(axis=1)
    best = pairs.predicate_probs.argmax(axis=1)
    triplets = RankedTriplets(pairs.subject, pairs.object, best, score, np.ones(len(best), dtype=np.int64))
    return triplets.rows(np.argsort(-score))
