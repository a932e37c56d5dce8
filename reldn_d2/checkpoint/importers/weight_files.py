"""Writing converted weights."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reldn_d2.structures.vocabulary import Vocabulary
from reldn_d2.utils.io import replace_when_complete


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
    with replace_when_complete(path) as file:
        torch.save(checkpoint, file)
