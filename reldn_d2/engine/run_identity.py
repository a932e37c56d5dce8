"""The identity of a training run: the settings and data that must stay the same when it is resumed.

`FREE_KEYS` is the only list of keys that may change. Resuming a run and finding the finished runs of a table
both use it.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath
from pydoc import locate
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from torch import nn

from reldn_d2.checkpoint.content_digest import content_digest
from reldn_d2.data import detector_weights_of
from reldn_d2.renamed import present_settings
from reldn_d2.structures.dataset_dicts import DatasetDict, relation_rows, written_annotations

logger = logging.getLogger(__name__)

Effect = Literal["nothing", "start", "draws", "evaluation"]


@dataclass(frozen=True)
class FreeKeys:
    """Keys that do not change what is trained after the start.

    Attributes:
        effect: what the keys change. "nothing": no training and no number depends on them; "start": the
            weights or files that a run starts from; "draws": the random numbers, which a resumed run draws
            anew in any case; "evaluation": how a model is evaluated.
        yaml: shell patterns of keys in YAML configs.
        python: shell patterns of keys in Python configs.
    """

    effect: Effect
    yaml: tuple[str, ...]
    python: tuple[str, ...]


_HEAD = "MODEL.ROI_RELATION_HEAD"
FREE_KEYS = (
    FreeKeys("nothing", ("VERSION", "VIS_PERIOD"), ("train.log_period",)),
    FreeKeys("nothing", ("OUTPUT_DIR",), ("train.output_dir",)),
    FreeKeys("nothing", ("CUDNN_BENCHMARK",), ("train.cudnn_benchmark",)),
    FreeKeys("nothing", ("MODEL.DEVICE",), ("train.device",)),
    FreeKeys("nothing", ("DATALOADER.NUM_WORKERS",), ("dataloader.*.num_workers",)),
    FreeKeys("nothing", ("SOLVER.CHECKPOINT_PERIOD",), ("train.checkpointer.*",)),
    FreeKeys("nothing", ("TEST.EVAL_PERIOD", "TEST.EXPECTED_RESULTS"), ("train.eval_period",)),
    FreeKeys("nothing", ("DATASETS.CHECK",), ("datasets.check", "dataloader.*.check")),
    FreeKeys("nothing", ("TEST.BEST_CHECKPOINT",), ("train.best_checkpoint",)),
    FreeKeys("nothing", ("TEST.SKIP_UNREADABLE",), ("train.skip_unreadable",)),
    FreeKeys("nothing", (f"{_HEAD}.TEST.TASK",), ("model.task",)),
    FreeKeys("nothing", (f"{_HEAD}.TEST.PROTOCOLS",), ("dataloader.evaluator.protocols.names",)),
    FreeKeys("nothing", (f"{_HEAD}.TEST.CONFUSION_SUBSET",), ("dataloader.evaluator.confusion_subset",)),
    FreeKeys("start", ("MODEL.WEIGHTS",), ("train.init_checkpoint",)),
    FreeKeys("start", (f"{_HEAD}.WEIGHTS",), ("train.relation_checkpoint",)),
    # Only the paths: the content of these files counts as training data.
    FreeKeys(
        "start",
        ("DATASETS.DETECTION_FILES_TRAIN",),
        ("datasets.train_detections", "dataloader.train.dataset.dataset_dicts.detection_files"),
    ),
    FreeKeys("draws", ("SEED",), ("train.seed",)),
    FreeKeys("evaluation", ("INPUT.*_TEST",), ("dataloader.test.*",)),
    FreeKeys(
        "evaluation", ("DATASETS.TEST", "DATASETS.*_TEST"), ("datasets.test", "datasets.test_detections")
    ),
    FreeKeys("evaluation", ("TEST.*",), ("dataloader.evaluator.*",)),
    FreeKeys(
        "evaluation", (f"{_HEAD}.TEST.*",), ("model.relation_head.top_k", "model.relation_head.chunk_size")
    ),
)
# These match patterns above, but must not change: stage 2 trains on the detections, and precise batch
# normalisation changes the model at every evaluation.
BOUND_YAML_KEYS = ("TEST.DETECTIONS_PER_IMAGE", "TEST.PRECISE_BN.*")

# More keys that change no output of a given model for given dataset dicts.
_NOT_IN_OUTPUTS = {
    "yaml": ("SOLVER.*", "DATASETS.*"),
    "python": (
        *("optimizer.*", "lr_multiplier.*", "train.*", "datasets.*"),
        *(
            "dataloader.train.*",
            "dataloader.statistics.*",
            "dataloader.evaluator.*",
            "dataloader.test.dataset.*",
        ),
    ),
}

# Keys that may differ between the machines of a run: where it writes there, and how many of its processors
# load images. The weights that it starts from may lie elsewhere, too; their content is compared.
_OF_A_MACHINE = {
    "yaml": ("OUTPUT_DIR", "DATALOADER.NUM_WORKERS"),
    "python": ("train.output_dir", "dataloader.evaluator.output_dir", "dataloader.*.num_workers"),
}
#: What makes processes with different settings or data agree.
SAME_CONFIG = "Give every machine the same command, config, data and packages"

_LISTED = 10
#: Name of the number of training images in an identity.
IMAGES = "number of training images"


def free_patterns(
    kind: Literal["yaml", "python"], effects: Iterable[Effect] = ("nothing", "start", "draws", "evaluation")
) -> tuple[str, ...]:
    """Patterns of the keys that have one of these effects, in one kind of config."""
    return tuple(pattern for keys in FREE_KEYS if keys.effect in effects for pattern in getattr(keys, kind))


def matches(key: str, patterns: Iterable[str]) -> bool:
    """Whether a key matches one of the shell patterns."""
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def flatten(cfg: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Full names of all keys, and their values as JSON."""
    for key, value in cfg.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            # JSON writes a tuple as a list, as YAML files do. yaml.dump writes the functions and classes of
            # Python configs by name; their repr may contain an address.
            yield f"{prefix}{key}", json.dumps(value, default=yaml.dump)


def output_settings(settings: Mapping[str, str], *, python: bool) -> dict[str, str]:
    """The settings that the outputs of a model depend on, besides its weights, its task and the images.

    Args:
        settings: every key of the config and its value (`RunParts.settings`).
        python: whether the config is in Python.
    """
    kind: Literal["yaml", "python"] = "python" if python else "yaml"
    without = (*free_patterns(kind, ("nothing", "start", "draws")), *_NOT_IN_OUTPUTS[kind])
    return {key: value for key, value in settings.items() if not matches(key, without)}


def shared_settings(settings: Mapping[str, str], *, python: bool) -> dict[str, str]:
    """The settings that all processes of a run must share.

    Args:
        settings: every key of the config and its value (`RunParts.settings`).
        python: whether the config is in Python.
    """
    kind: Literal["yaml", "python"] = "python" if python else "yaml"
    without = (*free_patterns(kind, ("start",)), *_OF_A_MACHINE[kind])
    return {key: value for key, value in settings.items() if not matches(key, without)}


def run_identity(
    settings: Mapping[str, str], free: Sequence[str], training_data: Sequence[DatasetDict]
) -> dict[str, str]:
    """The settings and data that a resumed run must share with the run that wrote its checkpoint.

    Args:
        settings: every key of the config and its value (`RunParts.settings`), as training uses them.
        free: patterns of the keys that may differ (`RunParts.free_keys`).
        training_data: dataset dicts of the training images, with precomputed detections if there are any.

    Returns:
        As plain text: the settings that may not differ, the number of training images, and a digest of their
        dataset dicts. Image folders and pixels do not count, so the data may be moved.
    """
    return {
        IMAGES: str(len(training_data)),
        "training data (sha256 of annotations and precomputed detections)": fingerprint(training_data),
        **{key: value for key, value in settings.items() if not matches(key, free)},
    }


def check_resumed(saved: Mapping[str, str] | None, current: Mapping[str, str], source: str) -> None:
    """Compares a run with the run of the checkpoint that it resumes from.

    A key that only one of them has is not compared, so that a release with a new key can go on with old
    checkpoints. Python configs name the classes and functions of their parts: a saved name of this package
    that does not exist any more is not compared either. Keys and names of earlier releases are converted.

    Args:
        saved: `run_identity` of the run that wrote the checkpoint; None (earlier releases did not save it)
            gives a warning.
        current: `run_identity` of this run.
        source: file of the checkpoint, for the message.

    Raises:
        ValueError: a setting or the training data differ.
    """
    if saved is None:
        logger.warning(
            "%s is of an earlier release and does not say what it was trained with: config and training data "
            "are not compared with those of this run.",
            source,
        )
        return
    saved = present_settings(saved, current)
    differing = [
        f"{key} was {saved[key]}, now {value}"
        for key, value in current.items()
        if saved.get(key, value) != value and not _is_gone(saved[key])
    ]
    if differing:
        more = f"; and {len(differing) - _LISTED} more" if len(differing) > _LISTED else ""
        raise ValueError(
            f"{source} is of another run: {'; '.join(differing[:_LISTED])}{more}. To resume, set "
            f"{'it' if len(differing) == 1 else 'them'} back to the old value; for a new run, choose "
            "another OUTPUT_DIR"
        )


def _is_gone(value: str) -> bool:
    """Whether a setting names something of this package that does not exist any more."""
    return value.startswith('"reldn_d2.') and locate(json.loads(value)) is None


def detector_digest(model: nn.Module) -> str:
    """Digest of the weights of a detector, or of the detector in a RelDN: equal if all their numbers are."""
    weights = {name: x for name, x in model.state_dict().items() if not name.startswith("relation_")}
    return content_digest(dict(sorted(weights.items())))


def name_other_detectors(files: Sequence[str], model: nn.Module, weights: str) -> None:
    """Says which files of detections were made with other weights than those of the detector in RelDN.

    Files of `reldn cache-detections` say what weights made them. Boxes of another detector are what such
    files are for, so this is no error.

    Args:
        files: files of precomputed detections that were read.
        model: RelDN.
        weights: where its weights come from, for the message.
    """
    made_by = {file: detector_weights_of(file) for file in files}
    own = detector_digest(model) if any(made_by.values()) else ""
    for file, found in made_by.items():
        if found and found != own:
            logger.warning(
                "%s was made by another detector than the one in %s: the boxes of sgdet are of the file, and "
                "RelDN's features are of its own detector",
                file, weights or "the model",
            )  # fmt: skip


def fingerprint(dataset_dicts: Iterable[DatasetDict]) -> str:
    """Digest of dataset dicts with their annotations and detections, without folders and pixels."""
    digest = hashlib.sha256()
    for image in dataset_dicts:
        annotations = written_annotations(image) if "annotations" in image else np.zeros(0)
        arrays: list[NDArray[Any]] = [annotations if len(annotations) else np.zeros(0)]
        if "relations" in image:
            arrays.append(relation_rows(image))
        if "detections" in image:
            found = image["detections"]
            arrays += [np.asarray(found[key], dtype=np.float64) for key in ("boxes", "scores", "classes")]
        # The shapes make the boundaries between arrays part of the digest.
        name = PurePath(image["file_name"]).name
        known = (image.get("image_id"), name, image.get("height"), image.get("width"))
        digest.update("\n".join(map(str, (*known, *(a.shape for a in arrays)))).encode())
        for array in arrays:
            digest.update(array.tobytes())
    return digest.hexdigest()
