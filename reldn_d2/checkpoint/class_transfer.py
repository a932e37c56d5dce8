"""Weights for other classes: the rows of layers that tell classes apart are copied by the names of the classes."""

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reldn_d2.structures.vocabulary import Vocabulary

# Not copied by name: its probabilities belong to a training set, so it stays as it was counted on the new one.
_COUNTED_TABLE = "relation_head.pair_classifier.semantic.log_prior"


@dataclass(frozen=True)
class _ClassLayers:
    """Layers with outputs for each class.

    Attributes:
        kind: of classes, one of KINDS.
        names: regular expression that a parameter's name begins with.
        background: one class more, the last.
        width: rows of a class.
        anchors: all of this once for each anchor.
        may_be_shared: all classes may share one class's rows ("class agnostic").
    """

    kind: str
    names: str
    background: bool = False
    width: int = 1
    anchors: bool = False
    may_be_shared: bool = False

    def by_class(self, parameter: Tensor, num_classes: int) -> Tensor | None:
        """A parameter as (anchors, classes, rows of a class, ...); None if it has other rows.

        Args:
            parameter: rows first.
            num_classes: without background.
        """
        rows = (num_classes + self.background) * self.width
        anchors = len(parameter) // rows
        if len(parameter) != anchors * rows or (anchors != 1 and not self.anchors):
            return None
        return parameter.reshape(anchors, -1, self.width, *parameter.shape[1:])


_LAYERS = (
    _ClassLayers("thing_classes", r"roi_heads\.box_predictor\.(\d+\.)?cls_score\.", background=True),
    _ClassLayers(
        "thing_classes", r"roi_heads\.box_predictor\.(\d+\.)?bbox_pred\.", width=4, may_be_shared=True
    ),
    _ClassLayers("thing_classes", r"roi_heads\.mask_head\.predictor\.", may_be_shared=True),
    _ClassLayers("thing_classes", r"head\.cls_score\.", anchors=True),  # of single-stage detectors
    _ClassLayers(
        "predicate_classes",
        r"relation_head\.pair_classifier\.(visual\.(score\.3|subject_skip|object_skip)|spatial\.mlp\.4)\.",
        background=True,
    ),
)


@dataclass(frozen=True)
class NameMatch:
    """Which classes of a model a checkpoint knows.

    Attributes:
        copied: names that both have.
        new: names that only the model has.
    """

    copied: list[str]
    new: list[str]


def copy_by_name(
    weights: MutableMapping[str, Tensor],
    initial: Mapping[str, Tensor],
    found: Vocabulary,
    own: Vocabulary,
    source: str,
) -> dict[str, NameMatch]:
    """Makes a checkpoint's weights those of a model of other classes, in place.

    Rows of a class that both know are the checkpoint's; so is the background's row. Rows of a new class are the
    model's, as it was initialised. The semantic table stays the model's.

    Args:
        weights: of the checkpoint.
        initial: state dict of the model.
        found: classes of the checkpoint.
        own: classes of the model.
        source: of the checkpoint, for messages.

    Returns:
        For each kind of classes that differs, what was copied.

    Raises:
        ValueError: a layer of the checkpoint does not have the rows that its own vocabulary asks for.
    """
    differing = own.differing_kinds(found)
    for name in [name for name in weights if name in initial]:
        for layers in _LAYERS:
            if layers.kind in differing and re.match(layers.names, name):
                weights[name] = _copied(
                    layers, name, weights[name], initial[name], found.names(layers.kind), own.names(layers.kind), source
                )  # fmt: skip
    if differing and _COUNTED_TABLE in weights and _COUNTED_TABLE in initial:
        weights[_COUNTED_TABLE] = initial[_COUNTED_TABLE]
    return {kind: _match(found.names(kind), own.names(kind)) for kind in differing}


def _match(found: list[str], own: list[str]) -> NameMatch:
    known = set(found)
    return NameMatch([name for name in own if name in known], [name for name in own if name not in known])


def _copied(
    layers: _ClassLayers, name: str, old: Tensor, fresh: Tensor, found: list[str], own: list[str], source: str
) -> Tensor:
    if layers.may_be_shared and len(old) == len(fresh) == layers.width:
        # One class on both sides: rows of its own and rows shared by all classes look the same.
        return old
    old_rows, fresh_rows = layers.by_class(old, len(found)), layers.by_class(fresh, len(own))
    if old_rows is None and not layers.may_be_shared:
        raise ValueError(
            f"{source} names {len(found)} {layers.kind}, but its {name} has {len(old)} rows: its vocabulary is not that "
            "of its weights"
        )
    if old_rows is None or fresh_rows is None or old_rows[:, 0].shape != fresh_rows[:, 0].shape:
        return old  # shared by all classes, or of another architecture, which whoever loads it reports
    place = {word: i for i, word in enumerate(found)}
    targets = [i for i, word in enumerate(own) if word in place]
    sources = [place[own[i]] for i in targets]
    if layers.background:
        targets.append(len(own))
        sources.append(len(found))
    result = torch.empty_like(fresh_rows, device=old.device).copy_(fresh_rows)
    result[:, targets] = old_rows[:, sources].to(result.dtype)
    return result.reshape(fresh.shape)
