"""Reads checkpoints in all formats that training can start from, and writes converted weights."""

import json
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

from .content_digest import DIGEST, check_digest, content_digest
from .safe_files import read_pickle, read_torch
from .safetensors_files import SUFFIX as SAFETENSORS
from .safetensors_files import read_safetensors, write_safetensors

logger = logging.getLogger(__name__)

# Key of the class names in a checkpoint.
_VOCABULARY = "vocabulary"
#: Key of a text in a checkpoint: whose box arithmetic and pixels its weights were trained with. A training
#: with this package does not write it.
CONVENTIONS = "conventions"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a file of any supported format as a checkpoint of Detectron2's form.

    * `.pkl`: Detectron2's model zoo ("model" and "__author__"), or Caffe2 (blobs by name, possibly under
      "blobs").
    * `.pyth`: pycls ("model_state").
    * `.safetensors`: tensors by Detectron2's names; the vocabulary as JSON among the texts of the header.
    * any other suffix: `torch.save` of a dict that has a state dict under "model", or of a state dict.

    Args:
        path: local file.

    Returns:
        "model": tensors by name; "matching_heuristics": True if the names are those of another framework; and
        all other entries of the file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file can't be read, contains something else, or has another content than its digest
            says. The message names the file.
    """
    if path.suffix == ".pkl":
        checkpoint = _from_pickle(_mapping(read_pickle(path), path), path)
    elif path.suffix == ".pyth":
        checkpoint = _from_pycls(_mapping(read_torch(path), path), path)
    elif path.suffix == SAFETENSORS:
        checkpoint = _from_safetensors(path)
    else:
        content = _mapping(read_torch(path), path)
        saved = content.pop(DIGEST, None)
        if isinstance(saved, str):
            check_digest(content, saved, path)
        checkpoint = {**content} if "model" in content else {"model": content}
    _check_tensors(checkpoint["model"], path)
    return checkpoint


def _mapping(content: Any, path: Path) -> MutableMapping[str, Any]:
    if not isinstance(content, MutableMapping) or not content:
        raise ValueError(
            f"{path} contains {'nothing' if content == {} else type(content).__name__}, but a checkpoint "
            "contains tensors by name: give a checkpoint of Detectron2"
        )
    return content


def _from_pickle(content: MutableMapping[str, Any], path: Path) -> dict[str, Any]:
    if isinstance(content.get("model"), Mapping):
        logger.info("%s is by %s", path, content.get("__author__", "an unknown author"))
        return {**content}
    # Caffe2's detectors have "blobs" beside their config; its ImageNet models are only blobs.
    blobs = _mapping(content.get("blobs", content), path)
    model = {name: value for name, value in blobs.items() if not str(name).endswith("_momentum")}
    return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}


def _from_pycls(content: MutableMapping[str, Any], path: Path) -> dict[str, Any]:
    if "model_state" not in content:
        raise ValueError(
            f"{path} has no 'model_state', but .pyth is the suffix of pycls checkpoints, which have it: if "
            "this is a checkpoint of Detectron2, rename it to .pth"
        )
    state = _mapping(content["model_state"], path)
    model = {name: value for name, value in state.items() if not str(name).endswith("num_batches_tracked")}
    return {"model": model, "__author__": "pycls", "matching_heuristics": True}


def _from_safetensors(path: Path) -> dict[str, Any]:
    tensors, texts = read_safetensors(path)
    checkpoint: dict[str, Any] = {"model": tensors}
    if CONVENTIONS in texts:
        checkpoint[CONVENTIONS] = texts[CONVENTIONS]
    if _VOCABULARY not in texts:
        return checkpoint
    try:
        vocabulary = json.loads(texts[_VOCABULARY])
    except (RecursionError, ValueError) as error:
        raise ValueError(
            f"{path} has a {_VOCABULARY!r} in its header that is not JSON ({error}): save it again with "
            "`write_weights`"
        ) from error
    names = Vocabulary.from_saved(vocabulary, str(path))
    return {**checkpoint, _VOCABULARY: asdict(names)}


def _check_tensors(model: Any, path: Path) -> None:
    """Replaces arrays by tensors, in place, because a state dict may have an attribute with versions.

    Raises:
        ValueError: it is not a mapping, or an entry is neither a tensor nor an array.
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
            f"Its tensors are in {nested[0]!r}: if they have Detectron2's names, save them as 'model' in a "
            "new file"
            if nested
            else "Give a checkpoint of Detectron2"
        )
        raise ValueError(
            f"{path} is not a checkpoint of Detectron2. It should contain tensors by name, but it has "
            f"{', '.join(f'{name!r} ({type(weights[name]).__name__})' for name in others[:3])}"
            f"{f' and {len(others) - 3} more' if len(others) > 3 else ''}. {remedy}"
        )


def _has_tensors(values: Mapping[Any, Any]) -> bool:
    return any(_tensor(value) is not None for value in values.values())


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    # Types that PyTorch has, too: numbers of at most 64 bits.
    if (
        isinstance(value, np.ndarray | np.generic)
        and value.dtype.kind in "biuf"
        and value.dtype.itemsize <= 8
    ):
        return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
    return None


def write_weights(
    path: Path,
    model: Mapping[str, Tensor],
    vocabulary: Vocabulary | None = None,
    *,
    conventions: str | None = None,
) -> None:
    """Writes weights atomically, in the form that RelationCheckpointer reads.

    Args:
        path: file to write, of safetensors if its name ends in ".safetensors", else of `torch.save`.
        model: state dict.
        vocabulary: names of the classes of the model's outputs; None if it has no such outputs.
        conventions: see `CONVENTIONS`; None: this package's.
    """
    names = {} if vocabulary is None else {_VOCABULARY: asdict(vocabulary)}
    of_others = {} if conventions is None else {CONVENTIONS: conventions}
    if path.suffix == SAFETENSORS:
        texts = {key: json.dumps(value) for key, value in names.items()}
        write_safetensors(path, model, {**texts, **of_others})
        return
    checkpoint: dict[str, Any] = {"model": dict(model), **names, **of_others}
    checkpoint[DIGEST] = content_digest(checkpoint)
    with atomic_write(path) as file:
        torch.save(checkpoint, file)
