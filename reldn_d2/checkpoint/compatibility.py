"""Errors for weights that do not fit a model, each with a remedy."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from reldn_d2.modeling import RelDN
from reldn_d2.modeling.published import PUBLISHED_PIXELS

# A counter of batch normalisation that old checkpoints lack and that nothing here uses.
_COUNTER = "num_batches_tracked"
_DETECTOR_PARTS = ("backbone.", "proposal_generator.", "roi_heads.")


def refuse_single_stage(names: Iterable[str], source: str) -> None:
    """Refuses a single-stage detector as the start of RelDN.

    Args:
        names: names of the checkpoint's parameters.
        source: address of the checkpoint, for the message.

    Raises:
        ValueError: the parameters are those of a single-stage detector.
    """
    parts = {name.partition(".")[0] for name in names}
    if "head" in parts and "roi_heads" not in parts:
        raise ValueError(
            f"{source} is of a single-stage detector, such as RetinaNet, which has no box head for RelDN to "
            "start from. Give a two-stage detector as MODEL.WEIGHTS, for its features. To use the boxes of "
            "this one, write them with `reldn cache-detections`, and name the files in "
            "DATASETS.DETECTION_FILES_TRAIN and _TEST"
        )


def refuse_other_model(incompatible: Any, model: nn.Module, names: Sequence[str], source: str) -> None:
    """Refuses a checkpoint that has nothing in common with the model.

    Args:
        incompatible: fvcore's report of the parameters that were not loaded.
        model: model that the checkpoint was loaded into.
        names: names of the checkpoint's parameters.
        source: address of the checkpoint, for the message.

    Raises:
        ValueError: no parameter fits.
    """
    wanted = [name for name in model.state_dict() if not name.endswith(_COUNTER)]
    if set(wanted) <= set(incompatible.missing_keys):
        raise ValueError(
            f"{source} is of another model: none of its {len(names)} parameters ({', '.join(names[:3])}, "
            f"...) is one of this model's ({', '.join(wanted[:3])}, ...). Give a checkpoint of the same "
            "architecture. If this is a backbone under another framework's names, add "
            "?matching_heuristics=True"
        )


def refuse_other_pixels(model: RelDN, source: str) -> None:
    """Refuses to train weights of the authors' code further with pixels of other statistics.

    Nothing of such a training would fail, but the frozen detector would find next to nothing.

    Args:
        model: the model, which knows its pixels.
        source: address of the checkpoint, for the message.

    Raises:
        ValueError: order of colours, mean or standard deviation differ.
    """
    own = [model.input_format, _rounded(model.pixel_mean), _rounded(model.pixel_std)]
    wrong = [
        f"{key} {value}" for (key, value), x in zip(PUBLISHED_PIXELS.items(), own, strict=True) if value != x
    ]
    if wrong:
        raise ValueError(
            f"{source} was converted from the authors' code, whose weights expect other pixels than this "
            f"config's: set {', '.join(wrong)} (in a config in Python, these arguments of the model)"
        )


def _rounded(values: Tensor) -> list[float]:
    return [round(x, 4) for x in values.flatten().tolist()]


def refuse_other_backbone(incompatible: Any, names: Iterable[str], source: str) -> int:
    """Refuses a detector with another backbone as the start of a detector, and counts missing parameters.

    Args:
        incompatible: fvcore's report of the parameters that were not loaded.
        names: names of the checkpoint's parameters.
        source: address of the checkpoint, for the message.

    Returns:
        Number of parameters of the model's backbone that a detector's checkpoint lacks. 0 if the checkpoint
        is a backbone alone.

    Raises:
        ValueError: parameters of the backbone have other shapes: its width or depth differs.
    """
    differing = [x for x in incompatible.incorrect_shapes if x[0].startswith("backbone.")]
    if differing:
        name, in_checkpoint, in_model = differing[0]
        raise ValueError(
            f"{source} has another backbone: {len(differing)} of its parameters have other shapes, the "
            f"first is {name}, {tuple(in_checkpoint)} in the checkpoint and {tuple(in_model)} in the model. "
            "Give the config of the checkpoint's architecture, or a checkpoint of the config's architecture"
        )
    if not any(name.startswith("roi_heads.") for name in names):
        return 0
    missing = [name for name in incompatible.missing_keys if name.startswith("backbone.")]
    return len([name for name in missing if not name.endswith(_COUNTER)])


def refuse_unfit(incompatible: Any, source: str, *, complete: bool, named: bool) -> None:
    """Refuses a checkpoint if parameters of the model keep their initial values.

    Args:
        incompatible: fvcore's report of the parameters that were not loaded.
        source: address of the checkpoint, for the message.
        complete: whether the checkpoint must contain the whole model, not only its detector.
        named: whether the checkpoint names its classes.

    Raises:
        ValueError: shapes differ, or parameters of the model (`complete`) or of its detector are missing, or
            (`complete`) the checkpoint has relation parameters that the model lacks.
    """
    if incompatible.incorrect_shapes:
        name, in_checkpoint, in_model = incompatible.incorrect_shapes[0]
        unnamed = (
            ". It does not name its classes, so nothing can be copied by name: train stage 1 for the "
            "classes of the data set from it, or add their names to it (docs/checkpoints.md)"
        )
        raise ValueError(
            f"{len(incompatible.incorrect_shapes)} parameters of {source} do not fit the model; the first "
            f"is {name}: {in_checkpoint} in the checkpoint, {in_model} in the model. Check NUM_CLASSES, "
            f"NUM_PREDICATES and the architecture in the config{'' if named else unnamed}"
        )
    missing = [
        name
        for name in incompatible.missing_keys
        if (complete or name.startswith(_DETECTOR_PARTS)) and not name.endswith(_COUNTER)
    ]
    if missing:
        raise ValueError(
            f"{source} lacks {len(missing)} parameters of the model, the first is {missing[0]}: give a "
            "checkpoint of a model of the same architecture with the same parts switched on"
        )
    extra = [name for name in incompatible.unexpected_keys if name.startswith("relation_")]
    if complete and extra:
        raise ValueError(
            f"{source} has {len(extra)} parameters that the model lacks, the first is {extra[0]}: it was "
            "trained with parts of the relation head that this config switches off"
        )
