"""Training and evaluation from a config in Python (Detectron2's LazyConfig), as `train_net.py` runs them.

Such a config, `configs/lazy/scenes_reldn.py` for example, has

* `model`: a RelDN, or without `relation_head` a detector; `model.roi_heads.num_classes` and
  `model.relation_head.num_predicates` count its classes;
* `datasets`: `train`, a list of names, and `test`, one name;
* `dataloader`: `train`, with a list of dataset dicts as `dataset`; for RelDN `statistics`, the predicate counts of the
  training set; `test` and `evaluator`;
* `optimizer`, whose `params.model` is filled in; `lr_multiplier`, relative to the whole length of the training;
* `train`: as Detectron2's `common/train.py`: the checkpoint to start from is `init_checkpoint`; a RelDN checkpoint whose
  relation part is taken may be `relation_checkpoint`.
"""

import argparse
import logging
from typing import Any

from detectron2.config import LazyConfig, instantiate
from detectron2.engine import AMPTrainer, SimpleTrainer, default_writers, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError
from torch import nn

from reldn_d2.checkpoint import RelationCheckpointer, Vocabulary
from reldn_d2.modeling import RelDN

from .run_identity import lazy_run_identity, resume_or_start
from .setup import common_vocabulary, start_run
from .trainer import distribute

logger = logging.getLogger(__name__)


def setup_lazy(args: argparse.Namespace) -> DictConfig:
    """Config of a `train_net.py` run; also sets up logging, the seed and the output folder.

    Raises:
        ValueError: overrides that are not key=value, or of a key that the config does not have.
    """
    cfg = load_lazy_config(args.config_file, args.opts)
    start_run(cfg, args, cfg.train.output_dir, cfg.train.device)
    return cfg


def load_lazy_config(config_file: str, overrides: list[str] | None = None) -> DictConfig:
    """A config in Python, with overrides.

    Args:
        config_file: Python file.
        overrides: "key=value" each.

    Raises:
        ValueError: overrides that are not key=value, or of a key that the config does not have.
    """
    cfg: DictConfig = LazyConfig.load(config_file)
    for override in overrides or []:
        if "=" not in override:
            raise ValueError(
                f"{config_file} is a config in Python, whose overrides are written key=value: {override!r} is not"
            )
    # A misspelt key would be added, and change nothing.
    OmegaConf.set_struct(cfg, True)
    try:
        LazyConfig.apply_overrides(cfg, overrides or [])
    except (ConfigAttributeError, ConfigKeyError) as error:
        raise ValueError(f"{config_file} has no such key: {error}") from error
    OmegaConf.set_struct(cfg, False)
    return cfg


class LazyTraining:
    """A training run: everything that a config describes, built and joined.

    Attributes:
        trainer: Detectron2's, with its hooks.
        checkpointer: of the run.
    """

    def __init__(self, cfg: DictConfig) -> None:
        """
        Args:
            cfg: see the module.

        Raises:
            ValueError: the config does not fit a data set, has nothing to train, asks for AMP without CUDA, or for
                detections as well as proposals to train on.
        """
        self._cfg = cfg
        vocabulary = _vocabulary(cfg, [*cfg.datasets.train, cfg.datasets.test])
        if cfg.train.amp.enabled and cfg.train.device == "cpu":
            raise ValueError("train.amp.enabled needs CUDA: switch it off, or set train.device to 'cuda'")
        dataset_dicts = instantiate(cfg.dataloader.train.dataset)
        self._run = lazy_run_identity(cfg, dataset_dicts)
        model = instantiate(cfg.model).to(cfg.train.device)
        logger.info("Model:\n%s", model)
        if isinstance(model, RelDN):
            if model.entities_from_proposals and any("detections" in x for x in dataset_dicts):
                raise ValueError(
                    "model.entities_from_proposals trains on proposals, so it can't use precomputed detections: choose "
                    "one of them"
                )
            model.relation_head.set_predicate_counts(instantiate(cfg.dataloader.statistics))
        optimizer = instantiate({**cfg.optimizer, "params": {**cfg.optimizer.params, "model": model}})
        data_loader = instantiate({**cfg.dataloader.train, "dataset": dataset_dicts})

        model = distribute(model, **cfg.train.ddp)
        kind = AMPTrainer if cfg.train.amp.enabled else SimpleTrainer
        self.trainer = kind(model, data_loader, optimizer)
        self.checkpointer = RelationCheckpointer(
            model, cfg.train.output_dir, vocabulary=vocabulary, run=self._run, trainer=self.trainer
        )
        self.trainer.register_hooks(self._hooks(model))

    def resume_or_load(self, resume: bool = True) -> int:
        """Goes on from the last checkpoint of the run, if asked to, or loads train.init_checkpoint.

        Returns:
            The iteration to start from.

        Raises:
            ValueError: see `resume_or_start`.
        """
        resumed = resume_or_start(
            self.checkpointer,
            self._run,
            resume=resume,
            weights=self._cfg.train.init_checkpoint,
            relation_weights=self._cfg.train.get("relation_checkpoint", ""),
            key="train.init_checkpoint",
        )
        return self.trainer.iter + 1 if resumed else 0

    def train(self, resume: bool = True) -> None:
        """Trains to the end, and evaluates."""
        self.trainer.train(self.resume_or_load(resume), self._cfg.train.max_iter)

    def _hooks(self, model: nn.Module) -> list[Any]:
        train = self._cfg.train
        made = [hooks.IterationTimer(), hooks.LRScheduler(scheduler=instantiate(self._cfg.lr_multiplier))]
        if comm.is_main_process():
            made.append(hooks.PeriodicCheckpointer(self.checkpointer, **train.checkpointer))
        # After the checkpoint, which stays if the evaluation fails.
        made.append(hooks.EvalHook(train.eval_period, lambda: _test(self._cfg, model)))
        if comm.is_main_process():
            writers = default_writers(train.output_dir, train.max_iter)
            made.append(hooks.PeriodicWriter(writers, period=train.log_period))
        return made


def evaluate_lazy(cfg: DictConfig, *, resume: bool = False) -> dict[str, Any]:
    """Evaluates train.init_checkpoint on the test set.

    Args:
        cfg: see the module.
        resume: take the last checkpoint in train.output_dir instead, if there is one.

    Returns:
        "task/protocol" -> metric -> number; empty on all but the main process.

    Raises:
        ValueError: no weights, or weights that do not fit.
    """
    model = instantiate(cfg.model).to(cfg.train.device)
    vocabulary = _vocabulary(cfg, [cfg.datasets.test])
    checkpointer = RelationCheckpointer(model, cfg.train.output_dir, vocabulary=vocabulary, complete=True)
    start = cfg.train.init_checkpoint
    if not start and not (resume and checkpointer.has_checkpoint()):
        raise ValueError("there is nothing to evaluate: give a trained checkpoint as train.init_checkpoint")
    checkpointer.resume_or_load(start, resume=resume)
    return _test(cfg, model)


def _test(cfg: DictConfig, model: nn.Module) -> dict[str, Any]:
    # The main process may still be writing the last checkpoint, and would be ended if the evaluation fails elsewhere.
    comm.synchronize()
    evaluator = instantiate(cfg.dataloader.evaluator)
    results: dict[str, Any] = inference_on_dataset(model, instantiate(cfg.dataloader.test), evaluator)
    if comm.is_main_process():
        print_csv_format(results)
    return results


def _vocabulary(cfg: DictConfig, dataset_names: list[str]) -> Vocabulary:
    counts = {"thing_classes": ("model.roi_heads.num_classes", cfg.model.roi_heads.num_classes)}
    if _has_relations(cfg):
        number = cfg.model.relation_head.num_predicates
        counts["predicate_classes"] = ("model.relation_head.num_predicates", number)
    return common_vocabulary(dataset_names, counts)


def _has_relations(cfg: DictConfig) -> bool:
    return "relation_head" in cfg.model
