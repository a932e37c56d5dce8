"""The digest of a checkpoint's content, which tells whether bits of it have changed since it was written.

PyTorch does not compare the checksums of the archives that it writes, so that a flipped bit of a disk becomes
another weight.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reldn_d2.utils.io import digest

#: Key of the digest in a checkpoint of `torch.save`, and in the header of a file of safetensors.
DIGEST = "sha256"

_PLAIN = (bool, int, float, str, bytes, type(None))


def content_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of all tensors, numbers and texts of a checkpoint, in hexadecimal.

    Args:
        content: tensors on any device, numbers and texts, in mappings and lists. Of other values only the
            type counts.
    """
    return digest(_parts(content))


def check_digest(content: Mapping[str, Any], saved: str, path: Path) -> None:
    """Compares a checkpoint with the digest that was written with it.

    Args:
        content: the content without the digest.
        saved: the digest in the file.
        path: the file, for the message.

    Raises:
        ValueError: they differ.
    """
    if content_digest(content) != saved:
        raise ValueError(
            f"{path} was damaged or changed after it was written: its weights or settings do not have the "
            f"digest in {DIGEST!r}. Give another checkpoint, or copy or download this one again. If you "
            f"changed it on purpose, save it without the entry {DIGEST!r}"
        )


def _parts(value: Any) -> Iterator[str | NDArray[Any]]:
    if isinstance(value, Mapping):
        yield f"mapping of {len(value)}"
        for key, x in value.items():
            yield f"key {key!r}"
            yield from _parts(x)
    elif isinstance(value, list | tuple):
        yield f"list of {len(value)}"
        for x in value:
            yield from _parts(x)
    elif isinstance(value, Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)} {value.layout}"
        if value.layout is torch.strided and not value.is_meta:
            yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    elif isinstance(value, np.ndarray):
        yield value
    else:
        # numbers of NumPy look different in its versions
        number = value.item() if isinstance(value, np.generic) else value
        yield repr(number) if isinstance(number, _PLAIN) else f"a {type(number).__name__}"
