"""Reads and writes files of safetensors: tensors by name and texts by name, and nothing that could be run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.system_errors import explained, is_of_the_system

from .content_digest import DIGEST, check_digest, content_digest
from .safe_files import looks_like

#: The ending of such files.
SUFFIX = ".safetensors"
# Says who wrote the tensors. Other frameworks have other names and axes.
_WRITER, _PYTORCH = "format", "pt"
# The header's length in eight bytes, and the multiple of bytes that it takes.
_LENGTH, _ALIGNMENT = 8, 8


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a file of safetensors that was written with PyTorch.

    Args:
        path: local file.

    Returns:
        The tensors by name, on the CPU and with the types that they have in the file; and the texts by name.

    Raises:
        OSError: the file does not exist, or the system does not let this user read it.
        ValueError: the file is of another kind, is cut off or damaged, has no tensors, was written by
            another framework, or has another content than its digest says. The message names it.
    """
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise ValueError(f"{path} can't be read as weights: it is a folder. Name the file in it")
    try:
        path.open("rb").close()  # safetensors has errors of its own for what the system refuses
        with safe_open(path, framework="pt", device="cpu") as file:
            texts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (FileNotFoundError, MemoryError):
        raise
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and is_of_the_system(error):
            raise explained(error, path) from error
        raise ValueError(
            f"{path} can't be read as safetensors: {looks_like(path)} ({_first_line(error)}). Download it "
            "again, or give a file that safetensors has written completely"
        ) from error
    writer = texts.pop(_WRITER, _PYTORCH)
    if writer != _PYTORCH:
        raise ValueError(
            f"{path} was written by another framework ({_WRITER} {writer!r}), whose names and axes differ: "
            "give a file that was saved from PyTorch"
        )
    if not tensors:
        raise ValueError(f"{path} contains no tensors: give a checkpoint")
    saved = texts.pop(DIGEST, None)
    if saved is not None:
        check_digest(_in_order(tensors, texts), saved, path)
    return tensors, texts


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Writes a file of safetensors atomically. The same content gives the same bytes.

    Args:
        path: file to write.
        tensors: tensors by name, on any device. Those that share memory are written once for each name.
        texts: texts by name, which travel in the header.

    Raises:
        OSError: the file can't be written; an older one of this name is unchanged.
    """
    from safetensors.torch import save

    alone = {name: x.detach().to("cpu", copy=True).contiguous() for name, x in tensors.items()}
    digest = content_digest(_in_order(alone, texts))
    content = memoryview(save(alone, {_WRITER: _PYTORCH, DIGEST: digest, **texts}))
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    header = _ordered(bytes(content[_LENGTH:end]))
    with atomic_write(path) as file:
        file.write(len(header).to_bytes(_LENGTH, "little"))
        file.write(header)
        file.write(content[end:])


def _in_order(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> dict[str, Any]:
    """What the digest is of: safetensors keeps no order."""
    return {"tensors": dict(sorted(tensors.items())), "texts": dict(sorted(texts.items()))}


def _ordered(header: bytes) -> bytes:
    """The header with its texts in alphabetical order: safetensors writes them in any order."""
    key = "__metadata__"
    content: dict[str, Any] = json.loads(header)
    content = {key: dict(sorted(content.pop(key).items())), **content}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights at half precision, for smaller files: float16 where a tensor has two axes or more.

    Tensors of fewer axes (biases, running averages) are small and stay as they are, and so does a tensor with
    numbers that are too large for float16.
    """
    return {name: _halved(x) for name, x in tensors.items()}


def _halved(tensor: Tensor) -> Tensor:
    if tensor.dtype is not torch.float32 or tensor.dim() < 2:
        return tensor
    half = tensor.half()
    return half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor
