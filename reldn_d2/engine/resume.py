"""Whether a checkpoint can be gone on from: what has to stay the same from the start of a run to its end."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from numpy.typing import NDArray

from reldn_d2.data.dataset_dicts import DatasetDict, relation_rows

logger = logging.getLogger(__name__)

# Keys that may differ, as shell patterns: none of them changes what is trained.
_FREE = (
    "VERSION",
    "OUTPUT_DIR",
    "VIS_PERIOD",
    "CUDNN_BENCHMARK",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",  # the start; the checkpoint is past it
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
        "number of training images": str(len(dataset_dicts)),
        "training data (sha256 of annotations and precomputed detections)": _fingerprint(dataset_dicts),
        **{key: value for key, value in _flatten(cfg) if _matches(key, bound) or not _matches(key, free)},
    }


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
            # As JSON, in which a tuple is the list that it becomes in a YAML file.
            yield f"{prefix}{key}", json.dumps(value, default=str)


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
