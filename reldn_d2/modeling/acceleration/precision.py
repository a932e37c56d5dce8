"""The precision that a model computes in: float32, or bfloat16 for matrix products and convolutions."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch

logger = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def autocast(device: str | torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context in which a model computes in a precision. Its parameters stay float32.

    Args:
        device: device of the model.
        precision: "fp32": as always; "bf16": PyTorch's autocast.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """A tensor with the digits that sums and scores need, also under autocast."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_precision(device: str | torch.device, precision: str, setting: str) -> None:
    """Checks that a device can compute in a precision, and warns if that will be slow.

    Args:
        device: a device that this machine has.
        precision: the precision.
        setting: what names it, for the message.

    Raises:
        ValueError: there is no such precision, or the device does not have it.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"{setting} is {precision!r}: use {' or '.join(PRECISIONS)}")
    kind = torch.device(device).type
    if precision == "fp32":
        return
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_bf16_supported()):
        raise ValueError(f"{setting} is 'bf16', which {device} does not have: use fp32")
    if kind == "cpu" and not has_bf16_instructions():
        logger.warning(
            "%s is bf16, but this CPU has no instructions for it: it will be many times slower than fp32.",
            setting,
        )


def has_bf16_instructions() -> bool:
    """Whether this CPU multiplies bfloat16 matrices fast."""
    is_available: Callable[[], bool] = torch.backends.mkldnn.is_available  # torch gives it no type
    return is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
