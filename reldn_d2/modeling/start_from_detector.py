"""Initial weights of RelDN's trained parts from a checkpoint that contains only a detector."""

import logging
from collections.abc import Iterable
from itertools import chain
from typing import Any

from torch import Tensor, nn

from .region_heads import region_parts
from .relation_head.contract import DetectorPart

logger = logging.getLogger(__name__)


def start_from_detector(model: Any, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Copies the detector's weights to the trained parts if a checkpoint has none of this relation head.

    The predicate backbone starts as a copy of the detector's backbone, unless the checkpoint, of another
    head, has one. `RelationHead.detector_copies` says what else starts as a copy of what. It is a hook of the
    model, so it works with every trainer and checkpointer.
    """
    own = list(model.state_dict())
    head = [key for key in own if key.startswith("relation_head.")] or ["relation_head."]
    if any(f"{prefix}{key}" in state_dict for key in head):
        return
    copied = [
        (_prefix_of_part(model, copy.part), f"{path_of(model, copy.module)}.")
        for copy in model.relation_head.detector_copies()
    ]
    if not any(key.startswith(f"{prefix}relation_backbone.") for key in state_dict):
        copied.insert(0, ("backbone.", "relation_backbone."))
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


def path_of(model: nn.Module, part: nn.Module | Tensor) -> str:
    """Path of a module, parameter or buffer in the state dict of a model.

    Raises:
        ValueError: the model does not contain it.
    """
    named: Iterable[tuple[str, nn.Module | Tensor]] = model.named_modules(remove_duplicate=False)
    if isinstance(part, Tensor):
        named = chain(
            model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)
        )
    for name, found in named:
        if found is part:
            return name
    raise ValueError(
        f"the relation head names a {type(part).__name__} that is not in it: return its own modules, "
        "parameters and buffers (docs/relation_heads.md)"
    )


def _prefix_of_part(model: Any, part: DetectorPart) -> str:
    parts = region_parts(model.roi_heads)
    prefixes = {"box_head": parts.state_prefix, "classifier": parts.classifier_prefix}
    if part not in prefixes:
        raise ValueError(
            f"the relation head wants a copy of the detector's {part!r}: write one of {', '.join(prefixes)} "
            "(docs/relation_heads.md)"
        )
    return f"roi_heads.{prefixes[part]}"
