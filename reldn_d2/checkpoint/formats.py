"""The formats of checkpoints that training can start from."""

import logging
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reldn_d2.structures.vocabulary import Vocabulary
from reldn_d2.utils.io import atomic_write

from .safe_files import read_pickle, read_torch

logger = logging.getLogger(__name__)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of Detectron2's kind, whatever kind the file is.

    * `.pkl`: Detectron2's model zoo ("model" and "__author__"), or Caffe2's (names of blobs, perhaps under "blobs").
    * `.pyth`: pycls ("model_state").
    * anything else: `torch.save`, of a dict with a state dict as "model" or of a state dict.

    Args:
        path: local file.

    Returns:
        "model": tensors by name; "matching_heuristics": True if the names are another framework's; what else is there.

    Raises:
        FileNotFoundError: no such file.
        ValueError: naming the file: it can't be read, or holds something else.
    """
    if path.suffix == ".pkl":
        checkpoint = _from_pickle(_mapping(read_pickle(path), path), path)
    elif path.suffix == ".pyth":
        checkpoint = _from_pycls(_mapping(read_torch(path), path), path)
    else:
        content = _mapping(read_torch(path), path)
        checkpoint = {**content} if "model" in content else {"model": content}
    _check_tensors(checkpoint["model"], path)
    return checkpoint


def _mapping(content: Any, path: Path) -> MutableMapping[str, Any]:
    if not isinstance(content, MutableMapping) or not content:
        raise ValueError(
            f"{path} holds {'nothing' if content == {} else type(content).__name__}, but a checkpoint holds tensors by "
            "name: give a checkpoint of Detectron2"
        )
    return content


def _from_pickle(content: MutableMapping[str, Any], path: Path) -> dict[str, Any]:
    if isinstance(content.get("model"), Mapping):
        logger.info("%s is by %s", path, content.get("__author__", "an unknown author"))
        return {**content}
    # Caffe2's detectors have "blobs" beside their config, its ImageNet models nothing but blobs.
    blobs = _mapping(content.get("blobs", content), path)
    model = {name: value for name, value in blobs.items() if not str(name).endswith("_momentum")}
    return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}


def _from_pycls(content: MutableMapping[str, Any], path: Path) -> dict[str, Any]:
    if "model_state" not in content:
        raise ValueError(
            f"{path} has no 'model_state', so it is not of pycls, whose ending .pyth is: rename it to .pth if it is "
            "Detectron2's"
        )
    state = _mapping(content["model_state"], path)
    model = {name: value for name, value in state.items() if not str(name).endswith("num_batches_tracked")}
    return {"model": model, "__author__": "pycls", "matching_heuristics": True}


def _check_tensors(model: Any, path: Path) -> None:
    """Makes tensors of arrays, in place: a state dict may carry versions of its layers as an attribute.

    Raises:
        ValueError: it is no mapping, or has an entry that is neither tensor nor array.
    """
    weights = _mapping(model, path)
    others = []
    for name, value in weights.items():
        tensor = _tensor(value)
        if tensor is None or not isinstance(name, str):
            others.append(name)
        else:
            weights[name] = tensor
    if others:
        nested = [
            name for name in others if isinstance(weights[name], Mapping) and _has_tensors(weights[name])
        ]
        remedy = (
            f"Its tensors are in {nested[0]!r}: if they have the names of Detectron2, save those as 'model' in a file of "
            "their own"
            if nested
            else "Give a checkpoint of Detectron2"
        )
        raise ValueError(
            f"{path} is not a checkpoint of Detectron2. Where tensors by name are expected it has "
            f"{', '.join(f'{name!r} ({type(weights[name]).__name__})' for name in others[:3])}"
            f"{f' and {len(others) - 3} more' if len(others) > 3 else ''}. {remedy}"
        )


def _has_tensors(values: Mapping[Any, Any]) -> bool:
    return any(_tensor(value) is not None for value in values.values())


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    # Of PyTorch's kinds: neither objects nor text nor more than 64 bits.
    if (
        isinstance(value, np.ndarray | np.generic)
        and value.dtype.kind in "biuf"
        and value.dtype.itemsize <= 8
    ):
        return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
    return None


def write_weights(path: Path, model: Mapping[str, Tensor], vocabulary: Vocabulary | None = None) -> None:
    """Writes a checkpoint as RelationCheckpointer reads it, all at once.

    Args:
        path: to write to.
        model: state dict.
        vocabulary: of the classes that its outputs stand for; None if it has no such outputs.
    """
    checkpoint: dict[str, Any] = {"model": dict(model)}
    if vocabulary is not None:
        checkpoint["vocabulary"] = asdict(vocabulary)
    with atomic_write(path) as file:
        torch.save(checkpoint, file)
