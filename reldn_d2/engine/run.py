"""Builds, checks, starts and evaluates runs, from either kind of config.

Checks that every run needs belong here.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import create_ddp_model
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    print_csv_format,
)
from detectron2.utils import comm
from torch import nn

from reldn_d2.checkpoint import RelationCheckpointer, last_checkpoint_in
from reldn_d2.data import with_queries
from reldn_d2.data.checking.shapes import Fault, check_shapes, keypoint_fault, mask_fault
from reldn_d2.modeling import RelDN
from reldn_d2.structures import Queries, Vocabulary
from reldn_d2.structures.dataset_dicts import DatasetDict, describe

from .console import printed_to_log
from .datasets import check_test_sets, common_vocabulary
from .first_screen import DataCounts, count_data
from .parts import RunParts
from .resumable_evaluation import Others, UnfinishedEvaluation, weights_digest
from .run_identity import (
    SAME_CONFIG,
    check_resumed,
    matches,
    name_other_detectors,
    run_identity,
    shared_settings,
)
from .same_everywhere import check_same_everywhere, versions
from .summary import BEST_WEIGHTS, save_task_results

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """Everything that a training needs, built and checked.

    Attributes:
        model: the model on its device, not yet wrapped for several processes.
        optimizer: optimizer of the model.
        data_loader: loader of the training batches.
        vocabulary: names of the classes of all data sets.
        identity: settings and data that a resumed run must share, see `run_identity`.
        data: numbers of the training data.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    data_loader: Any
    vocabulary: Vocabulary
    identity: dict[str, str]
    data: DataCounts


def build_training(parts: RunParts) -> TrainingRun:
    """Builds and checks the parts of a training.

    Raises:
        ValueError: the config does not fit a data set, has nothing to train, asks for a device that this
            machine lacks or for mixed precision without CUDA, trains on both proposals and precomputed
            detections, or wants the best of no evaluations; or see `common_identity`.
    """
    vocabulary, training_data = check_training(parts)
    model = parts.model()
    set_statistics(parts, model, training_data)
    optimizer = parts.optimizer(model)
    data_loader = parts.train_loader(training_data)
    identity = common_identity(parts, training_data)
    data = count_data(training_data, with_relations=parts.is_relation_model)
    return TrainingRun(model, optimizer, data_loader, vocabulary, identity, data)


def check_training(parts: RunParts) -> tuple[Vocabulary, list[DatasetDict]]:
    """Checks the settings of a training and its test sets, and loads its data.

    A warning says the `training_note` in the metadata of a training set.

    Returns:
        Names of the classes of all data sets, and the dataset dicts of the training sets.

    Raises:
        ValueError: see `build_training`.
    """
    vocabulary = check_vocabulary(parts, parts.all_datasets())
    _check_settings(parts)
    if parts.is_relation_model and parts.test_datasets:
        parts.check_evaluation(vocabulary.predicate_classes)
    # Before the training data are in memory, too.
    doubtful = check_test_sets(
        parts.test_datasets, parts.test_detections, parts.train_datasets, parts.data_check
    )
    for name in doubtful if parts.is_relation_model else ():
        # Ours says what it needs. One of another project may need less.
        with suppress(NotImplementedError):
            parts.evaluator(name)
    training_data = parts.training_data()
    for name in parts.train_datasets:
        note = MetadataCatalog.get(name).get("training_note")  # the loader may have set it
        if note:
            logger.warning("%s: %s", name, note)
    _check_content(parts, training_data)
    if parts.entities_from_proposals and any("detections" in image for image in training_data):
        raise ValueError(_two_sources_of_entities(parts))
    return vocabulary, training_data


def common_identity(parts: RunParts, training_data: list[DatasetDict]) -> dict[str, str]:
    """The identity of a training (`run_identity`), after a check that all its processes have the same.

    Every process calls it, before the model is wrapped for several processes: with different settings, they
    would wait for each other in different places.

    Args:
        parts: parts of the training.
        training_data: its dataset dicts.

    Raises:
        ValueError: the processes have different settings, data or packages.
    """
    settings = parts.settings()
    identity = run_identity(settings, parts.free_keys(), training_data)
    shared = shared_settings(settings, python=parts.is_python)
    check_same_everywhere({**versions(), **identity, **shared}, SAME_CONFIG)
    return identity


def set_statistics(parts: RunParts, model: nn.Module, training_data: list[DatasetDict]) -> None:
    """Gives the relation head the predicate counts of the training data. A detector stays as it is.

    Raises:
        ValueError: an annotation has a class or predicate that the config does not have.
    """
    if isinstance(model, RelDN):
        # Also if the head does not use the counts, since counting checks the range of every annotation.
        model.relation_head.set_predicate_counts(parts.predicate_counts(training_data))


def check_vocabulary(parts: RunParts, dataset_names: Iterable[str]) -> Vocabulary:
    """Compares the classes of data sets with each other, and their number with the config.

    Returns:
        The vocabulary of the data sets; without predicates if the config is of a detector.

    Raises:
        ValueError: names or numbers of classes differ, or there is no data set.
    """
    return common_vocabulary(dataset_names, parts.class_counts())


def _check_settings(parts: RunParts) -> None:
    keys = parts.keys
    if not parts.train_datasets:
        raise ValueError(f"there is nothing to train on: name a data set as {keys.train_datasets}")
    parts.check_device()
    if parts.best_checkpoint and not (parts.eval_period > 0 and parts.test_datasets):
        raise ValueError(
            f"{keys.best_checkpoint} needs evaluations to choose from: name a test set, and set "
            f"{keys.eval_period} to a number of iterations"
        )
    if parts.use_amp and parts.device == "cpu":
        raise ValueError(
            f"{keys.use_amp} needs CUDA: switch it off, or set {keys.device} to 'cuda'. On a CPU, "
            f"{keys.precision} bf16 trains in mixed precision"
        )
    if parts.use_amp and parts.precision != "fp32":
        raise ValueError(f"{keys.use_amp} and {keys.precision} both choose a precision: leave one out")
    if parts.entities_from_proposals and parts.has_train_detections:
        raise ValueError(_two_sources_of_entities(parts))
    if parts.unread_keys:
        raise ValueError(
            f"{', '.join(parts.unread_keys)} would change nothing: only the paper's sampling reads it, and "
            f"{keys.entities_from_proposals} draws pairs as the published code. Leave it out, or choose the "
            "method 'paper'"
        )


def _check_content(parts: RunParts, training_data: list[DatasetDict]) -> None:
    """Checks that the annotations have everything that the model trains on."""
    names = ", ".join(parts.train_datasets)
    for key in ("annotations", *(["relations"] if parts.is_relation_model else [])):
        lacking = next((image for image in training_data if key not in image), None)
        if lacking is not None:
            raise ValueError(
                f"{describe(lacking)} of data set {names} has no {key!r}, which this model trains on: give "
                "every dataset dict a list, which may be empty, or name another data set"
            )
    shapes: list[tuple[str, str, Fault]] = []
    if parts.trained_masks:
        polygons_only = parts.trained_masks == "polygon"
        shapes.append(("masks", parts.keys.masks, partial(mask_fault, polygons_only=polygons_only)))
    if parts.trained_keypoints:
        number = parts.trained_keypoints
        shapes.append(("keypoints", parts.keys.keypoints, partial(keypoint_fault, number=number)))
    for what, key, fault in shapes:
        remedy = (
            f"Register data with {what}, such as COCO files by Detectron2's register_coco_instances (our "
            f"loaders read boxes alone), or switch {key} off"
        )
        check_shapes(training_data, fault, f"{key} trains on the {what} of data set {names}", remedy)


def _two_sources_of_entities(parts: RunParts) -> str:
    keys = parts.keys
    return (
        f"{keys.entities_from_proposals} trains on proposals, so it can't use {keys.train_detections}: "
        "choose one of them"
    )


def distribute(model: nn.Module, **options: Any) -> nn.Module:
    """Wraps a model for several processes, if there are several. Works on CPUs, too.

    Args:
        model: the model on its device.
        options: arguments of `create_ddp_model`.
    """
    if next(model.parameters()).device.type == "cpu":
        options["device_ids"] = None  # DDP requires it for CPU modules
    distributed: nn.Module = create_ddp_model(model, **options)
    return distributed


def resume_or_start(
    checkpointer: RelationCheckpointer, identity: dict[str, str], parts: RunParts, *, resume: bool
) -> bool:
    """Loads the checkpoint that a training run starts or goes on from.

    Args:
        checkpointer: checkpointer of the run.
        identity: settings and data of the run, see `run_identity`.
        parts: parts of the run, which name the weights that a new run starts from.
        resume: go on from the last checkpoint in the run's folder, if there is one.

    Returns:
        Whether the run goes on from its own last checkpoint.

    Raises:
        ValueError: RelDN has no trained detector to start from, or the checkpoint to resume from was trained
            with another config or other data, or its folder has lost the name of the last checkpoint.
    """
    resumed = resume and checkpointer.has_checkpoint()
    if resume and not resumed:
        _check_unnamed(Path(parts.output_dir))
    is_relation_model = isinstance(checkpointer.model, RelDN)
    if resumed:
        # Before anything is loaded: errors about weights or optimizer would not name the changed setting.
        lengths = parts.length_keys()
        compared = {key: value for key, value in identity.items() if not matches(key, lengths)}
        check_resumed(checkpointer.saved_run(), compared, checkpointer.get_checkpoint_file())
    elif is_relation_model and not parts.weights:
        raise ValueError(
            f"RelDN trains on top of a frozen detector: give its checkpoint as {parts.keys.weights}"
        )
    checkpointer.resume_or_load(parts.weights, resume=resume)
    if parts.relation_weights and is_relation_model and not resumed:
        checkpointer.load_relation_part(parts.relation_weights)
    return resumed


def last_checkpoint(parts: RunParts) -> str | None:
    """The last checkpoint in the folder of a run, see `last_checkpoint_in`; None if there is none."""
    file = last_checkpoint_in(Path(parts.output_dir))
    return None if file is None else str(file)


def check_same_checkpoint(parts: RunParts) -> None:
    """Checks that all processes of a resumed run go on from the same checkpoint. Every process calls it.

    Raises:
        ValueError: they find different ones in their output folders, or some find none.
    """
    source = last_checkpoint(parts)
    check_same_everywhere(
        {"last checkpoint": "none" if source is None else Path(source).name},
        f"To resume on several machines, {parts.output_dir} must be one folder on a disk that all share: use "
        "such a disk, or copy the folder of process 0 to the other machines",
    )


def check_same_weights(model: nn.Module, done: int) -> None:
    """Checks that all processes of a training start with the same weights. Every process calls it.

    Args:
        model: the model with its weights, not wrapped for several processes.
        done: number of iterations that are done.

    Raises:
        ValueError: the weights or the numbers of iterations differ.
    """
    if comm.get_world_size() > 1:
        check_same_everywhere(
            {"number of iterations that are done": str(done), "weights (sha256)": weights_digest(model)},
            "Give every machine the same files of weights, and the same output folder",
        )


def _check_unnamed(folder: Path) -> None:
    """Checks the folder of a run that should go on and has no file `last_checkpoint`.

    Raises:
        ValueError: the folder has several checkpoints. The file is written after each, so it was lost.
    """
    # The best weights are no checkpoint to go on from.
    found = sorted(path.name for path in folder.glob("model_*.pth") if path.name != BEST_WEIGHTS)
    if not found:
        return
    there = f"{folder} has {', '.join(found[-3:])}, but no file last_checkpoint that says where to go on"
    remedy = f"write {found[-1]}, or the name of another one, in a file last_checkpoint there"
    if len(found) > 1:
        raise ValueError(f"{there}: {remedy}, or choose another folder to start anew")
    # A run that is killed may have saved its first checkpoint alone.
    logger.warning("%s: nothing is resumed. To go on from there, stop this run and %s", there, remedy)


def load_weights(parts: RunParts, *, resume: bool = False) -> nn.Module:
    """The model of a config with its weights, in eval mode.

    Args:
        parts: parts of either stage.
        resume: take the last checkpoint in the run's folder instead, if there is one.

    Raises:
        ValueError: the config names no weights, or they do not fit.
    """
    # A semantic module alone is not trained, so its table is counted here.
    counted = () if parts.has_training else (parts.statistics_datasets or parts.train_datasets)
    vocabulary = check_vocabulary(parts, [*parts.test_datasets, *counted] or parts.train_datasets)
    model = parts.model()
    semantic_only = isinstance(model, RelDN) and model.is_only_counted()
    checkpointer = RelationCheckpointer(
        model,
        parts.output_dir,
        vocabulary=vocabulary,
        complete=not semantic_only,
        same_classes=True,
    )
    needs_weights = not (semantic_only and isinstance(model, RelDN) and model.task == "prdcls")
    resumed = resume and checkpointer.has_checkpoint()
    if resume and not resumed:
        _check_unnamed(Path(parts.output_dir))
    if needs_weights and not parts.weights and not resumed:
        raise ValueError(f"there is nothing to evaluate: give a trained checkpoint as {parts.keys.weights}")
    if needs_weights:
        checkpointer.resume_or_load(parts.weights, resume=resume)
    if semantic_only and isinstance(model, RelDN):
        model.relation_head.set_predicate_counts(parts.predicate_counts())
    return model.eval()


def test(
    parts: RunParts,
    model: nn.Module,
    evaluators: Sequence[DatasetEvaluator] | None = None,
    *,
    others: Others = "delete",
    tasks: Sequence[str] = (),
) -> dict[str, Any]:
    """Evaluates a model on the test sets. It goes on where an earlier try with the same model was stopped.

    An evaluator may ask the model for more than its ranked list, see `reldn_d2.structures.queries`.

    Args:
        parts: parts of the model's config.
        model: the model with its weights.
        evaluators: one for each test set, instead of those of the config.
        others: what happens to predictions that a stopped evaluation of another model, of other data or with
            other settings left in the output folder, see `resumable_evaluation`.
        tasks: all tasks, if the model is evaluated on several in turn; this call is about the model's task.

    Returns:
        "task/protocol" -> metric -> number. With several data sets the first key is "data set/task/protocol",
        on one level, so that expected results can name it. Empty on all processes but the main one.

    Raises:
        ValueError: a test set has other classes than the config, or the numbers of evaluators and test sets
            differ; or see `UnfinishedEvaluation`.
    """
    names = parts.test_datasets
    if names:
        check_vocabulary(parts, names)
    if evaluators is not None and len(evaluators) != len(names):
        raise ValueError(
            f"{len(evaluators)} evaluators for {len(names)} test sets: give one for each, or none"
        )
    # The main process may still be writing the last checkpoint. A failed evaluation elsewhere would end it.
    comm.synchronize()
    _share_buffers(model)
    results: OrderedDict[str, dict[str, Any]] = OrderedDict()
    unfinished = UnfinishedEvaluation(parts, model, names, others, tasks)
    for i, name in enumerate(names):
        try:
            evaluator = parts.evaluator(name) if evaluators is None else evaluators[i]
        except NotImplementedError:  # as in DefaultTrainer
            logger.warning("There is no evaluator of %s: build_evaluator is not implemented for it.", name)
            results[name] = {}
            continue
        loader = parts.test_loader(name)
        queries = queries_of(evaluator)
        if queries is not None:
            loader = with_queries(loader, queries)
        printed = printed_to_log(logger) if isinstance(evaluator, COCOEvaluator) else nullcontext()
        with printed, parts.autocast():
            results[name] = unfinished.evaluate(name, loader, evaluator, queries)
        if comm.is_main_process():
            if parts.is_relation_model:
                save_task_results(parts, name, unfinished.identity, results[name])
            logger.debug("Evaluation results for %s in csv format:", name)
            print_csv_format(results[name])
    if isinstance(model, RelDN) and model.task == "sgdet" and comm.is_main_process():
        name_other_detectors(parts.test_detections, model, parts.weights)
    # Only now, so that of several data sets or tasks none is evaluated twice.
    unfinished.finish()
    if len(results) == 1:
        return next(iter(results.values()))
    return {f"{name}/{group}": x for name, groups in results.items() for group, x in groups.items()}


def _share_buffers(model: nn.Module) -> None:
    """Gives all processes the main one's buffers, such as running averages of batch normalisation.

    Each process has averages of its own images. Checkpoints have those of the main process, so they are what
    is evaluated.
    """
    if comm.get_world_size() > 1:
        device = next(model.parameters()).device
        for buffer in model.buffers():
            if buffer.device == device:
                torch.distributed.broadcast(buffer, 0)


def queries_of(evaluator: DatasetEvaluator) -> Mapping[str, Queries] | None:
    """What an evaluator asks about each image, see `RelationEvaluator.queries`.

    Evaluators in Detectron2's `DatasetEvaluators` ask together what each of them asks. The result is None for
    an evaluator that has no queries.
    """
    if isinstance(evaluator, DatasetEvaluators):
        found = [x for x in map(queries_of, evaluator._evaluators) if x is not None]
        images = dict.fromkeys(image for queries in found for image in queries)
        nothing = Queries.nothing()
        return {i: Queries.union([x.get(i, nothing) for x in found]) for i in images} if found else None
    queries: Mapping[str, Queries] | None = getattr(evaluator, "queries", None)
    return queries
