"""Detectron2 evaluator of predicted scene graphs."""

import logging
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import Tensor

from .checks import prepare_prediction
from .graphs import AnnotatedPairs, PredictedGraph, RankedTriplets
from .ground_truth import ground_truth_graphs
from .per_image_file import save_per_image
from .prediction_file import save_predictions
from .protocols import EvaluationProtocol, ProtocolResult, parse_task
from .scoring import evaluate_graphs, resolve_protocols, results_table

PREDICTIONS_FILE = "relation_predictions.npz"
PER_IMAGE_FILE = "relation_per_image.json"


class RelationEvaluator(DatasetEvaluator):
    """Score predicted relationships of a registered data set under named protocols.

    Ground truth is read from the catalog, in original coordinates, and matched to predictions by `image_id`.
    What the inputs of `process` carry besides `image_id` is not used. Between `process` and `evaluate` an
    image costs a few kilobytes, however many pairs the model scored.

    The result has one entry per protocol, so that several tasks and data sets can share a log:

        {"sgdet/motifs": {"R@20": 21.3, ...}, "sgdet/reldn": {"rel_k1_R@50": 27.9, ...}}

    All numbers are percent. `docs/evaluation.md` says what each means.
    """

    def __init__(
        self,
        dataset_name: str,
        task: str,
        protocols: Sequence[str | EvaluationProtocol] = ("motifs", "reldn"),
        *,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a data set in DatasetCatalog; its metadata has thing_classes and predicate_classes.
            task: "SGDET", "SGCLS" or "PRDCLS", in upper or lower case: what the model was given.
            protocols: names, or protocols made with other settings, such as `reldn(range(1, 71))`.
            distributed: gather the predictions of all workers; the result is the main worker's, others get
                {}.
            output_dir: folder (made if missing) for the raw predictions, written before they are scored, and
                the counts of every image; None writes nothing.

        Raises:
            ValueError: if the task or a protocol is unknown, a protocol is not defined for the task, if
                metadata is missing, or if the annotation is broken (the message names the image) or holds no
                relationship.
        """
        self._logger = logging.getLogger(__name__)
        self._task = parse_task(task)
        self._dataset_name = dataset_name
        self._distributed = distributed
        self._output_dir = None if output_dir is None else Path(output_dir)
        # First: a loader may learn the class names from its file.
        dataset_dicts = DatasetCatalog.get(dataset_name)
        self._num_classes = len(_vocabulary(dataset_name, "thing_classes"))
        self._predicate_classes = _vocabulary(dataset_name, "predicate_classes")
        self._protocols = resolve_protocols(protocols, self._task, self._predicate_classes)
        self._truths = ground_truth_graphs(dataset_dicts, self._num_classes, len(self._predicate_classes))
        if not any(len(truth.relations) for truth in self._truths.values()):
            raise ValueError(f"data set '{dataset_name}' has no annotated relationship to evaluate")
        self._predictions: dict[str, PredictedGraph] = {}

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions = {}

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Keep the predictions of some images.

        Args:
            inputs: one mapping an image, with "image_id".
            outputs: one mapping an image: "instances" (pred_boxes, scores, pred_classes), "relations"
                (subject_index, object_index, pred_predicates, scores, rank_in_pair) and, in SGCLS and PRDCLS
                for protocols that rank annotated pairs, "annotated_pairs" (subject_index, object_index,
                pair_scores, predicate_probs). Any device.

        Raises:
            ValueError: naming the image, for an image id that the data set lacks, numbers that are not
                finite, classes, predicates or rows out of range, or predictions that do not fit the task.
        """
        for given, output in zip(inputs, outputs, strict=True):
            image_id = str(given["image_id"])
            where = f"image {image_id}"
            if image_id not in self._truths:
                raise ValueError(f"{where}: data set '{self._dataset_name}' has no image with this image_id")
            self._predictions[image_id] = prepare_prediction(
                _predicted_graph(output),
                self._truths[image_id],
                self._task,
                num_classes=self._num_classes,
                num_predicates=len(self._predicate_classes),
                list_length=max(protocol.list_length for protocol in self._protocols),
                needs_annotated_pairs=any(protocol.needs_annotated_pairs for protocol in self._protocols),
                where=where,
            )

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Gather, save, score and log.

        Returns:
            "task/protocol" -> metric -> percent; empty on workers other than the main one.
        """
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            shards = comm.gather(predictions, dst=0)
            if not comm.is_main_process():
                return OrderedDict()
            predictions = merge_shards(shards)
        if self._output_dir is not None:
            self._output_dir.mkdir(parents=True, exist_ok=True)
            save_predictions(
                self._output_dir / PREDICTIONS_FILE,
                predictions,
                dataset_name=self._dataset_name,
                task=self._task,
                num_predicates=len(self._predicate_classes),
            )
        return self._report(
            evaluate_graphs(self._truths, predictions, self._task, self._protocols, self._predicate_classes)
        )

    def _report(self, results: Mapping[str, ProtocolResult]) -> OrderedDict[str, dict[str, float]]:
        if self._output_dir is not None:
            save_per_image(
                self._output_dir / PER_IMAGE_FILE,
                {name: result.per_image for name, result in results.items()},
                dataset_name=self._dataset_name,
                task=self._task,
            )
        report: OrderedDict[str, dict[str, float]] = OrderedDict()
        for name, result in results.items():
            report[f"{self._task.lower()}/{name}"] = result.metrics
            table = results_table(result.metrics)
            self._logger.info("%s on %s, protocol %s:\n%s", self._task, self._dataset_name, name, table)
        return report


def merge_shards(shards: Sequence[Mapping[str, PredictedGraph]]) -> dict[str, PredictedGraph]:
    """Predictions of all workers. An image that several of them saw counts as the first saw it."""
    merged: dict[str, PredictedGraph] = {}
    for shard in shards:
        for image_id, predicted in shard.items():
            merged.setdefault(image_id, predicted)
    return merged


def _vocabulary(dataset_name: str, key: str) -> list[str]:
    names = MetadataCatalog.get(dataset_name).get(key)
    if not names:
        raise ValueError(f"metadata of data set '{dataset_name}' has no {key}; register it with them")
    return list(names)


def _predicted_graph(output: Mapping[str, Any]) -> PredictedGraph:
    entities: Instances = output["instances"]
    relations: Instances = output["relations"]
    pairs: Instances | None = output.get("annotated_pairs")
    return PredictedGraph(
        boxes=_floats(entities.pred_boxes.tensor),
        classes=_integers(entities.pred_classes),
        scores=_floats(entities.scores),
        relations=RankedTriplets(
            subject=_integers(relations.subject_index),
            object=_integers(relations.object_index),
            predicate=_integers(relations.pred_predicates),
            score=_floats(relations.scores),
            rank_in_pair=_integers(relations.rank_in_pair),
        ),
        annotated=None
        if pairs is None
        else AnnotatedPairs(
            subject=_integers(pairs.subject_index),
            object=_integers(pairs.object_index),
            score=_floats(pairs.pair_scores),
            predicate_probs=_floats(pairs.predicate_probs),
        ),
    )


def _floats(values: Tensor) -> npt.NDArray[np.float32]:
    """A copy on the CPU: the model may reuse its memory."""
    return values.detach().to("cpu", torch.float32, copy=True).numpy()


def _integers(values: Tensor) -> npt.NDArray[np.int32]:
    """A copy on the CPU, in half the memory of int64."""
    return values.detach().to("cpu", torch.int32, copy=True).numpy()
