"""Predictions of a registered data set, checked and scored: what the evaluator and tools/evaluate.py share."""

import logging
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.utils.image_labels import read_image_labels

from .checks import prepare_prediction
from .graphs import PredictedGraph
from .ground_truth import ground_truth_graphs, iterate_ground_truth
from .io.image_labels import with_verified_classes
from .io.predictions import save_predictions
from .io.results import remove_results, results_table, save_results
from .io.submission import submission_labels
from .protocols.confusion import is_confusable
from .protocols.protocol import EvaluatedSplit, EvaluationProtocol, ProtocolResult, parse_task
from .scoring import evaluate_graphs, resolve_protocols
from .training_split import TrainingSplit, UnseenTriplets, training_split, unseen_triplets

PREDICTIONS_FILE = "relation_predictions.npz"
CONFUSABLE = "confusable"

_logger = logging.getLogger(__name__)


class DatasetScorer:
    """Annotation of a registered data set, and the protocols its predictions are scored under.

    Attributes:
        dataset_name, task: what is evaluated.
        truths: image id as text -> annotation.
    """

    def __init__(
        self,
        dataset_name: str,
        task: str,
        protocols: Sequence[str | EvaluationProtocol[Any]],
        *,
        confusion_subset: bool = False,
        allow_missing: bool = False,
        train_dataset: str | None = None,
        image_labels: str | os.PathLike[str] | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a data set in DatasetCatalog. Its metadata has thing_classes and predicate_classes, and may
                name its training split as train_dataset, for zero-shot recall and groups of predicates. Rows (subject
                class, object class, predicate) under zero_shot_triplets, the label triplets that training lacks, are
                enough for zero-shot recall where that split is not named or not there.
            task: "SGDET", "SGCLS" or "PRDCLS", in upper or lower case: what the model was given.
            protocols: names, or protocols made with other settings, such as `reldn(range(1, 71))`.
            confusion_subset: report every protocol a second time, on the images with a confusable case.
            allow_missing: count an image without prediction as one where nothing was found.
            train_dataset: the training split, instead of the one that metadata names.
            image_labels: CSV of verified image labels (see `image_labels`), for protocol openimages.

        Raises:
            FileNotFoundError: if there is no annotation, or no such file of image labels.
            ValueError: if the task or a protocol is unknown, a protocol is not defined for the task, if metadata is
                missing or its zero_shot_triplets are wrong, if the annotation is broken (the message names the image),
                if the training split is not registered, or if the image labels can't be read.
        """
        self.task = parse_task(task)
        self.dataset_name = dataset_name
        # First: a loader may learn the class names from its file.
        dataset_dicts = DatasetCatalog.get(dataset_name)
        self._num_classes = len(_vocabulary(dataset_name, "thing_classes"))
        self._predicate_classes = _vocabulary(dataset_name, "predicate_classes")
        self._protocols = resolve_protocols(protocols, self.task, self._predicate_classes)
        self.truths = ground_truth_graphs(dataset_dicts, self._num_classes, len(self._predicate_classes))
        if image_labels is not None:
            labels = read_image_labels(image_labels, submission_labels(dataset_name)[0])
            self.truths = with_verified_classes(self.truths, labels)
        self._confusion_subset, self._allow_missing = confusion_subset, allow_missing
        self._needs_training_split = train_dataset is not None
        self._train_dataset = train_dataset or MetadataCatalog.get(dataset_name).get("train_dataset")
        if self._train_dataset is not None and self._train_dataset not in DatasetCatalog:
            raise ValueError(
                f"'{self._train_dataset}', the training split of '{dataset_name}', is not registered"
            )
        self._listed_unseen = self._read_unseen()

    def prepare(self, image_id: str, predicted: PredictedGraph) -> PredictedGraph:
        """Check the prediction for an image, rank it and keep what protocols read (see `prepare_prediction`).

        Raises:
            ValueError: naming the image, for an image id that the data set lacks, numbers that are not finite,
                classes, predicates or rows out of range, or a prediction that does not fit the task.
        """
        where = f"image {image_id}"
        if image_id not in self.truths:
            raise ValueError(f"{where}: data set '{self.dataset_name}' has no image with this image_id")
        return prepare_prediction(
            predicted,
            self.truths[image_id],
            self.task,
            num_classes=self._num_classes,
            num_predicates=len(self._predicate_classes),
            list_length=max(protocol.list_length for protocol in self._protocols),
            needs=frozenset().union(*(protocol.needs for protocol in self._protocols)),
            where=where,
        )

    def save(self, predictions: Mapping[str, PredictedGraph], folder: str | os.PathLike[str]) -> None:
        """Write the raw predictions (image id -> what `prepare` returned) to PREDICTIONS_FILE in `folder`.

        Results that `score` wrote there for earlier predictions are removed.
        """
        remove_results(folder)
        save_predictions(
            Path(folder) / PREDICTIONS_FILE,
            predictions,
            dataset_name=self.dataset_name,
            task=self.task,
            num_predicates=len(self._predicate_classes),
        )

    def score(
        self,
        predictions: Mapping[str, PredictedGraph],
        output_dir: str | os.PathLike[str] | None = None,
    ) -> OrderedDict[str, dict[str, float]]:
        """Score, log a table of each protocol, and write the files of `results_files`.

        Args:
            predictions: image id -> what `prepare` returned.
            output_dir: folder for the files, made if missing; None writes nothing.

        Returns:
            "task/protocol" -> metric -> percent, without the numbers that are undefined (NaN; the tables show them as
            "-"), since metrics.json could not hold them. The confusion subset is "task/protocol_confusable". Empty
            for a data set without annotated relationship, such as a challenge's test set.

        Raises:
            ValueError: an image has no prediction, unless that is allowed; or the training split has other classes.
        """
        if not any(len(truth.relations) for truth in self.truths.values()):
            _logger.warning("%s has no annotated relationship: there is nothing to score", self.dataset_name)
            return OrderedDict()
        split = EvaluatedSplit(self._predicate_classes, self._training_split())
        subsets = {}
        if self._confusion_subset:
            subsets[CONFUSABLE] = {i for i, truth in self.truths.items() if is_confusable(truth)}
        results = evaluate_graphs(
            self.truths,
            predictions,
            self.task,
            self._protocols,
            split,
            subsets=subsets,
            allow_missing=self._allow_missing,
        )
        return self._report(results, output_dir)

    def _report(
        self, results: Mapping[str, ProtocolResult], output_dir: str | os.PathLike[str] | None
    ) -> OrderedDict[str, dict[str, float]]:
        for name, result in results.items():
            table = results_table(result, self._predicate_classes)
            _logger.info("%s on %s, protocol %s:\n%s", self.task, self.dataset_name, name, table)
        if output_dir is not None:
            save_results(
                output_dir,
                results,
                dataset_name=self.dataset_name,
                task=self.task,
                predicate_classes=self._predicate_classes,
            )
        return OrderedDict(
            (
                f"{self.task.lower()}/{name}",
                {metric: value for metric, value in result.metrics.items() if not isnan(value)},
            )
            for name, result in results.items()
        )

    def _read_unseen(self) -> UnseenTriplets | None:
        labels = MetadataCatalog.get(self.dataset_name).get("zero_shot_triplets")
        if labels is None:
            return None
        try:
            return unseen_triplets(labels, self._num_classes, len(self._predicate_classes))
        except ValueError as error:
            raise ValueError(f"metadata zero_shot_triplets of '{self.dataset_name}': {error}") from error

    def _training_split(self) -> TrainingSplit | UnseenTriplets | None:
        name = self._train_dataset
        if name is None:
            return self._listed_unseen
        try:
            dataset_dicts = DatasetCatalog.get(name)
        except FileNotFoundError as error:
            if self._needs_training_split:
                raise
            no_recall = "zero-shot recall and no " if self._listed_unseen is None else ""
            _logger.warning("No %sgroups of predicates: %s can't be read: %s", no_recall, name, error)
            return self._listed_unseen
        for key in ("thing_classes", "predicate_classes"):
            if _vocabulary(name, key) != _vocabulary(self.dataset_name, key):
                raise ValueError(f"'{name}' is no training split of '{self.dataset_name}': its {key} differ")
        num_predicates = len(self._predicate_classes)
        truths = iterate_ground_truth(dataset_dicts, self._num_classes, num_predicates)
        return training_split((truth for _, truth in truths), self._num_classes, num_predicates)


def _vocabulary(dataset_name: str, key: str) -> list[str]:
    names = MetadataCatalog.get(dataset_name).get(key)
    if not names:
        raise ValueError(f"metadata of data set '{dataset_name}' has no {key}; register it with them")
    return list(names)
