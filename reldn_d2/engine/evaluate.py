"""Functions on configs that `reldn` and `train_net.py` call: load, evaluate, check the classes."""

import json
import logging
import os
from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from reldn_d2.evaluation.graphs import parse_task
from reldn_d2.model_zoo import find_config
from reldn_d2.modeling import RelDN
from reldn_d2.structures import Vocabulary
from reldn_d2.structures.dataset_dicts import DatasetDict

from .config_files import is_saved_python, read_config_file
from .console import as_block
from .first_screen import describe_evaluation
from .folder_lock import release
from .lazy import LazyParts, load_lazy_config, make_saved_config, override_lazy_config
from .parts import Config, RunParts
from .resumable_evaluation import Others
from .run import check_vocabulary, last_checkpoint, load_weights, test
from .summary import INFERENCE, Summary, evaluation_settings, files_of_run, notes_on_results
from .trainer import Trainer
from .yaml import YamlParts, count_predicates, make_yaml_config, override_yaml_config

logger = logging.getLogger(__name__)


def kind_of_config(config_file: str | os.PathLike[str]) -> type[RunParts]:
    """The kind of config that a user's file holds: Python if its name ends in ".py", otherwise YAML."""
    return LazyParts if os.fspath(config_file).endswith(".py") else YamlParts


def load_config(
    config_file: str,
    opts: list[str] | None = None,
    *,
    unsafe_yaml: Iterable[str] = (),
    beside_weights: Collection[str] = (),
) -> Config:
    """Loads a config of either kind and applies overrides. It is not frozen.

    A Python file is a program, and is run: name only files that you trust. Nothing in other files is run. A
    config that a run has saved is of the kind of the run's config.

    Args:
        config_file: YAML file, or a Python file, whose name ends in ".py". It may also be the name of a
            config of this package, see `reldn_d2.model_zoo.find_config`.
        opts: overrides: a flat list of keys and values for YAML, "key=value" strings for Python.
        unsafe_yaml: YAML files whose tags may run code, because the user has named them as trusted.
        beside_weights: YAML files, this one or its bases, that were found beside weights and may come from
            anybody: they may have no `_BASE_`, and what they say about files and folders is not used.

    Raises:
        FileNotFoundError: the file does not exist. The message shows similar names.
        ValueError: see `load_lazy_config`, `read_config_file`, `make_yaml_config` and `make_saved_config`.
    """
    file = str(find_config(config_file))
    if kind_of_config(file) is LazyParts:
        return load_lazy_config(file, opts)
    content = read_config_file(file, unsafe_yaml=unsafe_yaml, beside_weights=beside_weights)
    make = make_saved_config if is_saved_python(content) else make_yaml_config
    return make(content, file, opts, beside_weights=bool(beside_weights))


def override_config(cfg: Config, opts: list[str], config_file: str) -> None:
    """Applies overrides to a config of either kind that is not frozen.

    Args:
        cfg: the config.
        opts: see `load_config`.
        config_file: its file, for messages.

    Raises:
        ValueError: see `override_yaml_config` and `override_lazy_config`.
    """
    if isinstance(cfg, CfgNode):
        override_yaml_config(cfg, opts)
    else:
        override_lazy_config(cfg, opts, config_file)


def parts_of(cfg: Config) -> RunParts:
    """The parts that a config of either kind describes, made as `Trainer` makes them."""
    return Trainer.parts_of(cfg)


def load_model(cfg: Config, *, resume: bool = False) -> nn.Module:
    """The model of a config with its weights, in eval mode.

    Args:
        cfg: config of either stage and kind.
        resume: take the last checkpoint in the run's folder instead, if there is one.

    Raises:
        ValueError: the config names no weights, or they do not fit.
    """
    return load_weights(parts_of(cfg), resume=resume)


def evaluate(
    cfg: Config, *, tasks: Sequence[str] = (), resume: bool = False, restart: bool = False
) -> dict[str, Any]:
    """Evaluates a checkpoint on the test sets and compares the results with those that the config expects.

    The main process writes a summary to the folder `inference` in the output folder. If an earlier evaluation
    was stopped, it goes on with the predictions that this one has saved there.

    Args:
        cfg: config of either stage and kind.
        tasks: tasks of RelDN, one after the other with the same model; none: the task of the config.
        resume: see `load_model`.
        restart: whether to drop such predictions and begin anew.

    Returns:
        See `reldn_d2.engine.run.test`.

    Raises:
        ValueError: the config or the weights do not fit, there is no such task, tasks are given for a
            detector, or there are predictions of another evaluation; see `load_weights` and `test`.
    """
    try:
        return _evaluate(cfg, tasks, resume=resume, restart=restart)
    finally:
        release("evaluation")  # what `set_up_run` has locked


def _evaluate(cfg: Config, tasks: Sequence[str], *, resume: bool, restart: bool) -> dict[str, Any]:
    in_turn = _parts_of_tasks(cfg, tasks)
    # A model that is only counted needs no detector for prdcls, but for the other tasks.
    parts = in_turn.get("sgdet") or in_turn.get("sgcls") or next(iter(in_turn.values()))
    model: Any = load_weights(parts, resume=resume).requires_grad_(False)  # prepared once, see `accelerate`
    weights = last_checkpoint(parts) if resume else None
    weights = weights or parts.weights or "none, the semantic table is counted"
    about = describe_evaluation(parts, check_vocabulary(parts, parts.test_datasets), weights)
    logger.info("Evaluation\n%s", as_block(about))
    others: Others = "restart" if restart else "refuse"
    results: dict[str, Any] = {}
    for task, of_task in in_turn.items():
        if tasks:
            model.task = task
        results |= test(of_task, model, others=others, tasks=[*in_turn] if tasks else ())
        others = "refuse"
    if comm.is_main_process():
        title = f"Evaluation finished; weights: {weights}"
        files = files_of_run(parts, results, trained=False)
        settings = evaluation_settings(parts) | ({parts.keys.task: json.dumps([*in_turn])} if tasks else {})
        notes = notes_on_results(parts, results)
        summary = Summary(title, parts.test_datasets, settings, results, files, notes=notes)
        summary.save(Path(parts.output_dir, INFERENCE))
        logger.info(summary.for_the_screen())
    parts.verify(results)
    return results


def _parts_of_tasks(cfg: Config, tasks: Sequence[str]) -> dict[str, RunParts]:
    """Task -> the parts of the config with this task; of the config as it is, without tasks."""
    parts = parts_of(cfg)
    if not tasks:
        return {"": parts}
    if not parts.is_relation_model:
        raise ValueError(f"a detector has no task: leave out --task {' '.join(tasks)}")
    in_turn: dict[str, RunParts] = {}
    for task in map(parse_task, tasks):
        changed = deepcopy(cfg)
        parts_of(changed).set_key(parts.keys.task, task)
        in_turn[task] = parts_of(changed)
    return in_turn


def check_classes(cfg: Config, dataset_names: list[str] | tuple[str, ...]) -> Vocabulary:
    """Compares the classes of a config and of data sets, see `reldn_d2.engine.run.check_vocabulary`."""
    return check_vocabulary(parts_of(cfg), dataset_names)


def set_predicate_statistics(model: RelDN, cfg: CfgNode, dataset_dicts: list[DatasetDict]) -> None:
    """Gives the relation head the predicate counts of a training set. For trainers of other projects.

    Args:
        model: RelDN before training.
        cfg: YAML config. It decides which pairs are counted.
        dataset_dicts: the whole training set, images without relations included.

    Raises:
        ValueError: an annotation has a class or predicate that the config does not have.
    """
    model.relation_head.set_predicate_counts(count_predicates(cfg, dataset_dicts))
