"""Initial weights of RelDN's trained parts from a checkpoint that contains only a detector."""

import logging
from typing import Any

from torch import Tensor

from .region_heads import region_parts

_HEADS = ("subject_head", "object_head", "predicate_head")
logger = logging.getLogger(__name__)


def start_from_detector(model: Any, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Copies the detector's weights to the trained parts when a checkpoint without relation keys is loaded.

    It is a hook of the model, so it works with every trainer and checkpointer.
    """
    if any(key.startswith(f"{prefix}relation_") for key in state_dict):
        return
    own = list(model.state_dict())
    region_head = f"roi_heads.{region_parts(model.roi_heads).state_prefix}"
    copied = [("backbone.", "relation_backbone.")]
    copied += [(region_head, f"relation_head.pair_classifier.{name}.") for name in _HEADS]
    for source, target in copied:
        wanted = [key.removeprefix(target) for key in own if key.startswith(target)]
        found = [name for name in wanted if f"{prefix}{source}{name}" in state_dict]
        for name in found:
            state_dict[f"{prefix}{target}{name}"] = state_dict[f"{prefix}{source}{name}"]
        if found:
            logger.info(
                "%s* starts as a copy of the checkpoint's %s*: %d of %d tensors",
                target, source, len(found), len(wanted),
            )  # fmt: skip
