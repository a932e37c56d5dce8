"""Weights that a model must not have: NaN, infinite, or of another type than the model's."""

from collections.abc import Mapping, Sequence
from math import inf

import torch
from torch import Tensor, nn

from reldn_d2.modeling import RelDN

_LISTED = 3
# What is converted to the type of the model. Smaller formats need scales, which a conversion ignores.
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Checkpoints of a model that was wrapped for several processes have it before each name.
_WRAPPED = "module."


class NotFiniteError(FloatingPointError):
    """A loss or a weight is NaN or infinite, so the training can't go on."""


class FiniteWeights:
    """Finds the weights of one model that are not finite. It scans each tensor once.

    NaN is never accepted. Infinite numbers are accepted in buffers that have them when the model is built,
    such as masks of attention. A table that was counted over a training set may contain the logarithm of
    zero.
    """

    def __init__(self, model: nn.Module) -> None:
        """Remembers which tensors may be infinite.

        Args:
            model: the model as it was built, not wrapped for several processes.
        """
        counted = set(model.relation_head.counted_parameters()) if isinstance(model, RelDN) else set()
        tables = [name for name, x in model.named_parameters() if x in counted]
        self._lowest = dict.fromkeys(tables, -inf)
        self._highest: dict[str, float] = {}
        for name, (low, high) in _extremes(dict(model.named_buffers())).items():
            if low == -inf:
                self._lowest[name] = low
            if high == inf:
                self._highest[name] = high

    def broken(self, weights: Mapping[str, Tensor]) -> list[str]:
        """Names of the tensors that are not finite.

        Args:
            weights: tensors by the model's names, on one device. Only those of floating-point numbers are
                looked at.
        """
        # Comparisons with NaN are false.
        return [
            name
            for name, (low, high) in _extremes(weights).items()
            if not (low > -inf or self._lowest.get(name) == low)
            or not (high < inf or self._highest.get(name) == high)
        ]

    def refuse(self, weights: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> None:
        """Refuses a checkpoint whose values the model can't take.

        Args:
            weights: tensors of the checkpoint. Those that the model lacks are not looked at.
            own: state dict of the model.
            source: address of the checkpoint, for the message.

        Raises:
            ValueError: weights are of another type than the model's, or not finite.
        """
        wrapped = all(name.startswith(_WRAPPED) for name in weights)
        renamed = {name.removeprefix(_WRAPPED) if wrapped else name: x for name, x in weights.items()}
        used = {name: x for name, x in renamed.items() if name in own}
        refuse_other_types(used, own, source)
        refuse_not_finite(self.broken(used), used, source)


def refuse_other_types(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str) -> None:
    """Refuses weights of another type than the model's. Floating-point numbers of other sizes are converted.

    Args:
        weights: tensors of a checkpoint, all of which the model has.
        own: state dict of the model, on any device (also "meta").
        source: address of the checkpoint, for the message.

    Raises:
        ValueError: integers, truth values or complex numbers stand where the model has others; or a tensor is
            sparse, or has no values.
    """
    wrong = [
        f"{name} ({_type(x)}, in the model {_type(own[name])})"
        for name, x in weights.items()
        if not _converts(x, own[name])
    ]
    if wrong:
        raise ValueError(
            f"{source} has {len(wrong)} parameters of another type than the model: {listed(wrong)}. Save "
            "them in the type of the model, or give another checkpoint"
        )


def refuse_not_finite(names: Sequence[str], weights: Mapping[str, Tensor], source: str) -> None:
    """Refuses a checkpoint with weights that are not finite.

    Args:
        names: names of the tensors that are not finite; empty: there are none.
        weights: tensors of the checkpoint.
        source: address of the checkpoint, for the message.

    Raises:
        ValueError: there are such tensors.
    """
    if names:
        raise ValueError(
            f"{source} has {len(names)} parameters that are not finite: "
            f"{listed([f'{name} ({_values(weights[name])})' for name in names])}. Its training has diverged, "
            "or the file is damaged: give an earlier checkpoint, or another file"
        )


def not_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors with NaN or infinite numbers, for weights without a model."""
    return [name for name, (low, high) in _extremes(weights).items() if not (low > -inf and high < inf)]


def listed(names: Sequence[str]) -> str:
    """The first names, and how many there are besides."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


@torch.no_grad()
def _extremes(weights: Mapping[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Smallest and largest number of each floating-point tensor as float32; NaN if it contains NaN.

    `aminmax` reads memory once and makes no copy: it is eight times as fast as `isfinite`. All results leave
    the device together.
    """
    floats = {name: x for name, x in weights.items() if x.dtype in _FLOATS and x.numel()}
    if not floats:
        return {}
    found = torch.stack([torch.stack(x.aminmax()).float() for x in floats.values()]).tolist()
    return {name: (low, high) for name, (low, high) in zip(floats, found, strict=True)}


def _converts(found: Tensor, own: Tensor) -> bool:
    if found.layout is not torch.strided or found.is_meta:
        return False
    if own.dtype in _FLOATS:
        return found.dtype in _FLOATS
    return _is_integer(found) if _is_integer(own) else found.dtype == own.dtype


def _is_integer(tensor: Tensor) -> bool:
    kind = tensor.dtype
    return not (kind.is_floating_point or kind.is_complex or kind is torch.bool)


def _type(tensor: Tensor) -> str:
    sparse = "" if tensor.layout is torch.strided else ", sparse"
    return str(tensor.dtype).removeprefix("torch.") + sparse


def _values(tensor: Tensor) -> str:
    """How many numbers are not finite."""
    numbers = tensor.float()
    counts = {"NaN": int(numbers.isnan().sum()), "infinite": int(numbers.isinf().sum())}
    words = " and ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return f"{words} of {tensor.numel()} numbers"
