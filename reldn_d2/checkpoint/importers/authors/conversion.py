"""Converts a state dict of the authors to ours, either completely or not at all."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from reldn_d2.utils.plain_text import Lines

from .architecture import AuthorsArchitecture
from .key_map import is_relation_key, key_map

_NAMES_SHOWN = 10


def detector_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the detector's tensors, without those of the relation part, under the authors' names."""
    return {name: value for name, value in weights.items() if not is_relation_key(name)}


def convert(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts a checkpoint of the authors to a model of this package.

    Args:
        weights: state dict under the authors' names.
        like: state dict of the model, on any device (also "meta"), since only names and shapes are used.

    Returns:
        State dict with the names and shapes of `like`. Tensors that need no change are not copied.

    Raises:
        ValueError: the checkpoint does not fit. The message lists, with up to ten names each: names that the
            architecture does not have; names that are missing; tensors whose shape is impossible for their
            layer; and, under our names, tensors that the model lacks, has in another shape, or would not get.
    """
    architecture = AuthorsArchitecture.of(weights)
    entries = key_map(architecture)
    known = {entry.theirs for entry in entries}
    converted: dict[str, Tensor] = {}
    misshapen: dict[str, str] = {}
    for entry in entries:
        if entry.theirs not in weights:
            continue
        tensor = weights[entry.theirs]
        try:
            converted[entry.ours] = entry.change(tensor)
        except ValueError as error:
            misshapen[entry.theirs] = f"{entry.theirs} {tuple(tensor.shape)} should have {error}"
    reported = {entry.ours for entry in entries} - converted.keys()  # by the missing or misshapen tensor
    different = {
        name: f"{name} {tuple(value.shape)}, in the model {tuple(like[name].shape)}"
        for name, value in converted.items()
        if name in like and like[name].shape != value.shape
    }
    _refuse(
        architecture,
        {
            "unknown names": sorted(weights.keys() - known),
            "missing names": sorted(known - weights.keys()),
            "tensors of impossible shapes": list(misshapen.values()),
            "tensors that the config's model lacks, under our names": sorted(converted.keys() - like.keys()),
            "tensors that have another shape in the config's model": list(different.values()),
            "tensors of the config's model that the checkpoint lacks": sorted(
                like.keys() - converted.keys() - reported
            ),
        },
    )
    return converted


def _refuse(architecture: AuthorsArchitecture, problems: Mapping[str, Sequence[str]]) -> None:
    lines = []
    for problem, names in problems.items():
        if names:
            rest = f", and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            lines.append(f"{problem} ({len(names)}): {', '.join(names[:_NAMES_SHOWN])}{rest}")
    if lines:
        raise ValueError(Lines.of(f"the checkpoint looks like {architecture}, but it has", *lines))
