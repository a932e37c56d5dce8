"""Configs in Python (Detectron2's LazyConfig): reading them, and the parts that they describe.

Such a config, `configs/lazy/scenes_reldn.py` for example, has

* `model`: a RelDN, or without `relation_head` a detector; `model.roi_heads.num_classes` and
  `model.relation_head.num_predicates` count its classes;
* `datasets`: `train`, a list of names, and `test`, one name;
* `dataloader`: `train`, with a list of dataset dicts as `dataset`; for RelDN `statistics`, the predicate counts of the
  training set; `test` and `evaluator`, which are joined when an evaluation starts;
* `optimizer`, whose `params.model` is filled in; `lr_multiplier`, relative to the whole length of the training;
* `train`: as Detectron2's `common/train.py`: the checkpoint to start from is `init_checkpoint`; a RelDN checkpoint whose
  relation part is taken may be `relation_checkpoint`.
"""

import json
import logging
from collections.abc import Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from detectron2.config import LazyConfig, instantiate
from detectron2.evaluation import DatasetEvaluator
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError
from torch import nn

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.structures.dataset_dicts import DatasetDict

from .parts import KeyNames, RunParts
from .run_identity import flatten, free_patterns

logger = logging.getLogger(__name__)

# What every run needs. Names are checked when the config is read, so that nothing is found missing after hours.
_NEEDED = (
    *("model", "datasets.train", "datasets.test", "dataloader.train.dataset", "dataloader.train.mapper"),
    *(
        "dataloader.test.dataset",
        "dataloader.test.mapper",
        "dataloader.evaluator",
        "optimizer.params",
        "lr_multiplier",
    ),
    *(
        "train.output_dir",
        "train.init_checkpoint",
        "train.device",
        "train.max_iter",
        "train.amp.enabled",
        "train.ddp",
    ),
    *("train.checkpointer", "train.eval_period", "train.log_period"),
)
_NEEDED_FOR_RELATIONS = (
    "model.relation_head.num_predicates",
    "model.roi_heads.num_classes",
    "dataloader.statistics",
)


def load_lazy_config(config_file: str, overrides: list[str] | None = None) -> DictConfig:
    """A config in Python, with overrides. The file is a program, and is run.

    Args:
        config_file: Python file.
        overrides: "key=value" each.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: naming the file: overrides that are not key=value, or of a key that the config does not have; a part
            of a run that is missing.
    """
    if not Path(config_file).is_file():
        raise FileNotFoundError(f"config file {config_file!r} does not exist: correct --config-file")
    cfg: DictConfig = LazyConfig.load(config_file)
    for override in overrides or []:
        if "=" not in override:
            raise ValueError(
                f"{config_file} is a config in Python, whose overrides are written key=value: {override!r} is not"
            )
    # A misspelt key would be added, and change nothing.
    OmegaConf.set_struct(cfg, True)
    for override in overrides or []:
        try:
            LazyConfig.apply_overrides(cfg, [override])
        except (ConfigAttributeError, ConfigKeyError) as error:
            raise ValueError(_unknown_key(config_file, override.partition("=")[0], cfg)) from error
    OmegaConf.set_struct(cfg, False)
    _check_parts(cfg, config_file)
    return cfg


def _unknown_key(config_file: str, key: str, cfg: DictConfig) -> str:
    known = [name for name, _ in flatten(_plain(cfg))]
    near = get_close_matches(key, known, n=3)
    similar = f": did you mean {' or '.join(near)}?" if near else ""
    return f"{config_file} has no such key: {key}{similar}"


def _check_parts(cfg: DictConfig, config_file: str) -> None:
    needed = [*_NEEDED, *(_NEEDED_FOR_RELATIONS if _has_relations(cfg) else ())]
    missing = [
        name for name in needed if OmegaConf.select(cfg, name, throw_on_resolution_failure=False) is None
    ]
    # An interpolation that cannot be resolved yet is there all the same; a key with the value None is not.
    missing = [name for name in missing if not _is_interpolation(cfg, name)]
    if missing:
        raise ValueError(
            f"{config_file} lacks {', '.join(missing)}: a config in Python names every part of a run, as "
            "configs/lazy/scenes_reldn.py does"
        )


def _is_interpolation(cfg: DictConfig, name: str) -> bool:
    node, _, key = name.rpartition(".")
    parent: Any = OmegaConf.select(cfg, node) if node else cfg
    return isinstance(parent, DictConfig) and key in parent and OmegaConf.is_interpolation(parent, key)


def _plain(cfg: DictConfig) -> Any:
    return OmegaConf.to_container(cfg, resolve=True)


def _has_relations(cfg: DictConfig) -> bool:
    return "model" in cfg and "relation_head" in cfg.model


def _trains(head: DictConfig) -> bool:
    """Whether a relation head has more than a frozen semantic table; True for a head that has no pair classifier."""
    parts = head.get("pair_classifier")
    if parts is None:
        return True
    semantic = parts.get("semantic")
    learnable = semantic is not None and bool(semantic.get("learnable", False))
    return parts.get("visual") is not None or parts.get("spatial") is not None or learnable


class LazyParts(RunParts):
    """The parts that a config in Python describes: each is instantiated when it is asked for."""

    keys = KeyNames(
        output_dir="train.output_dir",
        device="train.device",
        seed="train.seed",
        weights="train.init_checkpoint",
        relation_weights="train.relation_checkpoint",
        use_amp="train.amp.enabled",
        entities_from_proposals="model.entities_from_proposals",
        train_detections="datasets.train_detections",
        task="model.task",
        protocols="dataloader.evaluator.protocols.names",
        confusion_subset="dataloader.evaluator.confusion_subset",
    )

    def __init__(self, cfg: DictConfig) -> None:
        """
        Args:
            cfg: see the module.
        """
        self.cfg = cfg
        train, datasets = cfg.train, cfg.datasets
        self.output_dir, self.device = train.output_dir, train.device
        self.weights, self.relation_weights = train.init_checkpoint, train.get("relation_checkpoint", "")
        self.train_datasets = tuple(datasets.train)
        self.test_datasets = (datasets.test,)
        self.statistics_datasets = tuple(datasets.get("statistics", ()))
        self.is_relation_model = _has_relations(cfg)
        self.entities_from_proposals = bool(cfg.model.get("entities_from_proposals", False))
        self.has_training = not self.is_relation_model or _trains(cfg.model.relation_head)
        self.has_train_detections = bool(datasets.get("train_detections", ()))
        self.use_amp = train.amp.enabled
        self.max_iter, self.eval_period, self.log_period = train.max_iter, train.eval_period, train.log_period
        self.checkpoint_options, self.ddp_options = dict(train.checkpointer), dict(train.ddp)

    @staticmethod
    def override(key: str, value: object) -> list[str]:
        text = f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else value
        return [f"{key}={text}"]

    def scaled_to(self, num_processes: int) -> "LazyParts":
        return self

    def settings(self) -> dict[str, str]:
        return dict(flatten(_plain(self.cfg)))

    def free_keys(self) -> tuple[str, ...]:
        return free_patterns("python")

    def detector_settings(self) -> Any:
        model = {
            key: value for key, value in _plain(self.cfg.model).items() if not key.startswith("relation_")
        }
        mapper = _plain(self.cfg)["dataloader"]["test"]["mapper"]
        return json.loads(json.dumps([model, mapper], default=yaml.dump))

    def class_counts(self) -> Mapping[str, tuple[str, int]]:
        model = self.cfg.model
        part = "roi_heads" if "roi_heads" in model else "head"
        counts = {"thing_classes": (f"model.{part}.num_classes", model[part].num_classes)}
        if self.is_relation_model:
            number = model.relation_head.num_predicates
            counts["predicate_classes"] = ("model.relation_head.num_predicates", number)
        return counts

    def training_data(self) -> list[DatasetDict]:
        dataset_dicts: list[DatasetDict] = instantiate(self.cfg.dataloader.train.dataset)
        return dataset_dicts

    def predicate_counts(self, training_data: list[DatasetDict] | None = None) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = instantiate(self.cfg.dataloader.statistics)
        return counts

    def model(self) -> nn.Module:
        model: nn.Module = instantiate(self.cfg.model).to(self.device)
        logger.info("Model:\n%s", model)
        return model

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        cfg = self.cfg.optimizer
        optimizer: torch.optim.Optimizer = instantiate({**cfg, "params": {**cfg.params, "model": model}})
        return optimizer

    def lr_scheduler(self, optimizer: torch.optim.Optimizer) -> Any:
        return instantiate(self.cfg.lr_multiplier)

    def train_loader(self, training_data: list[DatasetDict]) -> Any:
        return instantiate({**self.cfg.dataloader.train, "dataset": training_data})

    def test_mapper(self) -> RelationDatasetMapper:
        mapper: RelationDatasetMapper = instantiate(self.cfg.dataloader.test.mapper)
        return mapper

    def test_loader(self, dataset_name: str) -> Any:
        return instantiate(self._tested_on(dataset_name).dataloader.test)

    def evaluator(self, dataset_name: str) -> DatasetEvaluator:
        evaluator: DatasetEvaluator = instantiate(self._tested_on(dataset_name).dataloader.evaluator)
        return evaluator

    def _tested_on(self, dataset_name: str) -> DictConfig:
        """The config with another test set, whose detections it can't name."""
        if self.cfg.datasets.test == dataset_name:
            return self.cfg
        cfg = deepcopy(self.cfg)
        cfg.datasets.test, cfg.datasets.test_detections = dataset_name, []
        return cfg

    def verify(self, results: Mapping[str, Any]) -> None:
        """A config in Python expects no results."""
