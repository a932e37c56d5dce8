"""Configs in Python (Detectron2's LazyConfig): reads them and makes the parts that they describe.

A config in Python, for example `configs/lazy/scenes_reldn.py`, has

* `model`: RelDN, or a detector if it has no `relation_head`; `model.roi_heads.num_classes` and
  `model.relation_head.num_predicates` are the numbers of its classes;
* `datasets`: `train`, a list of names, and `test`, one name;
* `dataloader`: `train`, whose `dataset` is a list of dataset dicts; `test` and `evaluator`, which are joined
  when an evaluation starts; for RelDN also `statistics`, the predicate counts of the training set;
* `optimizer`: its `params.model` is filled in;
* `lr_multiplier`: relative to the whole length of the training;
* `train`: as in Detectron2's `common/train.py`. `init_checkpoint` is the checkpoint to start from;
  `relation_checkpoint` may name a RelDN checkpoint whose relation part is taken; `precision` is "fp32" or
  "bf16".
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import LazyConfig, instantiate
from detectron2.data import build_detection_train_loader
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from torch import nn

from reldn_d2.config import USUAL_PROTOCOLS
from reldn_d2.data import RelationDatasetMapper, build_resumable_train_loader
from reldn_d2.evaluation import RelationEvaluator
from reldn_d2.evaluation.graphs import parse_task
from reldn_d2.evaluation.protocols.registry import resolve_protocols
from reldn_d2.model_zoo import NO_PKG_RESOURCES
from reldn_d2.modeling import accelerate
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.structures.predicate_counts import PredicateCounts
from reldn_d2.utils.io import write_if_changed

from .config_files import similar_keys
from .datasets import load_registered
from .parts import KeyNames, RunParts
from .places import refuse_places, without_places
from .python_values import check_python_values
from .run_identity import flatten, free_patterns
from .saved_python import from_data, refuse_not_saved, to_data

logger = logging.getLogger(__name__)

# Names that every run needs. They are checked when the config is read, not when a run has trained for hours.
_NEEDED = (
    "model",
    "datasets.train",
    "datasets.test",
    "dataloader.train.dataset",
    "dataloader.test",
    "dataloader.evaluator",
    "optimizer.params",
    "lr_multiplier",
    "train.output_dir",
    "train.init_checkpoint",
    "train.device",
    "train.max_iter",
    "train.amp.enabled",
    "train.ddp",
    "train.checkpointer",
    "train.eval_period",
    "train.log_period",
)
_NEEDED_FOR_RELATIONS = (
    "model.relation_head.num_predicates",
    "model.roi_heads.num_classes",
    "dataloader.statistics",
)
# The first line of a saved config.
_SAVED_BY = "# A config in Python of reldn_d2, saved as data. docs/checkpoints.md says what it may contain.\n"


def load_lazy_config(config_file: str, overrides: list[str] | None = None) -> DictConfig:
    """Runs a config in Python and applies overrides.

    Such a file is a program, and can do whatever its author wants: name only files that you trust.

    Args:
        config_file: Python file.
        overrides: strings "key=value".

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: an override is not key=value or names a key that the config does not have, or the config
            lacks a part of a run, or imports `detectron2.model_zoo` where that can't be imported. The message
            names the file.
    """
    if not Path(config_file).is_file():
        raise FileNotFoundError(f"config file {config_file!r} does not exist: correct --config-file")
    try:
        cfg: DictConfig = LazyConfig.load(config_file)
    except ModuleNotFoundError as error:
        if error.name != "pkg_resources":
            raise
        raise ValueError(
            f"{config_file} imports a module that needs pkg_resources, such as detectron2.model_zoo. "
            f"{NO_PKG_RESOURCES}, or take reldn_d2.model_zoo.get_detectron2_config_file"
        ) from error
    override_lazy_config(cfg, overrides or [], config_file)
    return cfg


def make_saved_config(
    content: Mapping[str, Any],
    config_file: str,
    overrides: list[str] | None = None,
    *,
    beside_weights: bool = False,
) -> DictConfig:
    """Makes the config in Python that a run has saved, and applies overrides. Nothing in it is run.

    Args:
        content: the result of `read_config_file`.
        config_file: the file, for messages.
        overrides: strings "key=value".
        beside_weights: whether the file was found beside weights: then `PYTHON_PLACES` get their defaults.

    Raises:
        ValueError: see `from_data` and `override_lazy_config`; or the file lies beside weights and names a
            place.
    """
    cfg = from_data(without_places(content, config_file) if beside_weights else content, config_file)
    if beside_weights:
        _refuse_places(cfg, config_file)
    override_lazy_config(cfg, overrides or [], config_file)
    try:
        LazyParts(cfg)
    except (AttributeError, TypeError, ValueError, OmegaConfBaseException) as error:
        raise ValueError(f"{config_file} is no complete config in Python ({_first_line(error)})") from error
    return cfg


def _refuse_places(cfg: DictConfig, config_file: str) -> None:
    try:
        refuse_places(dict(_leaves(_plain(cfg))), config_file)
    except OmegaConfBaseException as error:
        raise ValueError(f"{config_file}: a reference leads nowhere ({_first_line(error)})") from error


def _leaves(plain: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dicts by their full names. A list is a value if it has no dict in it."""
    for name, value in plain.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{key}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield from _leaves(dict(enumerate(value)), f"{key}.")
        else:
            yield key, value


def override_lazy_config(cfg: DictConfig, overrides: list[str], config_file: str) -> None:
    """Applies overrides to a config.

    Args:
        cfg: a config in Python.
        overrides: strings "key=value".
        config_file: its file, for messages.

    Raises:
        ValueError: an override is not key=value, or names a key that the config does not have; or the config
            lacks a part of a run.
    """
    for override in overrides:
        if "=" not in override:
            raise ValueError(
                f"{config_file} is a config in Python, whose overrides are written key=value: "
                f"{override!r} is not"
            )
    # Otherwise a misspelt key would be added and have no effect.
    OmegaConf.set_struct(cfg, True)
    for override in overrides:
        try:
            LazyConfig.apply_overrides(cfg, [override])
        except (ConfigAttributeError, ConfigKeyError) as error:
            raise ValueError(_unknown_key(config_file, override.partition("=")[0], cfg)) from error
        except Exception as error:  # Hydra's parser and OmegaConf have many kinds
            raise ValueError(
                f"{config_file}: override {override!r} can't be applied ({_first_line(error)})"
            ) from error
    OmegaConf.set_struct(cfg, False)
    _check_parts(cfg, config_file)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _unknown_key(config_file: str, key: str, cfg: DictConfig) -> str:
    known = [name for name, _ in flatten(_plain(cfg))]
    near = similar_keys(key, known)
    similar = f": did you mean {' or '.join(near)}?" if near else ""
    return f"{config_file} has no such key: {key}{similar}"


def _check_parts(cfg: DictConfig, config_file: str) -> None:
    needed = [*_NEEDED, *(_NEEDED_FOR_RELATIONS if _has_relations(cfg) else ())]
    try:
        missing = [name for name in needed if not _has(cfg, name)]
        if missing:
            raise ValueError(
                f"{config_file} lacks {', '.join(missing)}: a config in Python names every part of a run, as "
                "configs/lazy/scenes_reldn.py does"
            )
        train, test = cfg.datasets.train, cfg.datasets.test
    except OmegaConfBaseException as error:
        raise ValueError(f"{config_file}: a reference leads nowhere ({_first_line(error)})") from error
    if isinstance(train, str) or not isinstance(test, str):
        raise ValueError(
            f"{config_file}: datasets.train is a list of names and datasets.test one name, not {train!r} "
            f"and {test!r}"
        )
    check_python_values(cfg, f"{config_file}: ")


def _has(cfg: Any, name: str) -> bool:
    """Whether a config has a key, whatever its value is."""
    for part in name.split("."):
        if not isinstance(cfg, DictConfig) or part not in cfg:
            return False
        cfg = cfg[part]
    return True


def _plain(cfg: DictConfig) -> Any:
    return OmegaConf.to_container(cfg, resolve=True)


def _has_relations(cfg: DictConfig) -> bool:
    return _has(cfg, "model.relation_head")


def _trains(head: DictConfig) -> bool:
    """Whether a relation head has more than a frozen semantic table. True if it has no pair classifier."""
    parts = head.get("pair_classifier")
    if parts is None:
        return True
    semantic = parts.get("semantic")
    learnable = semantic is not None and bool(semantic.get("learnable", False))
    return parts.get("visual") is not None or parts.get("spatial") is not None or learnable


def _schedule_in_words(multiplier: DictConfig, max_iter: int) -> str:
    """What a schedule of fvcore does; the name of its class if it is of another kind."""
    steps = multiplier.get("scheduler", multiplier)
    words = [_class_name(steps)]
    if steps.get("milestones"):
        words.append(f"steps at {', '.join(str(x) for x in steps.milestones)}")
    if multiplier.get("warmup_length"):
        words.append(f"warm-up of {round(multiplier.warmup_length * max_iter)} iterations")
    return ", ".join(words)


def _is_call(part: Any, target: Any) -> bool:
    """Whether a part of a config is a call of this class or function."""
    named = part.get("_target_") if isinstance(part, Mapping | DictConfig) else None
    return (locate(named) if isinstance(named, str) else named) is target


def _calls(part: Any, target: Any) -> bool:
    """Whether a part of a config, or a part in it, is a call of this class or function."""
    if not isinstance(part, DictConfig):
        return False
    # Values that refer to other keys are no calls.
    inner = (part[key] for key in map(str, part) if not OmegaConf.is_interpolation(part, key))
    return _is_call(part, target) or any(_calls(x, target) for x in inner)


def _class_name(part: DictConfig) -> str:
    target = part.get("_target_", "")
    return target.rpartition(".")[2] if isinstance(target, str) else str(target.__name__)


class LazyParts(RunParts):
    """The parts that a config in Python describes. Each is instantiated when its method is called."""

    is_python = True
    keys = KeyNames(
        output_dir="train.output_dir",
        device="train.device",
        precision="train.precision",
        seed="train.seed",
        train_datasets="datasets.train",
        test_datasets="datasets.test",
        weights="train.init_checkpoint",
        relation_weights="train.relation_checkpoint",
        use_amp="train.amp.enabled",
        entities_from_proposals="model.entities_from_proposals",
        train_detections="datasets.train_detections",
        task="model.task",
        protocols="dataloader.evaluator.protocols.names",
        confusion_subset="dataloader.evaluator.confusion_subset",
        max_iter="train.max_iter",
        batch_size="dataloader.train.total_batch_size",
        base_lr="optimizer.lr",
        clip_gradients="an optimizer that clips them",
        eval_period="train.eval_period",
        best_checkpoint="train.best_checkpoint",
        skip_unreadable="train.skip_unreadable",
        masks="model.roi_heads.mask_head",
        keypoints="model.roi_heads.keypoint_head",
    )

    def __init__(self, cfg: DictConfig) -> None:
        """Reads the settings of a config.

        Args:
            cfg: config with the keys that the module's docstring lists.

        Raises:
            ValueError: see `check_python_values`.
        """
        check_python_values(cfg)  # code may have changed it
        self.cfg: DictConfig = cfg
        train, datasets = cfg.train, cfg.datasets
        self.output_dir, self.device = train.output_dir, train.device
        self.precision = train.get("precision", "fp32")
        self.seed = train.get("seed", -1)
        self.weights = train.init_checkpoint or ""
        self.relation_weights = train.get("relation_checkpoint") or ""
        self.train_datasets = tuple(datasets.train)
        self.test_datasets = (datasets.test,) if datasets.test else ()
        self.test_detections = tuple(datasets.get("test_detections", ()))
        self.data_check = datasets.get("check", "error")
        self.statistics_datasets = tuple(datasets.get("statistics", ()))
        self.is_relation_model = _has_relations(cfg)
        self.entities_from_proposals = bool(cfg.model.get("entities_from_proposals", False))
        self.unread_keys = ()  # a sampler takes no argument that it does not know
        self.has_training = not self.is_relation_model or _trains(cfg.model.relation_head)
        self.has_train_detections = bool(datasets.get("train_detections", ()))
        heads = {} if self.is_relation_model else cfg.model.get("roi_heads") or {}
        masks, keypoints = heads.get("mask_head"), heads.get("keypoint_head")
        mapper = cfg.dataloader.train.get("mapper") or {}
        self.trained_masks = mapper.get("instance_mask_format", "polygon") if masks else ""
        self.trained_keypoints = keypoints.get("num_keypoints", 0) if keypoints else 0
        self.use_amp = train.amp.enabled
        self.max_iter, self.eval_period, self.log_period = train.max_iter, train.eval_period, train.log_period
        self.batch_size = cfg.dataloader.train.get("total_batch_size")
        self.base_lr = cfg.optimizer.get("lr")
        self.schedule = _schedule_in_words(cfg.lr_multiplier, train.max_iter)
        self.best_checkpoint = bool(train.get("best_checkpoint", False))
        self.skip_unreadable = bool(train.get("skip_unreadable", False))
        self.checkpoint_options, self.ddp_options = dict(train.checkpointer), dict(train.ddp)
        self.cudnn_benchmark = bool(train.get("cudnn_benchmark", False))

    @classmethod
    def override(cls, key: str, value: object) -> list[str]:
        """One word, key=value.

        A list or tuple is written [a,b]; for `datasets.test`, which is one name, as a name.

        Raises:
            ValueError: there are several test sets.
        """
        if key == cls.keys.test_datasets and isinstance(value, list | tuple):
            if len(value) != 1:
                raise ValueError(
                    f"{key} of a config in Python is one name, not {len(value)}: {', '.join(value)}"
                )
            (value,) = value
        text = f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)
        if isinstance(value, str | Path) and not re.fullmatch(r"[\w./-]*", text):
            text = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"  # quoted for Hydra's parser
        return [f"{key}={text}"]

    @staticmethod
    def overridden_keys(opts: Sequence[str]) -> set[str]:
        """What stands before the first equals sign of each word."""
        return {word.partition("=")[0] for word in opts}

    def set_key(self, key: str, value: Any) -> None:
        """Sets the key; "${...}" in a value refers to another key."""
        OmegaConf.update(self.cfg, key, value, merge=False)

    def data_sets_settings(self, train: str | None, test: str | None) -> dict[str, Any]:
        """`datasets.train` and `.test`; the semantic table is counted over the training set."""
        if test is None:
            raise ValueError(
                "a config in Python names one data set to evaluate on, but the data have none: give them a "
                "split 'test' or 'val', or use a config in YAML"
            )
        statistics = {"datasets.statistics": "${.train}"} if "statistics" in self.cfg.datasets else {}
        return {"datasets.train": [] if train is None else [train], "datasets.test": test, **statistics}

    def settings_for_other_data(self) -> dict[str, Any]:
        """Precomputed detections, protocols and their excluded predicates, as far as the config has them."""
        defaults = {
            "datasets.train_detections": [],
            "datasets.test_detections": [],
            "dataloader.evaluator.protocols.names": [*USUAL_PROTOCOLS],
            "dataloader.evaluator.protocols.excluded_predicates": [],
        }
        return {key: value for key, value in defaults.items() if _has(self.cfg, key)}

    def scaled_to(self, num_processes: int) -> "LazyParts":
        """These parts: a config in Python names no number of processes."""
        return self

    def settings(self) -> dict[str, str]:
        """Every key of the config and its value as JSON."""
        return dict(flatten(_plain(self.cfg)))

    def free_keys(self) -> tuple[str, ...]:
        """The patterns of `FREE_KEYS` for configs in Python."""
        return free_patterns("python")

    def length_keys(self) -> tuple[str, ...]:
        """`train.max_iter`, and the keys that refer to it."""
        written: Any = OmegaConf.to_container(self.cfg, resolve=False)
        referring = [key for key, value in flatten(written) if "${train.max_iter}" in value]
        return (self.keys.max_iter, *referring)

    def save(self, path: Path) -> None:
        """Writes the config as a YAML file of plain data, see `saved_python`."""
        text = yaml.safe_dump(to_data(self.cfg), sort_keys=False, default_flow_style=None, allow_unicode=True)
        write_if_changed(path, f"{_SAVED_BY}{text}".encode())

    def detector_settings(self) -> Any:
        """The keys of `model` without the relation part, and the test mapper."""
        model = {
            key: value for key, value in _plain(self.cfg.model).items() if not key.startswith("relation_")
        }
        mapper = _plain(self.cfg)["dataloader"]["test"]["mapper"]
        precision = [] if self.precision == "fp32" else [self.precision]
        return json.loads(json.dumps([model, mapper, *precision], default=yaml.dump))

    def class_counts(self) -> Mapping[str, tuple[str, int]]:
        """The numbers of classes in `model`: of its ROI heads; of a single-stage detector, or of its head."""
        model = self.cfg.model
        # RetinaNet's head refers to the number of the model, so that comes first.
        keys = ("roi_heads.num_classes", "num_classes", "head.num_classes")
        known = [f"model.{key}" for key in keys if _has(model, key)]
        counts = {"thing_classes": (known[0], OmegaConf.select(self.cfg, known[0]))} if known else {}
        if self.is_relation_model:
            number = model.relation_head.num_predicates
            counts["predicate_classes"] = ("model.relation_head.num_predicates", number)
        return counts

    def training_data(self) -> list[DatasetDict]:
        """Instantiates `dataloader.train.dataset`.

        If it does not load with `load_registered`, which checks the data, they are checked here.
        """
        if not _calls(self.cfg.dataloader.train.dataset, load_registered):
            load_registered(self.train_datasets, check=self.data_check)
        dataset_dicts: list[DatasetDict] = self._make("dataloader.train.dataset")
        return dataset_dicts

    def predicate_counts(self, training_data: list[DatasetDict] | None = None) -> PredicateCounts:
        """Instantiates `dataloader.statistics`."""
        counts: PredicateCounts = self._make("dataloader.statistics")
        return counts

    def model(self) -> nn.Module:
        """Instantiates `model` on the device of the config."""
        self.check_device()
        model: nn.Module = accelerate(self._make("model").to(self.device))
        logger.info("Model:\n%s", model)
        return model

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Instantiates `optimizer` for the parameters of a model."""
        cfg = self.cfg.optimizer
        # A checkpoint contains the settings, and is read only if they are plain Python. OmegaConf's
        # lists, such as Adam's betas, are not.
        plain = {key: tuple(value) if isinstance(value, ListConfig) else value for key, value in cfg.items()}
        self.check_saved("optimizer")
        optimizer: torch.optim.Optimizer = instantiate({**plain, "params": {**cfg.params, "model": model}})
        return optimizer

    def lr_scheduler(self, optimizer: torch.optim.Optimizer) -> Any:
        """Instantiates `lr_multiplier`.

        Raises:
            ValueError: the schedule does not fit the length of the training.
        """
        try:
            return self._make("lr_multiplier")
        except (AssertionError, ValueError) as error:
            raise ValueError(
                f"lr_multiplier does not fit train.max_iter={self.max_iter} ({error}): change both together, "
                "for example lr_multiplier.scheduler.milestones"
            ) from error

    def train_loader(self, training_data: list[DatasetDict]) -> Any:
        """Instantiates `dataloader.train` with the given data.

        In place of Detectron2's loader it makes our own, which takes the same arguments and can be resumed.
        """
        self.check_saved("dataloader.train", ("dataset",))
        loader = {**self.cfg.dataloader.train, "dataset": training_data}
        needs = self.trained_masks or self.trained_keypoints
        if needs and _is_call(self.cfg.dataloader.train.get("mapper"), RelationDatasetMapper):
            raise ValueError(
                "dataloader.train.mapper is RelationDatasetMapper, which reads neither masks nor keypoints: "
                f"take detectron2.data.DatasetMapper, or set {self.keys.masks} and {self.keys.keypoints} to "
                "null"
            )
        if _is_call(self.cfg.dataloader.train, build_detection_train_loader):
            loader["_target_"] = build_resumable_train_loader
        return instantiate(loader)

    def test_mapper(self) -> RelationDatasetMapper:
        """Instantiates `dataloader.test.mapper`."""
        mapper: RelationDatasetMapper = self._make("dataloader.test.mapper")
        return mapper

    def test_loader(self, dataset_name: str) -> Any:
        """Instantiates `dataloader.test` for a data set."""
        return LazyParts(self._tested_on(dataset_name))._make("dataloader.test")

    def evaluator(self, dataset_name: str) -> DatasetEvaluator:
        """Instantiates `dataloader.evaluator` for a data set."""
        evaluator: DatasetEvaluator = LazyParts(self._tested_on(dataset_name))._make("dataloader.evaluator")
        return evaluator

    def _make(self, key: str) -> Any:
        """Instantiates a part of the config."""
        self.check_saved(key)
        return instantiate(OmegaConf.select(self.cfg, key))

    def check_saved(self, key: str, given: Sequence[str] = ()) -> None:
        """Checks that a part of a saved config is complete.

        Args:
            key: the part.
            given: names in it that are given otherwise.

        Raises:
            ValueError: something in it could not be saved.
        """
        part = OmegaConf.select(self.cfg, key)
        plain = _plain(part) if OmegaConf.is_config(part) else part
        for name in given:
            plain.pop(name, None)
        refuse_not_saved(plain, key)

    def _tested_on(self, dataset_name: str) -> DictConfig:
        """The config with another test set. It names no precomputed detections for this one."""
        if self.cfg.datasets.test == dataset_name:
            return self.cfg
        cfg = deepcopy(self.cfg)
        cfg.datasets.test, cfg.datasets.test_detections = dataset_name, []
        before, after = (_plain(x)["dataloader"]["test"] for x in (self.cfg, cfg))
        if dict(flatten({"test": before})) == dict(flatten({"test": after})):
            raise ValueError(
                f"dataloader.test does not refer to datasets.test, so it can't load {dataset_name}: write "
                'names=["${datasets.test}"] there'
            )
        return cfg

    def check_evaluation(self, predicate_classes: Sequence[str]) -> None:
        """Makes the protocols of a `RelationEvaluator`. Another evaluator checks its own arguments."""
        evaluator = self.cfg.dataloader.evaluator
        if _class_name(evaluator) == RelationEvaluator.__name__ and "protocols" in evaluator:
            protocols = self._make("dataloader.evaluator.protocols")
            resolve_protocols(protocols, parse_task(evaluator.task), predicate_classes)

    def verify(self, results: Mapping[str, Any]) -> None:
        """Compares nothing: a config in Python expects no results."""
