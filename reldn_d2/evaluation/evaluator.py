"""A Detectron2 evaluator of predicted scene graphs."""

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import Tensor

from reldn_d2.structures import Queries

from .graphs import IntArray, PairAnswers, PredictedGraph, RankedTriplets, TripletAnswers
from .protocols.protocol import EvaluationProtocol
from .scorer import DatasetScorer

_logger = logging.getLogger(__name__)


class RelationEvaluator(DatasetEvaluator):
    """Scores the relationships that a model predicts for a registered data set, under named protocols.

    The ground truth is read from the catalog, in original coordinates, and joined to predictions by
    `image_id`.

    Some protocols ask the model for scores that are not in its ranked list. So the test loader must be built
    with `queries`, and the model must answer them:

        evaluator = RelationEvaluator("reldn_vrd_test", "prdcls", ("motifs", "reldn", "confusion"))
        loader = build_relation_test_loader(dataset_dicts, mapper=mapper, queries=evaluator.queries)
        inference_on_dataset(model, loader, evaluator)

    An image needs a few kilobytes of memory between `process` and `evaluate`, for any number of scored pairs.

    The result has one entry for each protocol, so that several tasks and data sets can share a log:

        {"sgdet/motifs": {"R@20": 21.3, ...}, "sgdet/reldn": {"rel_k1_R@50": 27.9, ...}}

    All numbers are percent. `docs/evaluation.md` defines each of them.

    Example:
        A data set of one image, where a person holds a cup, and a model without Detectron2:

        >>> import numpy as np
        >>> from detectron2.data import DatasetCatalog, MetadataCatalog
        >>> from reldn_d2.evaluation import PredictedGraph, RelationEvaluator, rank_triplets
        >>> boxes, classes = np.array([[0, 0, 50, 90], [40, 30, 50, 40]]), np.array([0, 1])
        >>> annotations = [{"bbox": box, "bbox_mode": 0, "category_id": i} for i, box in enumerate(boxes)]
        >>> images = [{"image_id": 7, "annotations": annotations, "relations": [(0, 1, 0)]}]
        >>> DatasetCatalog.register("one_cup", lambda: images)
        >>> names = {"thing_classes": ["person", "cup"], "predicate_classes": ["holds"]}
        >>> metadata = MetadataCatalog.get("one_cup").set(**names)
        >>> evaluator = RelationEvaluator("one_cup", "sgdet", ["motifs"])
        >>> subject, object, probs = np.array([0]), np.array([1]), np.array([[0.6]])
        >>> ranked = rank_triplets(subject, object, np.ones(1), probs, list_length=100)
        >>> evaluator.process([{"image_id": 7}], [PredictedGraph(boxes, classes, np.ones(2), ranked)])
        >>> evaluator.evaluate()["sgdet/motifs"]["R@20"]
        100.0
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
        """Create an evaluator without predictions.

        Args:
            dataset_name, task, protocols, confusion_subset, allow_missing: see `DatasetScorer`.
            distributed: whether to gather the predictions of all processes. The main process returns the
                result, the others return {}.
            output_dir: folder for the raw predictions, which are written before they are scored, and for the
                results. It is made if missing. None writes nothing.

        Raises:
            ValueError: see `DatasetScorer`.
        """
        self._scorer = DatasetScorer(
            dataset_name, task, protocols, confusion_subset=confusion_subset, allow_missing=allow_missing
        )
        self._distributed = distributed
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._predictions: dict[str, PredictedGraph] = {}
        self._excluded: frozenset[str] = frozenset()

    def reset(self) -> None:
        """Forget all predictions, and exclude no image any more."""
        self._predictions, self._excluded = {}, frozenset()

    def exclude(self, image_ids: Iterable[object]) -> None:
        """Evaluate without these images, whose pictures can't be read. Their annotations do not count.

        Args:
            image_ids: values of "image_id".
        """
        self._excluded = frozenset(map(str, image_ids))

    @property
    def queries(self) -> dict[str, Queries]:
        """Image id as text -> questions of the protocols about the image; only images with a question."""
        return self._scorer.queries

    def process(
        self,
        inputs: Sequence[Mapping[str, Any]],
        outputs: Sequence[Mapping[str, Any] | PredictedGraph],
    ) -> None:
        """Keep the predictions of some images.

        Args:
            inputs: one mapping for each image. Only "image_id" is read.
            outputs: one mapping for each image, on any device: "instances" (pred_boxes, scores, pred_classes)
                and "relations" (subject_index, object_index, pred_predicates, scores, rank_in_pair). The
                answers to `queries` are "pair_answers" (subject_index, object_index, pair_scores,
                predicate_probs) and "triplet_answers" (subject_index, object_index, pred_predicates, scores,
                detected). "task", the task that the model did, may be missing. Or a `PredictedGraph`, whose
                arrays must not change later.

        Raises:
            ValueError: see `DatasetScorer.prepare`; or if the output is of another task, or an image is
                processed a second time with a different prediction. The message names the image.
        """
        for given, output in zip(inputs, outputs, strict=True):
            image_id = str(given["image_id"])
            if not isinstance(output, PredictedGraph):
                self._check_task(image_id, output.get("task"))
                output = _predicted_graph(output)
            predicted = self._scorer.prepare(image_id, output)
            known = self._predictions.setdefault(image_id, predicted)
            if known is not predicted and not same_prediction(known, predicted):
                raise ValueError(
                    f"image {image_id}: processed twice with different predictions; call reset() between two "
                    "evaluations"
                )

    def _check_task(self, image_id: str, done: str | None) -> None:
        """Refuses outputs of an easier task, whose numbers would be too high. None: the model doesn't say."""
        if done is not None and done.lower() != self._scorer.task:
            raise ValueError(
                f"image {image_id}: the model's output is of the task {done!r}, but this evaluator scores "
                f"{self._scorer.task!r}: set the task of the model (its attribute `task`, or "
                "MODEL.ROI_RELATION_HEAD.TEST.TASK in a config), or make the evaluator for the other task"
            )

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Gather, save, score and log.

        Returns:
            "task/protocol" -> metric -> percent; empty in processes other than the main one.

        Raises:
            ValueError: if images have no prediction. The raw predictions are written before.
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
        return self._scorer.score(predictions, self._output_dir, unreadable=self._excluded)


def same_prediction(a: PredictedGraph, b: PredictedGraph) -> bool:
    """Whether two predictions are equal, number by number."""
    values = _arrays(a), _arrays(b)
    return len(values[0]) == len(values[1]) and all(map(np.array_equal, *values))


def _arrays(graph: PredictedGraph) -> list[npt.NDArray[Any]]:
    parts = (graph, graph.relations, graph.pair_answers, graph.triplet_answers)
    values = [value for part in parts if part is not None for value in vars(part).values()]
    return [value for value in values if isinstance(value, np.ndarray)]


def merge_shards(shards: Sequence[Mapping[str, PredictedGraph]]) -> dict[str, PredictedGraph]:
    """Join the predictions of all processes.

    Some samplers give an image to several processes, so that all have the same number of images. Such an
    image counts once, with the prediction of the first process. If its predictions differ, a warning is
    logged.
    """
    merged: dict[str, PredictedGraph] = {}
    for shard in shards:
        for image_id, predicted in shard.items():
            known = merged.setdefault(image_id, predicted)
            if known is not predicted and not same_prediction(known, predicted):
                _logger.warning(
                    "image %s: processes have different predictions for it; that of the first process counts",
                    image_id,
                )
    return merged


def _predicted_graph(output: Mapping[str, Any]) -> PredictedGraph:
    entities: Instances = output["instances"]
    relations: Instances = output["relations"]
    pairs: Instances | None = output.get("pair_answers")
    triplets: Instances | None = output.get("triplet_answers")
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
        pair_answers=None
        if pairs is None
        else PairAnswers(
            subject=_integers(pairs.subject_index),
            object=_integers(pairs.object_index),
            score=_floats(pairs.pair_scores),
            predicate_probs=_floats(pairs.predicate_probs),
        ),
        triplet_answers=None
        if triplets is None
        else TripletAnswers(
            subject=_integers(triplets.subject_index),
            object=_integers(triplets.object_index),
            predicate=_integers(triplets.pred_predicates),
            score=_floats(triplets.scores),
            detected=triplets.detected.cpu().numpy().copy(),
        ),
    )


# These functions copy, because the model may reuse its memory. NumPy makes the copies, because PyTorch's
# aligned copies leave holes in the memory of the process that are larger than the copies.
def _floats(values: Tensor) -> npt.NDArray[np.float32]:
    return values.detach().to("cpu", torch.float32).numpy().copy()


def _integers(values: Tensor) -> IntArray:
    """int32; floating-point numbers stay as they are, so that the checks refuse them."""
    integers: IntArray = values.detach().cpu().numpy()
    return integers.copy() if values.is_floating_point() else integers.astype(np.int32)
