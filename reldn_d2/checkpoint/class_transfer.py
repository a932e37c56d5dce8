"""Adapts weights to other classes: in layers with outputs for each class, rows are copied by class name."""

import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from reldn_d2.modeling import RelDN
from reldn_d2.modeling.start_from_detector import path_of
from reldn_d2.structures.vocabulary import Vocabulary

from .predicate_tables import semantic_modules


@dataclass(frozen=True)
class _ClassLayers:
    """Layers with outputs for each class.

    Attributes:
        kind: kind of the classes, one of KINDS.
        names: regular expression that the start of a parameter's name matches.
        background: whether there is one more class, the background, in the last place.
        width: number of rows of each class.
        anchors: whether the layer repeats these rows for each anchor.
        may_be_shared: whether all classes may share the rows of one class ("class agnostic").
    """

    kind: str
    names: str
    background: bool = False
    width: int = 1
    anchors: bool = False
    may_be_shared: bool = False

    def by_class(self, parameter: Tensor, num_classes: int) -> Tensor | None:
        """Splits the rows of a parameter by class.

        Args:
            parameter: weight or bias, (rows, ...).
            num_classes: number of classes without the background.

        Returns:
            (anchors, classes with the background if the layer has it, width, ...); None if the number of rows
            does not fit.
        """
        rows = (num_classes + self.background) * self.width
        anchors = len(parameter) // rows
        if len(parameter) != anchors * rows or (anchors != 1 and not self.anchors):
            return None
        return parameter.reshape(anchors, -1, self.width, *parameter.shape[1:])


# Detectron2's layers with rows for each class.
_DETECTOR_LAYERS = (
    _ClassLayers("thing_classes", r"roi_heads\.box_predictor\.(\d+\.)?cls_score\.", background=True),
    _ClassLayers(
        "thing_classes", r"roi_heads\.box_predictor\.(\d+\.)?bbox_pred\.", width=4, may_be_shared=True
    ),
    _ClassLayers("thing_classes", r"roi_heads\.mask_head\.predictor\.", may_be_shared=True),
    _ClassLayers("thing_classes", r"head\.cls_score\.", anchors=True),  # of single-stage detectors
)


@dataclass(frozen=True)
class ClassDependence:
    """What in a model depends on its classes.

    Attributes:
        layers: layers with rows for each class.
        counted: names of tables that were counted over a training set.
        other_forms: name of such a table -> further names that it may have in a checkpoint.
    """

    layers: Sequence[_ClassLayers] = _DETECTOR_LAYERS
    counted: Sequence[str] = ()
    other_forms: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module) -> "ClassDependence":
        """Finds out what depends on the classes in a detector or RelDN, whose relation head names its own."""
        if not isinstance(model, RelDN):
            return cls()
        head = model.relation_head
        layers = [
            _ClassLayers(x.kind, rf"{re.escape(path_of(model, x.layer))}(\.|$)", background=x.background)
            for x in head.class_rows()
        ]
        counted = [path_of(model, parameter) for parameter in head.counted_parameters()]
        other_forms = {
            f"{prefix}{own}": [f"{prefix}{other}" for other in module.other_names()]
            for prefix, module in semantic_modules(model).items()
            for own in module.names()
        }
        return cls([*_DETECTOR_LAYERS, *layers], counted, other_forms)


@dataclass(frozen=True)
class NameMatch:
    """Class names of a model, compared with those of a checkpoint.

    Attributes:
        copied: names that both have.
        new: names that only the model has.
    """

    copied: list[str]
    new: list[str]


def copy_by_name(
    weights: MutableMapping[str, Tensor],
    initial: Mapping[str, Tensor],
    depending: ClassDependence,
    found: Vocabulary,
    own: Vocabulary,
    source: str,
) -> dict[str, NameMatch]:
    """Changes a checkpoint's weights to those of a model with other classes, in place.

    Rows of classes that both have, and of the background, come from the checkpoint. Rows of new classes are
    those with which the model was initialised. Tables that a relation head counted over a training set are
    the model's.

    Args:
        weights: weights of the checkpoint.
        initial: state dict of the model.
        depending: what in the model depends on its classes.
        found: classes of the checkpoint.
        own: classes of the model.
        source: address of the checkpoint, for messages.

    Returns:
        Kind of classes -> copied and new names, for each kind that differs.

    Raises:
        ValueError: the number of rows of a layer of the checkpoint contradicts the checkpoint's vocabulary.
    """
    differing = own.differing_kinds(found)
    for name in [name for name in weights if name in initial]:
        for layers in depending.layers:
            if layers.kind in differing and re.match(layers.names, name):
                weights[name] = _copied(
                    layers, name, weights[name], initial[name], found.names(layers.kind),
                    own.names(layers.kind), source
                )  # fmt: skip
    if differing:
        _keep_counted(weights, initial, depending)
    return {kind: _match(found.names(kind), own.names(kind)) for kind in differing}


def _keep_counted(
    weights: MutableMapping[str, Tensor], initial: Mapping[str, Tensor], depending: ClassDependence
) -> None:
    """Replaces the tables that a checkpoint has, in whatever form, by the model's."""
    forms = {name: (name, *depending.other_forms.get(name, ())) for name in depending.counted}
    found = [name for name in forms if name in initial and any(form in weights for form in forms[name])]
    for name in found:
        for form in forms[name][1:]:
            weights.pop(form, None)
    weights.update({name: initial[name] for name in found})


def _match(found: list[str], own: list[str]) -> NameMatch:
    known = set(found)
    return NameMatch([name for name in own if name in known], [name for name in own if name not in known])


def _copied(
    layers: _ClassLayers, name: str, old: Tensor, fresh: Tensor, found: list[str], own: list[str], source: str
) -> Tensor:
    if layers.may_be_shared and len(old) == len(fresh) == layers.width:
        # With one class on both sides, the rows of this class and rows that all classes share look the same.
        return old
    old_rows, fresh_rows = layers.by_class(old, len(found)), layers.by_class(fresh, len(own))
    if old_rows is None and not layers.may_be_shared:
        raise ValueError(
            f"{source} names {len(found)} {layers.kind}, but its {name} has {len(old)} rows: its vocabulary "
            "does not belong to its weights. Correct the vocabulary in the file (docs/checkpoints.md)"
        )
    if old_rows is None or fresh_rows is None or old_rows[:, 0].shape != fresh_rows[:, 0].shape:
        return old  # shared by all classes, or of another architecture: then loading reports the shapes
    place = {word: i for i, word in enumerate(found)}
    targets = [i for i, word in enumerate(own) if word in place]
    sources = [place[own[i]] for i in targets]
    if layers.background:
        targets.append(len(own))
        sources.append(len(found))
    result = torch.empty_like(fresh_rows, device=old.device).copy_(fresh_rows)
    result[:, targets] = old_rows[:, sources].to(result.dtype)
    return result.reshape(fresh.shape)
