"""Cuts a batch into parts that a CPU computes in one pass.

The layers of one large image fill a CPU, so several of them at once save no time. They cost some: from 32 MB
on, glibc takes memory from the system for each tensor and gives it back, and the system clears it each time.
"""

from collections.abc import Iterator
from typing import Any

import torch

# The first stages of a ResNet of normal width make 64 bytes of each pixel of the image. So with more pixels
# tensors exceed 32 MB.
_PIXELS_OF_A_PASS = 2**19


def passes(batched_inputs: list[dict[str, Any]], device: torch.device) -> Iterator[list[dict[str, Any]]]:
    """Yields the parts of a batch, in its order: all of it on a GPU.

    Args:
        batched_inputs: inputs of the model with "image": (C, H, W).
        device: where the model computes.
    """
    if device.type != "cpu" or len(batched_inputs) <= 1:
        yield batched_inputs
        return
    part: list[dict[str, Any]] = []
    height = width = 0
    for x in batched_inputs:
        # All images are padded to the size of the largest one.
        height, width = max(height, x["image"].shape[-2]), max(width, x["image"].shape[-1])
        if part and (len(part) + 1) * height * width > _PIXELS_OF_A_PASS:
            yield part
            part = []
            height, width = x["image"].shape[-2:]
        part.append(x)
    yield part
