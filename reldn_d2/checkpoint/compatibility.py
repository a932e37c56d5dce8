"""Refusing weights that do not fit a model, with what to do about it."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

_COUNTER = "num_batches_tracked"  # of batch normalisation; old checkpoints lack it, and it matters to nobody
_DETECTOR_PARTS = ("backbone.", "proposal_generator.", "roi_heads.")


def refuse_single_stage(names: Iterable[str], source: str) -> None:
    """
    Args:
        names: of a checkpoint's parameters.
        source: of the checkpoint.

    Raises:
        ValueError: they are those of a single-stage detector.
    """
    parts = {name.partition(".")[0] for name in names}
    if "head" in parts and "roi_heads" not in parts:
        raise ValueError(
            f"{source} is of a single-stage detector, such as RetinaNet, which has no box head for RelDN to start from. "
            "Give a two-stage detector as MODEL.WEIGHTS, for its features; this one's boxes can be used all the same: "
            "write them with tools/cache_detections.py, and name the files in DATASETS.DETECTION_FILES_TRAIN and _TEST"
        )


def refuse_other_model(incompatible: Any, model: nn.Module, names: Sequence[str], source: str) -> None:
    """
    Args:
        incompatible: what loading returned.
        model: that it was loaded into.
        names: of the checkpoint's parameters.
        source: of the checkpoint.

    Raises:
        ValueError: not a single parameter fitted.
    """
    wanted = [name for name in model.state_dict() if not name.endswith(_COUNTER)]
    if set(wanted) <= set(incompatible.missing_keys):
        raise ValueError(
            f"{source} is of another model: none of its {len(names)} parameters ({', '.join(names[:3])}, ...) is one of "
            f"this model's ({', '.join(wanted[:3])}, ...). Give a checkpoint of the same architecture; if it is a "
            "backbone under another framework's names, add ?matching_heuristics=True"
        )


def refuse_other_backbone(incompatible: Any, names: Iterable[str], source: str) -> int:
    """
    Args:
        incompatible: what loading returned.
        names: of the checkpoint's parameters.
        source: of the checkpoint.

    Returns:
        How many parameters of the model's backbone a detector's checkpoint lacks; 0 for weights of a backbone alone.

    Raises:
        ValueError: the backbone has parameters of other shapes: it is of another width or depth.
    """
    differing = [x for x in incompatible.incorrect_shapes if x[0].startswith("backbone.")]
    if differing:
        name, in_checkpoint, in_model = differing[0]
        raise ValueError(
            f"{source} has another backbone: {len(differing)} of its parameters are of other shapes, the first is {name}, "
            f"{tuple(in_checkpoint)} in the checkpoint and {tuple(in_model)} in the model. Give the config of the "
            "architecture that the checkpoint is of, or a checkpoint of the config's"
        )
    if not any(name.startswith("roi_heads.") for name in names):
        return 0
    missing = [name for name in incompatible.missing_keys if name.startswith("backbone.")]
    return len([name for name in missing if not name.endswith(_COUNTER)])


def refuse_unfit(incompatible: Any, source: str, *, complete: bool, named: bool) -> None:
    """
    Args:
        incompatible: what loading returned.
        source: of the checkpoint.
        complete: the whole model had to be in it, not only its detector.
        named: the checkpoint says which classes it is of.

    Raises:
        ValueError: shapes differ, or the model (`complete`) or its detector did not get all its parameters.
    """
    if incompatible.incorrect_shapes:
        name, in_checkpoint, in_model = incompatible.incorrect_shapes[0]
        unnamed = (
            ". It does not say which classes it is of, so nothing can be copied by name: train stage 1 for the classes of "
            "the data set from it, or tell it its classes (docs/checkpoints.md)"
        )
        raise ValueError(
            f"{len(incompatible.incorrect_shapes)} parameters of {source} do not fit the model; the first is "
            f"{name}: {in_checkpoint} in the checkpoint, {in_model} in the model. Check NUM_CLASSES, NUM_PREDICATES "
            f"and the architecture in the config{'' if named else unnamed}"
        )
    missing = [
        name
        for name in incompatible.missing_keys
        if (complete or name.startswith(_DETECTOR_PARTS)) and not name.endswith(_COUNTER)
    ]
    if missing:
        raise ValueError(
            f"{source} lacks {len(missing)} parameters of the model, the first is {missing[0]}: it must come from "
            "a model of the same architecture with the same parts switched on"
        )
    extra = [name for name in incompatible.unexpected_keys if name.startswith("relation_")]
    if complete and extra:
        raise ValueError(
            f"{source} has {len(extra)} parameters that the model lacks, the first is {extra[0]}: it was trained "
            "with parts of the relation head that this config switches off"
        )
