"""Where the trained parts of RelDN start when a checkpoint holds only a detector."""

import logging
from typing import Any

from torch import Tensor, nn

# (copied from, to)
_COPIED = (
    ("backbone.", "relation_backbone."),
    ("roi_heads.box_head.", "relation_head.pair_classifier.subject_head."),
    ("roi_heads.box_head.", "relation_head.pair_classifier.object_head."),
    ("roi_heads.box_head.", "relation_head.pair_classifier.predicate_head."),
)
logger = logging.getLogger(__name__)


def start_from_detector(model: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """When a checkpoint without relation keys is loaded, copies the detector's weights to where RelDN starts.

    A hook of the model itself, so that it works under any trainer and checkpointer.
    """
    if any(key.startswith(f"{prefix}relation_") for key in state_dict):
        return
    own = list(model.state_dict())
    for source, target in _COPIED:
        wanted = [key.removeprefix(target) for key in own if key.startswith(target)]
        found = [name for name in wanted if f"{prefix}{source}{name}" in state_dict]
        for name in found:
            state_dict[f"{prefix}{target}{name}"] = state_dict[f"{prefix}{source}{name}"]
        if found:
            logger.info(
                "%s* starts as a copy of the checkpoint's %s*: %d of %d tensors",
                target, source, len(found), len(wanted),
            )  # fmt: skip
