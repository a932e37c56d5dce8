"""The trainings and evaluations behind a table: what each is made of, and what of it is there."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from ablation_tables import ROOT, Metrics, read_metrics
from detectron2.config import CfgNode

from reldn_d2.engine import load_config
from reldn_d2.engine.setup import is_relation_model
from reldn_d2.evaluation import PROTOCOLS
from reldn_d2.evaluation.io.results import RESULTS_FILE

TRAIN_NET = ROOT / "train_net.py"
DELTAS = ROOT / "configs" / "ablations"
# With the paper's settings this line is also one of the modules and one of the margins.
FULL = "losses/L0+L1+L2+L3"
WEIGHTS_FILE = "model_final.pth"

# One evaluation serves all tables: whatever is defined for the task, and on the confusion subset as well.
_EVERYTHING = (
    *("MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS", repr(tuple(PROTOCOLS))),
    *("MODEL.ROI_RELATION_HEAD.TEST.CONFUSION_SUBSET", "True"),
)
# Keys that may differ, as shell patterns: they change no number of a table, or only which numbers there are.
_FREE = (
    "VERSION",
    "OUTPUT_DIR",
    "VIS_PERIOD",
    "CUDNN_BENCHMARK",
    "MODEL.DEVICE",
    "MODEL.ROI_RELATION_HEAD.TEST.TASK",
    "MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS",
    "MODEL.ROI_RELATION_HEAD.TEST.CONFUSION_SUBSET",
    "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_PERIOD",
    "TEST.EXPECTED_RESULTS",
)
# Keys that name files: the same file has several names.
_FILES = ("MODEL.WEIGHTS", "MODEL.ROI_RELATION_HEAD.WEIGHTS", "DATASETS.DETECTION_FILES_*")
_LISTED = 5


class RunFailedError(Exception):
    """A run can't be made; the message says why."""


@dataclass(frozen=True)
class Run:
    """A line's model with one seed.

    Attributes:
        seed: of the training.
        folder: OUTPUT_DIR.
        config: YAML file.
        options: KEY VALUE pairs on top, flat: those of the command line, the delta and the seed.
        cfg: what both make.
    """

    seed: int
    folder: Path
    config: Path
    options: tuple[str, ...]
    cfg: CfgNode = field(compare=False)

    def __str__(self) -> str:
        folder = self.folder.parent
        return f"{folder.parent.name}, {folder.name}, seed {self.seed}"

    def results_folder(self, task: str) -> Path:
        """Where evaluation writes the numbers of a task."""
        data_set: str = self.cfg.DATASETS.TEST[0]
        return self.folder / "inference" / data_set / task

    def results(self, task: str) -> Metrics:
        """What an evaluation of the finished model reported; empty if there was none."""
        folder = self.results_folder(task)
        metrics = read_metrics(folder)
        weights = self.folder / WEIGHTS_FILE
        # One of an earlier checkpoint is older than the weights.
        outdated = (
            bool(metrics)
            and weights.is_file()
            and (folder / RESULTS_FILE).stat().st_mtime < weights.stat().st_mtime
        )
        return {} if outdated else metrics


def read_delta(name: str) -> list[str]:
    """A file of configs/ablations as KEY VALUE pairs: what it says beside `_BASE_` and OUTPUT_DIR.

    Raises:
        FileNotFoundError: no such file.
    """
    path = DELTAS / f"{name}.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: it holds what makes this line of the table")
    content = yaml.safe_load(path.read_text())
    own = {key: value for key, value in content.items() if key not in ("_BASE_", "OUTPUT_DIR")}
    return [text for key, value in _flatten(own) for text in (key, str(value))]


def make_run(config: Path, delta: str, seed: int, options: Sequence[str], output: Path) -> Run:
    """The run of a line: a delta on top of a config and KEY VALUE options.

    It lies in OUTPUT/CONFIG/LINE/seedN, where runs of other tables are found again. CONFIG is the folder of the
    config file, and its name unless that is reldn.yaml. The full model has one folder under all its names.

    Raises:
        FileNotFoundError: no such config or delta.
        ValueError: it is no YAML config of RelDN, has an unknown key, or tests on no or several data sets.
    """
    if not config.is_file():
        raise FileNotFoundError(f"{config} is missing: correct --config")
    if config.suffix == ".py":
        raise ValueError(f"{config} is a config in Python: --config takes a YAML file")

    def made(name: str) -> Run:
        folder = output / config_name(config) / name.split("/")[-1] / f"seed{seed}"
        chosen = (*options, *read_delta(name), "SEED", str(seed))
        try:
            cfg = load_config(str(config), [*chosen])
        except AssertionError as error:  # of yacs
            raise ValueError(f"{config} or an override: {error}") from error
        return Run(seed, folder, config, chosen, cfg)

    run, full = made(delta), made(FULL)
    if not is_relation_model(run.cfg):
        raise ValueError(
            f"MODEL.META_ARCHITECTURE of {config} is {run.cfg.MODEL.META_ARCHITECTURE}: --config takes a config of RelDN"
        )
    data_sets = run.cfg.DATASETS.TEST
    if len(data_sets) != 1:
        raise ValueError(
            f"{config} tests on {len(data_sets)} data sets: set DATASETS.TEST to the one of the table"
        )
    return full if run.cfg == full.cfg else run


def config_name(config: Path) -> str:
    """Folder of a config's runs."""
    folder = config.resolve().parent.name
    return folder if config.stem == "reldn" else f"{folder}_{config.stem}"


def has_training(cfg: CfgNode) -> bool:
    """Whether a config has anything to train: more than a frozen semantic table."""
    head = cfg.MODEL.ROI_RELATION_HEAD
    visual = head.VISUAL.FUSED or head.VISUAL.SUBJECT_SKIP or head.VISUAL.OBJECT_SKIP
    return bool(visual or head.SPATIAL.ENABLED or (head.SEMANTIC.ENABLED and head.SEMANTIC.LEARNABLE))


def check_made_with(run: Run) -> None:
    """Compare the config of what is in a run's folder with that of the run.

    Keys that only one of them has are not compared, so that a release with a new key finds old runs.

    Raises:
        ValueError: they differ, or weights are there without a config.
    """
    file = run.folder / "config.yaml"
    if not any((run.folder / name).exists() for name in ("last_checkpoint", WEIGHTS_FILE, "inference")):
        return  # at most the start of a run that failed
    remedy = "delete the folder, or choose another --output"
    if not file.is_file():
        raise ValueError(f"{run.folder} has a model but no config.yaml that says how it was made: {remedy}")
    saved = dict(_flatten(yaml.safe_load(file.read_text())))
    wanted = dict(_flatten(yaml.safe_load(run.cfg.dump())))
    differing = [
        f"{key} was {saved[key]}, now {value}"
        for key, value in wanted.items()
        if key in saved
        and not _matches(key, _FREE)
        and _comparable(key, saved[key]) != _comparable(key, value)
    ]
    if differing:
        more = f"; and {len(differing) - _LISTED} more" if len(differing) > _LISTED else ""
        raise ValueError(
            f"{run.folder} was made with another config: {'; '.join(differing[:_LISTED])}{more}. Set it back, {remedy}"
        )


def missing_steps(run: Run, needs: Mapping[str, set[str]], num_gpus: int) -> Iterator[list[str]]:
    """Commands that a run lacks, in order. What is there is looked at when the next one is asked for.

    Args:
        run: whose folder has passed `check_made_with`.
        needs: task -> protocols that must be reported.
        num_gpus: for train_net.py.

    Raises:
        RunFailedError: after the last command something is still missing.
    """
    weights = run.folder / WEIGHTS_FILE
    start = [sys.executable, str(TRAIN_NET), "--config-file", str(run.config)]
    start += ["--num-gpus", str(num_gpus), "--dist-url", "auto"]
    trains = has_training(run.cfg)

    def command(flag: str, task: str, *more: str) -> list[str]:
        own = ("OUTPUT_DIR", str(run.folder), "MODEL.ROI_RELATION_HEAD.TEST.TASK", task)
        return [*start, flag, *run.options, *_EVERYTHING, *own, *more]

    def lacking(task: str) -> set[str]:
        return needs[task] - run.results(task).keys()

    if trains and not weights.is_file():
        yield command("--resume", next(iter(needs)))
    for task in needs:
        if lacking(task):
            yield command("--eval-only", task, *(("MODEL.WEIGHTS", str(weights)) if trains else ()))
    for task in needs:
        if lacking(task):
            raise RunFailedError(f"no numbers of {', '.join(sorted(lacking(task)))} for {task} were written")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _comparable(key: str, value: Any) -> Any:
    if not _matches(key, _FILES):
        return value
    names = value if isinstance(value, list) else [value]
    return [os.path.realpath(name) for name in names]
