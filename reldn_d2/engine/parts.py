"""The parts of a run: one interface for both kinds of configs.

A config in YAML and a config in Python are two ways to name the same parts: model, data, optimizer, schedule,
evaluation. `YamlParts` and `LazyParts` make them. Everything else in this package uses `RunParts`, never a
config.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import torch
from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator
from omegaconf import DictConfig
from torch import nn

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.data.checking.loaded import CheckMode
from reldn_d2.modeling.acceleration import Precision, autocast, check_precision
from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.structures.predicate_counts import PredicateCounts

#: Names of a run's config and of its last weights in its output folder.
CONFIG_FILE, FINAL_WEIGHTS = "config.yaml", "model_final.pth"
#: A config in YAML, or a config in Python.
Config: TypeAlias = CfgNode | DictConfig


@dataclass(frozen=True)
class KeyNames:
    """The keys of one kind of config for the settings that messages and commands name."""

    output_dir: str
    device: str
    precision: str
    seed: str
    train_datasets: str
    test_datasets: str
    weights: str
    relation_weights: str
    use_amp: str
    entities_from_proposals: str
    train_detections: str
    task: str
    protocols: str
    confusion_subset: str
    max_iter: str
    batch_size: str
    base_lr: str
    clip_gradients: str
    eval_period: str
    best_checkpoint: str
    skip_unreadable: str
    masks: str
    keypoints: str


def check_device(name: str, setting: str, remedy: Callable[[str], str]) -> None:
    """Checks that this machine has a device.

    Args:
        name: the device, such as "cuda:1".
        setting: what names it, for the message.
        remedy: what the user has to do to use another device, from its name.

    Raises:
        ValueError: see `RunParts.check_device`.
    """
    given = f"{setting} is {name!r}"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{given}: write cpu or cuda") from error
    if device.type == "cuda" and torch.cuda.is_available():
        if device.index is not None and device.index >= torch.cuda.device_count():
            last = f"cuda:{torch.cuda.device_count() - 1}"
            raise ValueError(f"{given}, but the last GPU that PyTorch finds here is {last}: {remedy('cuda')}")
    elif device.type == "cuda":
        raise ValueError(f"{given}, but PyTorch finds no GPU here: {remedy('cpu')}")
    elif device.type != "cpu":
        try:
            torch.zeros(1, device=device).item()
        except Exception as error:  # each kind of device has its own
            raise ValueError(f"{given}, but PyTorch can't use it here: {remedy('cpu')}") from error


class RunParts(ABC):
    """The parts of a training or an evaluation. Each call of a method makes a new part.

    Attributes:
        cfg: the config.
        keys: names of settings in this kind of config.
        is_python: whether this kind of config is written in Python, with overrides key=value.
        output_dir: folder of the run.
        device: device of the model, for example "cpu" or "cuda".
        precision: precision that the model computes in.
        seed: seed of the random numbers; negative: `reldn_d2.engine.setup` draws one.
        weights: checkpoint that a run starts from, or that is evaluated; empty: none.
        relation_weights: RelDN checkpoint whose relation part a new run of RelDN takes; empty: none.
        train_datasets, test_datasets: names of the training and test sets.
        test_detections: files of precomputed detections of the test sets.
        data_check: what happens to data sets with errors, see `load_registered`.
        statistics_datasets: names of the data sets that the semantic module is counted over.
        is_relation_model: whether the model is RelDN; otherwise it is a detector.
        entities_from_proposals: whether RelDN trains on proposals, as the published code does.
        unread_keys: keys of the paper's sampling that the config sets, although it draws pairs as the
            published code, which does not know them.
        has_training: whether there is anything to train: more than a frozen semantic table.
        has_train_detections: whether RelDN trains on precomputed detections.
        trained_masks: format of the masks that a detector trains on, as INPUT.MASK_FORMAT; empty: it trains
            on none.
        trained_keypoints: number of keypoints of an entity that a detector trains on.
        use_amp: whether to train in mixed precision.
        max_iter: number of iterations of the training.
        batch_size: number of images of an iteration, over all processes; None: the config does not say.
        base_lr: learning rate that the schedule multiplies; None: the config does not say.
        schedule: the learning rate's course in words.
        best_checkpoint: whether the weights of the best evaluation are kept, too.
        skip_unreadable: whether an evaluation excludes images whose picture can't be read.
        eval_period: number of iterations between two evaluations; 0: only at the end.
        log_period: number of iterations between two log lines.
        checkpoint_options: arguments of Detectron2's PeriodicCheckpointer.
        ddp_options: arguments of Detectron2's `create_ddp_model`.
        cudnn_benchmark: whether cuDNN tries which of its algorithms is the fastest in training.
    """

    keys: ClassVar[KeyNames]
    is_python: ClassVar[bool]
    cfg: Config
    output_dir: str
    device: str
    precision: Precision
    seed: int
    weights: str
    relation_weights: str
    train_datasets: tuple[str, ...]
    test_datasets: tuple[str, ...]
    test_detections: tuple[str, ...]
    data_check: CheckMode
    statistics_datasets: tuple[str, ...]
    is_relation_model: bool
    entities_from_proposals: bool
    unread_keys: tuple[str, ...]
    has_training: bool
    has_train_detections: bool
    trained_masks: str
    trained_keypoints: int
    use_amp: bool
    max_iter: int
    batch_size: int | None
    base_lr: float | None
    schedule: str
    best_checkpoint: bool
    skip_unreadable: bool
    eval_period: int
    log_period: int
    checkpoint_options: Mapping[str, Any]
    ddp_options: Mapping[str, Any]
    cudnn_benchmark: bool

    @classmethod
    @abstractmethod
    def override(cls, key: str, value: object) -> list[str]:
        """The command-line words that set a key of this kind of config."""

    @staticmethod
    @abstractmethod
    def overridden_keys(opts: Sequence[str]) -> set[str]:
        """The keys that command-line words set."""

    @abstractmethod
    def set_key(self, key: str, value: Any) -> None:
        """Changes one key of the config. Attributes that were read before do not change."""

    @abstractmethod
    def data_sets_settings(self, train: str | None, test: str | None) -> dict[str, Any]:
        """The keys that name the data sets, and their values for these data sets.

        Args:
            train: name of the training set; None if there is none.
            test: name of the test set; None if there is none.

        Raises:
            ValueError: this kind of config needs a data set that is None.
        """

    @abstractmethod
    def settings_for_other_data(self) -> dict[str, Any]:
        """The keys whose values fit only the data sets that a config was written for, and their defaults."""

    @abstractmethod
    def scaled_to(self, num_processes: int) -> "RunParts":
        """These parts for a number of processes, if the config says for what number it was written.

        Raises:
            ValueError: the config's batch can't be divided among that number.
        """

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Every key of the config and its value as JSON."""

    @abstractmethod
    def free_keys(self) -> tuple[str, ...]:
        """Patterns of the keys that a resumed run may change, see `run_identity`."""

    @abstractmethod
    def length_keys(self) -> tuple[str, ...]:
        """The keys that say how long the training is: a resumed run may change them."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Writes the config as a YAML file."""

    @abstractmethod
    def detector_settings(self) -> Any:
        """The settings that a detector's output depends on, besides weights and images, as JSON values."""

    @abstractmethod
    def class_counts(self) -> Mapping[str, tuple[str, int]]:
        """The config keys that hold the numbers of classes.

        Returns:
            "thing_classes" and, for RelDN, "predicate_classes" -> (key, its value). A detector of another
            project may have no key that this package knows; then there is no entry.
        """

    @abstractmethod
    def training_data(self) -> list[DatasetDict]:
        """The dataset dicts of the training sets, with precomputed detections if the config names them."""

    @abstractmethod
    def predicate_counts(self, training_data: list[DatasetDict] | None = None) -> PredicateCounts:
        """(C, C, P+1) counts for the semantic module, see `reldn_d2.data.predicate_counts`.

        Args:
            training_data: the result of `training_data`, so that it is not loaded twice; None: it is loaded
                if it is needed.
        """

    @abstractmethod
    def model(self) -> nn.Module:
        """The model on its device, with its initial weights."""

    @abstractmethod
    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer for the trained parameters of a model."""

    @abstractmethod
    def lr_scheduler(self, optimizer: torch.optim.Optimizer) -> Any:
        """A PyTorch scheduler of this optimizer, or a ParamScheduler of fvcore for the whole training."""

    @abstractmethod
    def train_loader(self, training_data: list[DatasetDict]) -> Any:
        """The loader of training batches."""

    @abstractmethod
    def test_mapper(self) -> RelationDatasetMapper:
        """The mapper from a dataset dict to the model's input, for evaluation and prediction."""

    @abstractmethod
    def test_loader(self, dataset_name: str) -> Any:
        """The loader of a test set, with precomputed detections if the config names them."""

    @abstractmethod
    def evaluator(self, dataset_name: str) -> DatasetEvaluator:
        """The evaluator of a test set."""

    def precise_bn(self, model: nn.Module) -> Any:
        """A hook that makes the statistics of batch normalisation exact; None if the config asks for none."""
        return None

    @abstractmethod
    def check_evaluation(self, predicate_classes: Sequence[str]) -> None:
        """Checks what the evaluator of RelDN is told, before a training and not after it.

        Args:
            predicate_classes: names of the predicates of the data sets.

        Raises:
            ValueError: a protocol is unknown, or does not fit the task, the predicates or the number of
                relationships that the model keeps.
        """

    @abstractmethod
    def verify(self, results: Mapping[str, Any]) -> None:
        """Compares results with those that the config expects, if it expects any."""

    def check_device(self) -> None:
        """Checks that this machine has the device of the config, and the device its precision.

        Raises:
            ValueError: it has no GPU or no such GPU, or PyTorch knows no such device or can't use it here; or
                the device does not have the precision.
        """
        check_device(self.device, self.keys.device, self._on_device)
        check_precision(self.device, self.precision, self.keys.precision)

    def autocast(self) -> AbstractContextManager[object]:
        """A context in which the model computes in the precision of the config."""
        return autocast(self.device, self.precision)

    def _on_device(self, device: str) -> str:
        words = " ".join(self.override(self.keys.device, device))
        return f"add {words} (or --device {device}, where it is an option)"

    def all_datasets(self) -> Sequence[str]:
        """Names of all data sets."""
        return [*self.train_datasets, *self.test_datasets, *self.statistics_datasets]
