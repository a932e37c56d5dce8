"""From a published state dict to ours, complete or not at all."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from .architecture import PublishedArchitecture
from .key_map import is_relation_key, key_map

_NAMES_SHOWN = 10


def detector_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors of the detector alone."""
    return {name: value for name, value in weights.items() if not is_relation_key(name)}


def convert(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """
    Args:
        weights: state dict under the published names.
        like: state dict of the model that it is for, on any device (also "meta"): only names and shapes count.

    Returns:
        State dict with the names and shapes of `like`. Tensors that need no change are those of `weights`.

    Raises:
        ValueError: naming what is in the way, up to ten names each: names that the published architecture does not
            have, or that it has and are missing; tensors that can't be of their layer; and, by our names, what the
            model lacks, has in another shape, or would not get.
    """
    architecture = PublishedArchitecture.of(weights)
    entries = key_map(architecture)
    known = {entry.published for entry in entries}
    converted: dict[str, Tensor] = {}
    misshapen: dict[str, str] = {}
    for entry in entries:
        if entry.published not in weights:
            continue
        tensor = weights[entry.published]
        try:
            converted[entry.ours] = entry.change(tensor)
        except ValueError as error:
            misshapen[entry.published] = f"{entry.published} {tuple(tensor.shape)} should have {error}"
    in_vain = {entry.ours for entry in entries} - converted.keys()  # for reasons that are told already
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
            "tensors that can't be what their name says": list(misshapen.values()),
            "tensors that the model of the config lacks, by our names": sorted(
                converted.keys() - like.keys()
            ),
            "tensors of other shapes than in the model of the config": list(different.values()),
            "tensors of the model of the config that the file has nothing for": sorted(
                like.keys() - converted.keys() - in_vain
            ),
        },
    )
    return converted


def _refuse(architecture: PublishedArchitecture, problems: Mapping[str, Sequence[str]]) -> None:
    lines = []
    for problem, names in problems.items():
        if names:
            rest = f", and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
            lines.append(f"{problem} ({len(names)}): {', '.join(names[:_NAMES_SHOWN])}{rest}")
    if lines:
        raise ValueError("\n".join([f"what is there looks like {architecture}, but has", *lines]))
