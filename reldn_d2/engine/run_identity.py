"""How a training run begins or goes on, and what has to stay the same from its start to its end."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any

import numpy as np
import yaml
from detectron2.config import CfgNode
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.modeling import RelDN
from reldn_d2.structures.dataset_dicts import DatasetDict, relation_rows

logger = logging.getLogger(__name__)

# Keys that may differ, as shell patterns: none of them changes what is trained.
_FREE = (
    "VERSION",
    "OUTPUT_DIR",
    "VIS_PERIOD",
    "CUDNN_BENCHMARK",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",  # the start; the checkpoint is past it
    "MODEL.ROI_RELATION_HEAD.WEIGHTS",
    "MODEL.ROI_RELATION_HEAD.TEST.*",
    "INPUT.*_TEST",
    "DATASETS.TEST",
    "DATASETS.*_TEST",
    "DATASETS.DETECTION_FILES_TRAIN",  # paths; their content counts as training data
    "DATALOADER.NUM_WORKERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.*",
)
# But for these: stage 2 trains on the detections, and precise BN changes the model whenever it is evaluated.
_BOUND = ("TEST.DETECTIONS_PER_IMAGE", "TEST.PRECISE_BN.*")

# The same for configs in Python. Their schedule is relative to train.max_iter, so that may not grow.
_LAZY_FREE = (
    *("train.output_dir", "train.init_checkpoint", "train.relation_checkpoint", "train.device"),
    *("train.checkpointer.*", "train.eval_period", "train.log_period", "train.cudnn_benchmark"),
    *("datasets.test", "dataloader.test.*", "dataloader.evaluator.*", "dataloader.*.num_workers"),
    *("datasets.*_detections", "dataloader.train.dataset.dataset_dicts.detection_files"),
    *("model.task", "model.relation_head.top_k", "model.relation_head.chunk_size"),
    "model.relation_head.exhaustive",
)

_LISTED = 10


def run_identity(cfg: CfgNode, dataset_dicts: Sequence[DatasetDict]) -> dict[str, str]:
    """What a resumed run must share with the run that wrote its checkpoint, as plain text.

    Args:
        cfg: as training uses it. If Detectron2 scales it to the number of processes, then after that: iterations
            count something else on another number of them.
        dataset_dicts: of the whole of DATASETS.TRAIN, with precomputed detections if these are trained on.

    Returns:
        Config keys and their values, the number of training images, and a fingerprint of what is known about
        them. Image folders do not count, so that data can be moved, nor do pixels.
    """
    solver = cfg.SOLVER
    # Under this schedule an iteration's learning rate does not depend on how many follow: a run may be made longer.
    may_grow = (
        solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR"
        and not solver.RESCALE_INTERVAL
        and solver.MAX_ITER >= solver.WARMUP_ITERS  # Detectron2 cuts a longer warm-up short
    )
    free = (*_FREE, "SOLVER.MAX_ITER") if may_grow else _FREE
    bound = (*_BOUND, "TEST.EVAL_PERIOD") if cfg.TEST.PRECISE_BN.ENABLED else _BOUND
    return {
        **_data_identity(dataset_dicts),
        **{key: value for key, value in _flatten(cfg) if _matches(key, bound) or not _matches(key, free)},
    }


def lazy_run_identity(cfg: DictConfig, dataset_dicts: Sequence[DatasetDict]) -> dict[str, str]:
    """`run_identity` of a config in Python.

    Args:
        cfg: as it is before anything of it is instantiated.
        dataset_dicts: what is trained on.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return {
        **_data_identity(dataset_dicts),
        **{key: value for key, value in _flatten(settings) if not _matches(key, _LAZY_FREE)},
    }


def resume_or_start(
    checkpointer: RelationCheckpointer,
    run: Mapping[str, str],
    *,
    resume: bool,
    weights: str,
    relation_weights: str,
    key: str,
) -> bool:
    """Loads what a training run begins with.

    Args:
        checkpointer: of the run.
        run: its `run_identity`.
        resume: go on from the last checkpoint in the run's folder, if there is one.
        weights: what a new run starts from.
        relation_weights: a RelDN checkpoint whose relation part a new run of RelDN takes; empty: none.
        key: of `weights` in the config, for messages.

    Returns:
        Whether the run goes on from a checkpoint of its own.

    Raises:
        ValueError: RelDN would start from a detector that nobody trained, or the checkpoint to resume from was trained
            with another config or other data.
    """
    resumed = resume and checkpointer.has_checkpoint()
    is_relation_model = isinstance(checkpointer.model, RelDN)
    if resumed:
        # Before anything is loaded: weights and optimizer that do not fit would say less about why.
        check_resumed(checkpointer.saved_run(), run, checkpointer.get_checkpoint_file())
    elif is_relation_model and not weights:
        raise ValueError(f"RelDN trains on top of a frozen detector: give its checkpoint as {key}")
    checkpointer.resume_or_load(weights, resume=resume)
    if relation_weights and is_relation_model and not resumed:
        checkpointer.load_relation_part(relation_weights)
    return resumed


def check_resumed(saved: Mapping[str, str] | None, current: Mapping[str, str], source: str) -> None:
    """Compares a run with that of the checkpoint it resumes from.

    What only one of them has is not compared: a release that brings a new key can go on with old checkpoints.

    Args:
        saved: `run_identity` of the run that wrote the checkpoint; None, from before it was saved, is logged.
        current: `run_identity` of this run.
        source: the checkpoint's file, for the message.

    Raises:
        ValueError: they differ.
    """
    if saved is None:
        logger.warning(
            "%s is of an earlier release and does not say what it was trained with: config and training data are not "
            "compared with those of this run.",
            source,
        )
        return
    differing = [
        f"{key} was {saved[key]}, now {value}"
        for key, value in current.items()
        if saved.get(key, value) != value
    ]
    if differing:
        more = f"; and {len(differing) - _LISTED} more" if len(differing) > _LISTED else ""
        raise ValueError(
            f"{source} is of another run: {'; '.join(differing[:_LISTED])}{more}. To resume, set "
            f"{'it' if len(differing) == 1 else 'them'} back as the run had it; for a new run, choose another OUTPUT_DIR"
        )


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _flatten(cfg: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in cfg.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            # As JSON, in which a tuple is the list that it becomes in a YAML file. Functions and classes, in configs in
            # Python, by name: what they print as may hold an address.
            yield f"{prefix}{key}", json.dumps(value, default=yaml.dump)


def _data_identity(dataset_dicts: Sequence[DatasetDict]) -> dict[str, str]:
    return {
        "number of training images": str(len(dataset_dicts)),
        "training data (sha256 of annotations and precomputed detections)": _fingerprint(dataset_dicts),
    }


def _fingerprint(dataset_dicts: Sequence[DatasetDict]) -> str:
    digest = hashlib.sha256()
    for image in dataset_dicts:
        # Boxes as they are written: to convert each of a large data set would take longer than all the rest.
        rows = [
            (*a["bbox"], a["bbox_mode"], a["category_id"], a.get("iscrowd", 0)) for a in image["annotations"]
        ]
        arrays: list[NDArray[Any]] = [np.array(rows, dtype=np.float64)]
        if "relations" in image:
            arrays.append(relation_rows(image))
        if "detections" in image:
            found = image["detections"]
            arrays += [np.asarray(found[key], dtype=np.float64) for key in ("boxes", "scores", "classes")]
        # The shapes say where one array ends and the next begins.
        name = PurePath(image["file_name"]).name
        known = (image.get("image_id"), name, image.get("height"), image.get("width"))
        digest.update("\n".join(map(str, (*known, *(a.shape for a in arrays)))).encode())
        for array in arrays:
            digest.update(array.tobytes())
    return digest.hexdigest()
