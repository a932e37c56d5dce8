"""Scoring predictions under several protocols.

`DatasetScorer` checks and scores the predictions for a registered data set: the evaluator and
`reldn evaluate --predictions` share it. `evaluate_graphs` scores arrays, without a registered data set.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.structures import Queries, Vocabulary
from reldn_d2.structures.vocabulary import KINDS, class_names
from reldn_d2.utils.image_labels import read_image_labels

from .checks import prepare_prediction
from .graph_metrics import (
    NOTHING_TO_EVALUATE,
    as_arrays,
    check_for_split,
    chosen_rows,
    matched,
    refuse_unequal_ids,
    scored_image,
    summarised,
)
from .graphs import GroundTruthGraph, PredictedGraph, parse_task
from .ground_truth import ground_truth_graphs, iterate_ground_truth, with_verified_classes
from .io.predictions import save_predictions
from .io.results import excluded_images, remove_results, results_table, save_results, short_table
from .io.submission import submission_labels
from .protocols.confusion import is_confusable
from .protocols.headline import headline
from .protocols.protocol import EvaluatedSplit, EvaluationProtocol, ProtocolResult
from .protocols.registry import resolve_protocols
from .training_split import TrainingSplit, UnseenTriplets, training_split, unseen_triplets

PREDICTIONS_FILE = "relation_predictions.npz"
CONFUSABLE = "confusable"

_logger = logging.getLogger(__name__)


class DatasetScorer:
    """The annotation of a registered data set, and the protocols that score predictions for it.

    Attributes:
        dataset_name: name of the data set.
        task: "sgdet", "sgcls" or "prdcls".
        truths: image id as text -> annotation.
        sizes: image id as text -> (height, width) in pixels; 0 where the data set does not say it.
        vocabulary: the names of its classes and predicates.
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
        """Load the annotation of a data set, and make the protocols.

        Args:
            dataset_name: a data set in DatasetCatalog. Its metadata has thing_classes and predicate_classes.
                It may name the training split as train_dataset, for zero-shot recall and groups of
                predicates. If that split is not named or can't be read, zero-shot recall can use
                zero_shot_triplets of the metadata: the label triplets that never occur in training, as rows
                (subject class, object class, predicate).
            task: "sgdet", "sgcls" or "prdcls", in lower or upper case.
            protocols: names of protocols, or protocols with other settings like `reldn(range(1, 71))`.
            confusion_subset: report every protocol a second time, on the images with a confusable case.
            allow_missing: count an image without prediction as an image where nothing was found.
            train_dataset: name of the training split, instead of the one in the metadata.
            image_labels: CSV file of verified image labels (see `read_image_labels`), for protocol
                openimages.

        Raises:
            FileNotFoundError: if the annotation or the file of image labels does not exist.
            ValueError: if the task or a protocol is unknown, if a protocol is not defined for the task, if
                metadata is missing or its zero_shot_triplets are wrong, if the annotation is broken (the
                message names the image), if the training split is not registered, or if the image labels
                can't be read.
        """
        self.task = parse_task(task)
        self.dataset_name = dataset_name
        # This comes first, because a loader may read the class names from its file.
        dataset_dicts = DatasetCatalog.get(dataset_name)
        self.vocabulary = Vocabulary(*(_vocabulary(dataset_name, kind) for kind in KINDS))
        self._num_classes = len(self.vocabulary.thing_classes)
        self._predicate_classes = self.vocabulary.predicate_classes
        self._protocols = resolve_protocols(protocols, self.task, self._predicate_classes)
        self.truths = ground_truth_graphs(dataset_dicts, self._num_classes, len(self._predicate_classes))
        self.sizes = {str(x["image_id"]): (x.get("height", 0), x.get("width", 0)) for x in dataset_dicts}
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
        if self._train_dataset is not None:
            # A loader that reads the names from its file sets them later, and they are compared again.
            self._check_training_names(
                self._train_dataset, MetadataCatalog.get(self._train_dataset).as_dict()
            )
        self._listed_unseen = self._read_unseen()

    @cached_property
    def queries(self) -> dict[str, Queries]:
        """Image id as text -> questions of the protocols about the image; only images with a question."""
        asked = {
            image_id: Queries.union([protocol.queries(truth, self.task) for protocol in self._protocols])
            for image_id, truth in self.truths.items()
        }
        return {image_id: queries for image_id, queries in asked.items() if queries}

    def asking_protocols(self) -> list[str]:
        """Names of the protocols that ask the model for scores that are not in its ranked list."""
        truths = self.truths.values()
        return [x.name for x in self._protocols if any(x.queries(truth, self.task) for truth in truths)]

    def prepare(self, image_id: str, predicted: PredictedGraph) -> PredictedGraph:
        """Check the prediction for an image, rank it, and keep the parts that the protocols read.

        See `prepare_prediction`.

        Raises:
            ValueError: if the data set has no such image, if numbers are not finite, if classes, predicates
                or rows are out of range, if the prediction does not fit the task, or if it does not answer
                `queries`. The message names the image.
        """
        where = f"image {image_id}"
        if image_id not in self.truths:
            raise ValueError(f"{where}: data set '{self.dataset_name}' has no image with this image_id")
        return prepare_prediction(
            predicted,
            self.truths[image_id],
            self.task,
            self._protocols,
            num_classes=self._num_classes,
            num_predicates=len(self._predicate_classes),
            where=where,
        )

    def save(self, predictions: Mapping[str, PredictedGraph], folder: str | os.PathLike[str]) -> None:
        """Write the raw predictions (image id -> result of `prepare`) to PREDICTIONS_FILE in `folder`.

        Results of earlier predictions in the folder are removed.
        """
        remove_results(folder)
        save_predictions(
            Path(folder) / PREDICTIONS_FILE,
            predictions,
            dataset_name=self.dataset_name,
            task=self.task,
            num_predicates=len(self._predicate_classes),
            vocabulary=self.vocabulary,
        )

    def score(
        self,
        predictions: Mapping[str, PredictedGraph],
        output_dir: str | os.PathLike[str] | None = None,
        *,
        unreadable: Collection[str] = (),
        notes: Sequence[str] = (),
    ) -> OrderedDict[str, dict[str, float]]:
        """Score predictions, log a table of each protocol, and write the files of `io.results`.

        Args:
            predictions: image id -> result of `prepare`.
            output_dir: folder for the files, made if missing; None writes nothing.
            unreadable: ids of images whose pictures can't be read. Their annotations do not count, and a note
                says how many they are.
            notes: facts about the predictions that a reader of the numbers needs. They stand in the tables
                and in the log, after `evaluation_note` of the data set's metadata.

        Returns:
            "task/protocol" -> metric -> percent; "task/protocol_confusable" for the confusion subset.
            Undefined numbers (NaN) are not in it, since metrics.json can't hold them; the tables show them as
            "-". It is empty if the data set has no annotated relationship, for example the test set of
            a challenge.

        Raises:
            ValueError: if an image has no prediction and that is not allowed, or if the training split has
                other classes.
        """
        truths = {i: truth for i, truth in self.truths.items() if i not in unreadable}
        if not any(len(truth.relations) for truth in truths.values()):
            _logger.warning("%s has no annotated relationship: there is nothing to score", self.dataset_name)
            return OrderedDict()
        split = EvaluatedSplit(self._predicate_classes, self._training_split())
        subsets = {}
        if self._confusion_subset:
            subsets[CONFUSABLE] = {i for i, truth in truths.items() if is_confusable(truth)}
        results = evaluate_graphs(
            truths,
            predictions,
            self.task,
            self._protocols,
            split,
            subsets=subsets,
            allow_missing=self._allow_missing,
            checked=True,
        )
        about_data = MetadataCatalog.get(self.dataset_name).get("evaluation_note", "")
        excluded = excluded_images(len(self.truths) - len(truths), len(self.truths))
        return report(
            results,
            output_dir,
            dataset_name=self.dataset_name,
            task=self.task,
            predicate_classes=self._predicate_classes,
            notes=[note for note in (about_data, excluded, *notes) if note],
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
            missing = "groups of predicates"
            if self._listed_unseen is None:
                missing = f"zero-shot recall and no {missing}"
            _logger.warning("No %s: %s can't be read: %s", missing, name, error)
            return self._listed_unseen
        self._check_training_names(name, {kind: _vocabulary(name, kind) for kind in KINDS})
        num_predicates = len(self._predicate_classes)
        truths = iterate_ground_truth(dataset_dicts, self._num_classes, num_predicates)
        return training_split((truth for _, truth in truths), self._num_classes, num_predicates)

    def _check_training_names(self, name: str, names: Mapping[str, Sequence[str]]) -> None:
        """Checks the names of classes of a training split, as far as they are given."""
        for kind in KINDS:
            if kind in names and list(names[kind]) != _vocabulary(self.dataset_name, kind):
                raise ValueError(
                    f"'{name}' is not a training split of '{self.dataset_name}': its {kind} differ"
                )


def report(
    results: Mapping[str, ProtocolResult],
    output_dir: str | os.PathLike[str] | None,
    *,
    dataset_name: str,
    task: str,
    predicate_classes: Sequence[str],
    notes: Sequence[str],
) -> OrderedDict[str, dict[str, float]]:
    """Log a table of each protocol, and write the files of `io.results`.

    Args:
        results: name of the protocol -> result.
        output_dir: folder for the files, made if missing; None writes nothing.
        dataset_name, task, predicate_classes: see `save_results`.
        notes: sentences about all numbers.

    Returns:
        See `DatasetScorer.score`.
    """
    where = f"{task} on {dataset_name}"
    for name, result in results.items():
        _logger.info("%s, protocol %s:\n%s", where, name, short_table(result))
        complete = results_table(result, predicate_classes)
        _logger.debug("%s, protocol %s, all numbers:\n%s", where, name, complete)
    if output_dir is not None:
        save_results(
            output_dir,
            results,
            dataset_name=dataset_name,
            task=task,
            predicate_classes=predicate_classes,
            note="\n\n".join(notes),
        )
    reported = OrderedDict(
        (f"{task}/{name}", {metric: value for metric, value in result.metrics.items() if not isnan(value)})
        for name, result in results.items()
    )
    _logger.info("%s, first of all: %s", where, headline(reported) or "no number is defined")
    for note in notes:
        _logger.info("%s: %s", where, note)
    return reported


def _vocabulary(dataset_name: str, key: str) -> list[str]:
    names = MetadataCatalog.get(dataset_name).get(key)
    if not names:
        raise ValueError(f"metadata of data set '{dataset_name}' has no {key}; register it with them")
    return class_names(names, key, dataset_name)


def evaluate_graphs(
    truths: Mapping[str, GroundTruthGraph],
    predictions: Mapping[str, PredictedGraph],
    task: str,
    protocols: Sequence[str | EvaluationProtocol[Any]],
    split: EvaluatedSplit,
    *,
    subsets: Mapping[str, Collection[str]] | None = None,
    allow_missing: bool = False,
    checked: bool = False,
) -> dict[str, ProtocolResult]:
    """Score the images of a split, and subsets of them. No catalog is read, no model and no picture.

    Images are sorted by their ids as text; the order of the mappings does not matter. Equal scores of
    different images keep this order; equal scores in one image keep the order of its list.

    Args:
        truths: image id -> annotation, for every image of the split. The values may be tensors on any device,
            in place of arrays.
        predictions: image id -> prediction, with its triplets best first, as `rank_triplets` and
            `checks.prepare_prediction` return them.
        task: "sgdet", "sgcls" or "prdcls", in lower or upper case.
        protocols: see `resolve_protocols`.
        split: names of the predicates, and the training split if it is known.
        subsets: name -> ids of images that are reported a second time. A subset without annotated
            relationship is not reported.
        allow_missing: count an image without prediction as an image where nothing was found.
        checked: whether all graphs are checked already, as `DatasetScorer` has done it. They are used as they
            are.

    Returns:
        Name of the protocol -> result, in the order of `protocols`. The results of subsets are named
        "protocol_subset".

    Raises:
        ValueError: if the task is unknown, if a protocol does not fit (see `resolve_protocols`), if a
            prediction has an unknown image id, if an image has no prediction and `allow_missing` is False, if
            no image has an annotated relationship, or if a graph fails one of these checks: numbers are
            finite, and boxes have no swapped corners; classes, predicates and rows are integers in their
            range (classes: if `split` knows their number); triplets come best first, and the triplets of a
            pair have different predicates and the ranks 1, 2, 3, ...; in sgcls and prdcls the entities are
            the given ones; the answers are there that a protocol reads. The message names the image.

    Example:
        A person who holds the first of two cups, and a model whose best guess is the second one:

        >>> import numpy as np
        >>> from reldn_d2.evaluation import (
        ...     EvaluatedSplit, GroundTruthGraph, PredictedGraph, evaluate_graphs, rank_triplets
        ... )
        >>> boxes = np.array([[0.0, 0, 50, 90], [40, 30, 50, 40], [70, 30, 80, 40]])
        >>> classes = np.array([0, 1, 1])
        >>> truths = {"7": GroundTruthGraph(boxes, classes, relations=np.array([[0, 1, 0]]))}
        >>> subject, object, probs = np.array([0, 0]), np.array([1, 2]), np.array([[0.3], [0.6]])
        >>> ranked = rank_triplets(subject, object, np.ones(2), probs, list_length=100)
        >>> predictions = {"7": PredictedGraph(boxes, classes, np.ones(3), ranked)}
        >>> results = evaluate_graphs(truths, predictions, "sgdet", ["motifs"], EvaluatedSplit(["holds"]))
        >>> results["motifs"].metrics["R@20"]
        100.0
    """
    task = parse_task(task)
    split = replace(split, task=task)
    resolved = resolve_protocols(protocols, task, split.predicate_classes)
    _check_images(truths, predictions, allow_missing)
    nothing = PredictedGraph.empty()
    ids = sorted(truths)
    if not checked:
        truths = {i: as_arrays(truth, f"image {i}") for i, truth in truths.items()}
        predictions = {i: as_arrays(predicted, f"image {i}") for i, predicted in predictions.items()}
        for i in ids:
            check_for_split(truths[i], predictions.get(i), task, resolved, split, f"image {i}")
    images = [scored_image(i, truths[i], predictions.get(i, nothing), split) for i in ids]
    related = [bool(len(truths[i].relations)) for i in ids]
    chosen = chosen_rows(ids, subsets)
    results: dict[str, ProtocolResult] = {}
    for protocol in resolved:
        records = [matched(protocol, image, task) for image in images]
        results |= summarised(protocol, ids, records, related, chosen, split)
    return results


def _check_images(
    truths: Mapping[str, GroundTruthGraph], predictions: Mapping[str, PredictedGraph], allow_missing: bool
) -> None:
    """Refuse predictions that are not those of the split."""
    if not any(len(truth.relations) for truth in truths.values()):
        raise ValueError(NOTHING_TO_EVALUATE)
    refuse_unequal_ids(truths, predictions, allow_missing=allow_missing)
