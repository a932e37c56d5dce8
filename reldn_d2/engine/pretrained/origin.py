"""What is known of a model from the run that made it: its checkpoint, and the files beside it."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from reldn_d2.checkpoint.safe_files import read_torch
from reldn_d2.checkpoint.safetensors_files import SUFFIX as SAFETENSORS

from ..parts import CONFIG_FILE, RunParts
from ..resumable_evaluation import VERSION, evaluation_identity
from ..run_identity import IMAGES
from ..seed import saved_seed
from ..summary import EVALUATION_FILE, INFERENCE, SUMMARY_DATA_FILE
from .info import EvaluationInfo, InfoReader, ModelInfo, TrainingInfo

# What an evaluation depends on, and what does not change its numbers.
_SAME_NUMBERS = ("task", "device", VERSION)


def info_of_run(parts: RunParts, model: nn.Module) -> ModelInfo:
    """What is known of a model from the checkpoint that its config names, and from the run's folder.

    Args:
        parts: parts of the config, with weights.
        model: the model with these weights. Only numbers of exactly these weights, with the settings of this
            config, are taken.

    Returns:
        Training and evaluations; what is not known is absent.
    """
    file = Path(parts.weights.partition("?")[0])
    if not file.is_file():  # a URL
        return ModelInfo()
    identity = evaluation_identity(parts, model)
    folder = file.parent
    return ModelInfo(
        training=_training(file, parts, identity), evaluations=(*_evaluations(folder, identity),)
    )


def _training(file: Path, parts: RunParts, identity: Mapping[str, str]) -> TrainingInfo | None:
    if file.suffix in (SAFETENSORS, ".pkl", ".pyth"):
        return None
    saved = read_torch(file, mmap=zipfile.is_zipfile(file))
    run = saved.get("run") if isinstance(saved, Mapping) else None
    if not isinstance(run, Mapping):
        return None
    iteration, summary = saved.get("iteration"), _read_json(file.parent / SUMMARY_DATA_FILE)
    ended_here = _gives_the_same(summary, identity)
    return TrainingInfo(
        package_version=str(summary["identity"].get(VERSION)) if ended_here else None,
        iterations=iteration + 1 if type(iteration) is int else None,
        data_sets=_names(run.get(parts.keys.train_datasets)),
        images=int(run[IMAGES]) if str(run.get(IMAGES)).isdecimal() else None,
        seed=saved_seed(file.parent / CONFIG_FILE, parts.keys.seed),
    )


def _names(saved: Any) -> tuple[str, ...]:
    """The names in a setting of a run, which is JSON."""
    try:
        names = json.loads(saved)
    except (TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _evaluations(folder: Path, identity: Mapping[str, str]) -> Iterator[EvaluationInfo]:
    for file in sorted(folder.glob(f"{INFERENCE}/*/*/{EVALUATION_FILE}")):
        saved = _read_json(file)
        if not _gives_the_same(saved, identity):
            continue
        read = InfoReader(str(file))
        for group, metrics in read.mapping(saved.get("results"), "results").items():
            task, _, protocol = group.rpartition("/")
            numbers = read.mapping(metrics, group)
            found = {
                "data_set": saved.get("data_set"),
                "task": task,
                "protocol": protocol,
                # Those of single predicates would be most of the file. Undefined ones are NaN.
                "metrics": {key: x for key, x in numbers.items() if "/" not in key and x == x},
                "notes": saved.get("notes", []),
            }
            yield read.evaluation(found)


def _gives_the_same(saved: Mapping[str, Any], identity: Mapping[str, str]) -> bool:
    """Whether saved numbers are of the same weights and settings."""
    other = saved.get("identity")
    return isinstance(other, Mapping) and _what_changes_numbers(other) == _what_changes_numbers(identity)


def _what_changes_numbers(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key not in _SAME_NUMBERS}


def weights_and_settings(parts: RunParts, model: nn.Module) -> dict[str, Any]:
    """What a model's numbers depend on: two that are equal give the same numbers.

    Args:
        parts: parts of the config.
        model: the model.
    """
    return _what_changes_numbers(evaluation_identity(parts, model))


def _read_json(file: Path) -> dict[str, Any]:
    """The content of a file that a run has written; empty if it is missing or is not a JSON object."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
