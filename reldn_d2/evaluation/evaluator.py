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
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import Tensor

from .graphs import AnnotatedPairs, IntArray, NamedTriplets, PredictedGraph, RankedTriplets
from .protocols.protocol import EvaluationProtocol
from .scorer import DatasetScorer

_logger = logging.getLogger(__name__)


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
        protocols: Sequence[str | EvaluationProtocol[Any]] = ("motifs", "reldn"),
        *,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        confusion_subset: bool = False,
        allow_missing: bool = False,
    ) -> None:
        """
        Args:
            dataset_name, task, protocols, confusion_subset, allow_missing: see `DatasetScorer`.
            distributed: gather the predictions of all workers; the result is the main worker's, others get
                {}.
            output_dir: folder (made if missing) for the raw predictions, written before they are scored, and
                for the results; None writes nothing.

        Raises:
            ValueError: see `DatasetScorer`.
        """
        self._scorer = DatasetScorer(
            dataset_name, task, protocols, confusion_subset=confusion_subset, allow_missing=allow_missing
        )
        self._distributed = distributed
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._predictions: dict[str, PredictedGraph] = {}

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions = {}

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Keep the predictions of some images.

        Args:
            inputs: one mapping an image, with "image_id".
            outputs: one mapping an image: "instances" (pred_boxes, scores, pred_classes), "relations"
                (subject_index, object_index, pred_predicates, scores, rank_in_pair); for protocols that rank
                annotated pairs, in SGCLS and PRDCLS, "annotated_pairs" (subject_index, object_index,
                pair_scores, predicate_probs); for the confusion metrics "named_triplets" (subject_index,
                object_index, pred_predicates, scores, detected). Any device.

        Raises:
            ValueError: naming the image, see `DatasetScorer.prepare`, or if an image comes a second time with
                another prediction.
        """
        for given, output in zip(inputs, outputs, strict=True):
            image_id = str(given["image_id"])
            predicted = self._scorer.prepare(image_id, _predicted_graph(output))
            known = self._predictions.setdefault(image_id, predicted)
            if known is not predicted and not same_prediction(known, predicted):
                raise ValueError(
                    f"image {image_id}: processed twice with different predictions; call reset() between two evaluations"
                )

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Gather, save, score and log.

        Returns:
            "task/protocol" -> metric -> percent; empty on workers other than the main one.

        Raises:
            ValueError: images have no prediction. The raw predictions are on disk by then.
        """
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            shards = comm.gather(predictions, dst=0)
            if not comm.is_main_process():
                return OrderedDict()
            predictions = merge_shards(shards)
        if self._output_dir is not None:
            self._scorer.save(predictions, self._output_dir)
        return self._scorer.score(predictions, self._output_dir)


def same_prediction(a: PredictedGraph, b: PredictedGraph) -> bool:
    """Whether two predictions are equal, number by number."""
    values = _arrays(a), _arrays(b)
    return len(values[0]) == len(values[1]) and all(map(np.array_equal, *values))


def _arrays(graph: PredictedGraph) -> list[npt.NDArray[Any]]:
    parts = (graph, graph.relations, graph.annotated, graph.named)
    values = [value for part in parts if part is not None for value in vars(part).values()]
    return [value for value in values if isinstance(value, np.ndarray)]


def merge_shards(shards: Sequence[Mapping[str, PredictedGraph]]) -> dict[str, PredictedGraph]:
    """Predictions of all workers. Some samplers give an image to several workers, to even out their shares: it
    counts once, as the first of them saw it. Where they disagree, the log says so."""
    merged: dict[str, PredictedGraph] = {}
    for shard in shards:
        for image_id, predicted in shard.items():
            known = merged.setdefault(image_id, predicted)
            if known is not predicted and not same_prediction(known, predicted):
                _logger.warning(
                    "image %s: workers disagree on its prediction; the first worker's counts", image_id
                )
    return merged


def _predicted_graph(output: Mapping[str, Any]) -> PredictedGraph:
    entities: Instances = output["instances"]
    relations: Instances = output["relations"]
    pairs: Instances | None = output.get("annotated_pairs")
    named: Instances | None = output.get("named_triplets")
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
        named=None
        if named is None
        else NamedTriplets(
            subject=_integers(named.subject_index),
            object=_integers(named.object_index),
            predicate=_integers(named.pred_predicates),
            score=_floats(named.scores),
            detected=named.detected.cpu().numpy().copy(),
        ),
    )


# Copies, since the model may reuse its memory; by NumPy, since PyTorch's aligned ones leave holes in the process's
# memory that cost more than what is kept.
def _floats(values: Tensor) -> npt.NDArray[np.float32]:
    return values.detach().to("cpu", torch.float32).numpy().copy()


def _integers(values: Tensor) -> IntArray:
    """Numbers that are no integers stay as they are, for the checks to refuse."""
    integers: IntArray = values.detach().cpu().numpy()
    return integers.copy() if values.is_floating_point() else integers.astype(np.int32)
