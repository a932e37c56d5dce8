"""The trainings and evaluations of a table: settings of each run, and commands that are still missing."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from reldn_d2.data import RegisteredData
from reldn_d2.engine import RunParts, fit_to_data, kind_of_config, load_config, parts_of
from reldn_d2.engine.config_files import read_config_file
from reldn_d2.engine.places import PYTHON_PLACES, YAML_PLACES
from reldn_d2.engine.run_identity import flatten, free_patterns, matches
from reldn_d2.evaluation import PROTOCOLS
from reldn_d2.evaluation.io.results import RESULTS_FILE
from reldn_d2.model_zoo import get_config_file
from reldn_d2.renamed import present_settings
from reldn_d2.utils.io import atomic_write

from .tables import Metrics, read_metrics

# With the paper's settings this line is also a line of the modules table and of the margins table.
FULL = "losses/L0+L1+L2+L3"
WEIGHTS_FILE = "model_final.pth"
# The settings of a run with a Python config. For a YAML config, training writes them to config.yaml.
SETTINGS_FILE = "made_with.json"

_LISTED = 5
_RELDN = (sys.executable, "-m", "reldn_cli")
_HEAD = "MODEL.ROI_RELATION_HEAD"
_PAIR_CLASSIFIER = "model.relation_head.pair_classifier"


class RunFailedError(Exception):
    """A run failed or can't be started. The message says why."""


@dataclass(frozen=True)
class Run:
    """The model of a line with one seed.

    Attributes:
        seed: seed of the training.
        folder: output folder of the run.
        config: YAML or Python file.
        options: command-line overrides: those of the user, the delta and the seed.
        parts: the parts that config and options describe.
    """

    seed: int
    folder: Path
    config: Path
    options: tuple[str, ...]
    parts: RunParts = field(compare=False)

    @property
    def kind(self) -> Literal["yaml", "python"]:
        """Kind of the config."""
        return "python" if self.config.suffix == ".py" else "yaml"

    def __str__(self) -> str:
        folder = self.folder.parent
        return f"{folder.parent.name}, {folder.name}, seed {self.seed}"

    def results_folder(self, task: str) -> Path:
        """Folder where the evaluation of a task writes its numbers."""
        return self.folder / "inference" / self.parts.test_datasets[0] / task

    def results(self, task: str) -> Metrics:
        """The numbers of an evaluation of the finished model; empty if there was no evaluation."""
        folder = self.results_folder(task)
        metrics = read_metrics(folder)
        weights = self.folder / WEIGHTS_FILE
        # An evaluation of an earlier checkpoint is older than the weights.
        outdated = (
            bool(metrics)
            and weights.is_file()
            and (folder / RESULTS_FILE).stat().st_mtime < weights.stat().st_mtime
        )
        return {} if outdated else metrics


def read_delta(name: str) -> dict[str, Any]:
    """The settings in a file of configs/ablations, by YAML key, without `_BASE_` and OUTPUT_DIR.

    Args:
        name: file name without suffix, such as "losses/L0".

    Raises:
        FileNotFoundError: there is no such file.
    """
    content = yaml.safe_load(Path(get_config_file(f"ablations/{name}.yaml")).read_text())
    return _flat({key: value for key, value in content.items() if key not in ("_BASE_", "OUTPUT_DIR")})


def delta_options(delta: Mapping[str, Any], kind: Literal["yaml", "python"]) -> list[str]:
    """The command-line overrides that set a delta.

    Args:
        delta: result of `read_delta`.
        kind: kind of the config.

    Raises:
        ValueError: Python configs have no key for one of the settings.
    """
    if kind == "yaml":
        return [text for key, value in delta.items() for text in (key, str(value))]
    words: list[str] = []
    for key, value in delta.items():
        block, _, name = key.removeprefix(f"{_HEAD}.").rpartition(".")
        if block.startswith("LOSS."):
            term = block.removeprefix("LOSS.").lower()
            words.append(f"model.relation_head.contrastive_losses.terms.{term}.{name.lower()}={value}")
        elif (block, name) == ("SEMANTIC", "LEARNABLE"):
            words.append(f"{_PAIR_CLASSIFIER}.semantic.learnable={value}")
        elif block in ("SEMANTIC", "SPATIAL") and name == "ENABLED":
            words += [] if value else [f"{_PAIR_CLASSIFIER}.{block.lower()}=null"]
        elif block != "VISUAL":
            raise ValueError(f"Python configs have no key for {key}: use a YAML config for this table")
    switches = [delta.get(f"{_HEAD}.VISUAL.{name}") for name in ("FUSED", "SUBJECT_SKIP", "OBJECT_SKIP")]
    return words if None in switches else words + _visual_options(*map(bool, switches))


def _visual_options(fused: bool, subject_skip: bool, object_skip: bool) -> list[str]:
    """The YAML switches of the visual module as overrides of a Python config, which names each part."""
    if not (fused or subject_skip or object_skip):
        parts = ["visual", "pooler", "subject_head", "object_head", "predicate_head"]
        return [f"{_PAIR_CLASSIFIER}.{part}=null" for part in parts] + ["model.relation_backbone=null"]
    switches = {"fused": fused, "subject_skip": subject_skip, "object_skip": object_skip}
    words = [f"{_PAIR_CLASSIFIER}.visual.{name}={value}" for name, value in switches.items()]
    words += [] if fused else [f"{_PAIR_CLASSIFIER}.predicate_head=null", "model.relation_backbone=null"]
    words += [] if fused or subject_skip else [f"{_PAIR_CLASSIFIER}.subject_head=null"]
    return words + ([] if fused or object_skip else [f"{_PAIR_CLASSIFIER}.object_head=null"])


def make_run(
    config: Path,
    delta: str,
    seed: int,
    options: Sequence[str],
    output: Path,
    data: RegisteredData | None = None,
    unsafe_yaml: Sequence[str] = (),
) -> Run:
    """The run of a line: a delta on top of a config and overrides.

    Its folder is OUTPUT/CONFIG/LINE/seedN, which all tables share. CONFIG is the folder of the config file,
    followed by the name of the file unless that is "reldn". The full model has the same folder in
    all tables.

    Args:
        config: YAML or Python file of RelDN.
        delta: file of configs/ablations without its suffix, such as "losses/L0".
        seed: seed of the training.
        options: overrides of the user.
        output: OUTPUT above.
        data: the user's own data, instead of the data sets of the config.
        unsafe_yaml: see `load_config`.

    Raises:
        FileNotFoundError: the config or the delta is missing.
        ValueError: the config is not of RelDN, has an unknown key, or has not exactly one test set.
    """
    if not config.is_file():
        raise FileNotFoundError(f"{config} is missing: correct --config-file")

    kind: Literal["yaml", "python"] = "python" if config.suffix == ".py" else "yaml"

    parts = kind_of_config(config)

    def made(name: str) -> Run:
        folder = output / config_name(config) / name.split("/")[-1] / f"seed{seed}"
        chosen = (*options, *delta_options(read_delta(name), kind), *parts.override(parts.keys.seed, seed))
        cfg = load_config(str(config), [*chosen], unsafe_yaml=unsafe_yaml)
        if data is not None:
            fit_to_data(cfg, [*chosen], data)
        return Run(seed, folder, config, chosen, parts_of(cfg))

    run, full = made(delta), made(FULL)
    if not run.parts.is_relation_model:
        raise ValueError(f"{config} is a config of a detector: give a config of RelDN as --config-file")
    data_sets = run.parts.test_datasets
    if len(data_sets) != 1:
        raise ValueError(
            f"{config} tests on {len(data_sets)} data sets: set DATASETS.TEST to the data set of the table"
        )
    return full if run.parts.settings() == full.parts.settings() else run


def config_name(config: Path) -> str:
    """Name of the folder that holds the runs of a config."""
    folder = config.resolve().parent.name
    return folder if config.stem == "reldn" else f"{folder}_{config.stem}"


def check_made_with(run: Run) -> None:
    """Compare the config of the results in a run's folder with the config of the run.

    Keys that only one config has are not compared, so that a release with a new key can still use old runs.

    Raises:
        ValueError: the configs differ, or there are weights without a config.
    """
    if not any((run.folder / name).exists() for name in ("last_checkpoint", WEIGHTS_FILE, "inference")):
        return  # empty, or a run that failed before its first checkpoint
    remedy = "delete the folder, or choose another --output"
    file = run.folder / ("config.yaml" if run.kind == "yaml" else SETTINGS_FILE)
    if not file.is_file():
        raise ValueError(
            f"{run.folder} has results but no {file.name} that says how they were made: {remedy}"
        )
    # A JSON file is also one in YAML.
    saved: dict[str, Any] = read_config_file(str(file), beside_weights=[str(file)])
    wanted = run.parts.settings()
    saved = present_settings(dict(flatten(saved)) if run.kind == "yaml" else saved, wanted)
    free = free_patterns(run.kind, ("nothing",))
    differing = [
        f"{key} was {saved[key]}, now {value}"
        for key, value in wanted.items()
        if key in saved and not matches(key, free) and _comparable(key, saved[key]) != _comparable(key, value)
    ]
    if differing:
        more = f"; and {len(differing) - _LISTED} more" if len(differing) > _LISTED else ""
        raise ValueError(
            f"{run.folder} was made with another config: {'; '.join(differing[:_LISTED])}{more}. "
            f"Change the config back, {remedy}"
        )


def write_settings(run: Run) -> None:
    """Save the settings of a run with a Python config, for `check_made_with`."""
    if run.kind == "python":
        with atomic_write(run.folder / SETTINGS_FILE) as file:
            file.write(json.dumps(run.parts.settings(), indent=1).encode())


def missing_steps(run: Run, needs: Mapping[str, set[str]], flags: Sequence[str]) -> Iterator[list[str]]:
    """The missing commands of a run, in order. Before each command the folder of the run is read again.

    Args:
        run: a run that has passed `check_made_with`.
        needs: task -> protocols that must be reported.
        flags: options of `reldn train` and `reldn evaluate`, such as --num-gpus.

    Raises:
        RunFailedError: numbers are still missing after the last command.
    """
    weights = run.folder / WEIGHTS_FILE
    shared = ["--config-file", str(run.config), *flags]
    keys, override, trains = run.parts.keys, run.parts.override, run.parts.has_training
    # One evaluation serves all tables: every protocol of the task, on all images and on the confusion subset.
    everything = [*override(keys.protocols, tuple(PROTOCOLS)), *override(keys.confusion_subset, True)]

    def command(words: Sequence[str], task: str, *more: str) -> list[str]:
        own = [*override(keys.output_dir, run.folder), *override(keys.task, task)]
        return [*_RELDN, *words, *shared, *run.options, *everything, *own, *more]

    def lacking(task: str) -> set[str]:
        return needs[task] - run.results(task).keys()

    if trains and not weights.is_file():
        yield command(["train", "--resume"], next(iter(needs)))
    for task in needs:
        if lacking(task):
            yield command(["evaluate"], task, *(override(keys.weights, weights) if trains else ()))
    for task in needs:
        if lacking(task):
            raise RunFailedError(f"no numbers of {', '.join(sorted(lacking(task)))} for {task} were written")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as "A.B.C" -> value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _comparable(key: str, value: str) -> Any:
    """The value as it is; for a key whose value is files, their real paths: a file can have several names."""
    if not matches(key, (*YAML_PLACES, *PYTHON_PLACES)):
        return value
    names = json.loads(value)
    return [os.path.realpath(name) for name in (names if isinstance(names, list) else [names])]
