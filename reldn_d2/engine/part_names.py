"""The classes and functions that a saved config in Python may name.

A saved config is data that may come from anybody. A name in it is looked up in a table of parts of models,
data loading, optimizers and schedules. Nothing is imported for it, and no other name is known.

What a config only hands on, as a value or in a partial, is called later by other code, with arguments that
nobody checks. So there are few of these: layers, blocks of backbones, activations. No loader, evaluator or
function of data is among them. Nothing in the table reads pickles when it is called with named arguments that
`saved_python` lets through.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import detectron2.data.transforms as T
from detectron2 import data, evaluation, layers, modeling
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.modeling.backbone.vit import get_vit_lr_decay_rate
from detectron2.modeling.box_regression import (
    Box2BoxTransform,
    Box2BoxTransformLinear,
    Box2BoxTransformRotated,
)
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY
from detectron2.modeling.roi_heads import ROI_BOX_HEAD_REGISTRY
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import ParamScheduler
from fvcore.transforms.transform import Transform
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Sampler

from reldn_d2.data import (
    RelationDatasetMapper,
    build_resumable_train_loader,
    images_with_entities,
    predicate_counts,
    prepare_training_relations,
)
from reldn_d2.evaluation import PROTOCOLS, RelationEvaluator
from reldn_d2.evaluation.box_evaluator import BoxEvaluator
from reldn_d2.modeling import CONTRASTIVE_TERM_REGISTRY, ROI_RELATION_HEAD_REGISTRY, ContrastiveTerm
from reldn_d2.modeling.region_heads import MeanOverRegion
from reldn_d2.modeling.relation_head import ContrastiveLosses, PairSampler, PublishedPairSampler

from .datasets import load_registered
from .optimizer import relation_optimizer_params
from .protocols import protocols_of_task
from .user_modules import imported_modules

# Class -> beginnings of the modules whose classes of this kind are known.
_KINDS: dict[type, tuple[str, ...]] = {
    nn.Module: ("torch.nn.modules.", "detectron2.modeling.", "detectron2.layers.", "reldn_d2.modeling."),
    Optimizer: ("torch.optim.",),
    ParamScheduler: ("fvcore.common.param_scheduler.", "detectron2.solver."),
    T.Augmentation: ("detectron2.data.transforms.",),
    Transform: ("detectron2.data.transforms.", "fvcore.transforms."),
    Sampler: ("detectron2.data.samplers.",),
    ContrastiveTerm: ("reldn_d2.modeling.",),
}
# Their own configs name code and files.
_EXCLUDED_MODULES = ("detectron2.modeling.mmdet_wrapper",)
_REGISTRIES = (
    *(modeling.META_ARCH_REGISTRY, modeling.BACKBONE_REGISTRY, modeling.PROPOSAL_GENERATOR_REGISTRY),
    *(RPN_HEAD_REGISTRY, modeling.ANCHOR_GENERATOR_REGISTRY, modeling.ROI_HEADS_REGISTRY),
    *(ROI_BOX_HEAD_REGISTRY, modeling.ROI_MASK_HEAD_REGISTRY, modeling.ROI_KEYPOINT_HEAD_REGISTRY),
    *(modeling.SEM_SEG_HEADS_REGISTRY, ROI_RELATION_HEAD_REGISTRY, CONTRASTIVE_TERM_REGISTRY),
)
_ACTIVATIONS: tuple[Any, ...] = (nn.functional.relu, nn.functional.gelu, nn.functional.silu)
# Beginnings of the modules whose layers and blocks may be handed on, and functions that may.
_HANDED_ON_MODULES = ("torch.nn.modules.", "detectron2.layers.", "detectron2.modeling.backbone.")
_HANDED_ON: tuple[Any, ...] = (*_ACTIVATIONS, get_vit_lr_decay_rate, layers.ShapeSpec)
# What else the configs of this package and of Detectron2's model zoo name.
_OTHERS: tuple[Any, ...] = (
    dict,
    *(layers.ShapeSpec, Matcher, Box2BoxTransform, Box2BoxTransformRotated, Box2BoxTransformLinear),
    *(modeling.ResNet.make_stage, modeling.ResNet.make_default_stages, get_vit_lr_decay_rate),
    *_ACTIVATIONS,
    *(data.build_detection_train_loader, data.build_detection_test_loader, data.DatasetMapper),
    filter_images_with_only_crowd_annotations,
    *(evaluation.COCOEvaluator, evaluation.SemSegEvaluator, evaluation.COCOPanopticEvaluator),
    *(evaluation.DatasetEvaluators, get_default_optimizer_params),
    *(load_registered, prepare_training_relations, images_with_entities, predicate_counts),
    *(build_resumable_train_loader, RelationDatasetMapper, RelationEvaluator, BoxEvaluator),
    *(protocols_of_task, relation_optimizer_params),
    *(MeanOverRegion.of_stage, ContrastiveLosses, PairSampler, PublishedPairSampler, *PROTOCOLS.values()),
)

_Part = Callable[..., Any]


def known_parts() -> dict[str, _Part]:
    """Every part that a saved config may name, by its full name, `module.qualname`.

    Parts that projects have registered, and those of modules that the user has imported (`--import`), are
    among them as soon as they exist.
    """
    found = [*_OTHERS, *_of_kinds()]
    for registry in _REGISTRIES:
        found += [part for _, part in registry]
    return {f"{part.__module__}.{part.__qualname__}": part for part in (*found, *_of_user())}


def may_be_handed_on(part: _Part) -> bool:
    """Whether a part may be a value of a saved config, or a partial, which other code calls.

    What the user has imported may be: it is the user's own.
    """
    is_layer = isinstance(part, type) and issubclass(part, nn.Module)
    if is_layer and f"{part.__module__}.".startswith(_HANDED_ON_MODULES):
        return True
    return any(part is known for known in _HANDED_ON) or part in [*_of_user()]


def find_part(name: str, parts: Mapping[str, _Part]) -> _Part | None:
    """The part of this name; None if there is none.

    Args:
        name: full name of a part, or its name in a package above its module, such as "torch.optim.SGD".
        parts: the result of `known_parts`.
    """
    if name in parts:
        return parts[name]
    words = name.split(".")
    same_end = [(full, part) for full, part in parts.items() if full.endswith(f".{words[-1]}")]
    for split in range(len(words) - 1, 0, -1):
        package, rest = ".".join(words[:split]), ".".join(words[split:])
        found = [p for full, p in same_end if full.startswith(f"{package}.") and p.__qualname__ == rest]
        if len(found) == 1:
            return found[0]
        if found:  # the package itself says which of them it means
            return next((part for part in found if _is(package, rest, part)), None)
    return None


def name_of_part(part: Any) -> str | None:
    """The shortest name by which loaded modules know a class or function; None if none of them does."""
    if not isinstance(part, type | FunctionType | BuiltinFunctionType | MethodType):
        return None
    module = getattr(part, "__module__", None)
    if not isinstance(module, str):
        return None
    words = module.split(".")
    for length in range(1, len(words) + 1):
        package = ".".join(words[:length])
        if _is(package, part.__qualname__, part):
            return f"{package}.{part.__qualname__}"
    return None


def _of_kinds() -> Iterator[_Part]:
    for kind, beginnings in _KINDS.items():
        for found in _subclasses(kind):
            module = f"{found.__module__}."
            if module.startswith(beginnings) and not module.startswith(_EXCLUDED_MODULES):
                yield found


def _subclasses(kind: type) -> Iterator[type]:
    remaining, seen = [kind], {kind}
    while remaining:
        children: list[type] = remaining.pop().__subclasses__()
        new = set(children) - seen
        seen |= new
        remaining += new
        yield from new


def _of_user() -> Iterator[_Part]:
    """Classes, their methods, and functions that are defined in modules that the user has imported."""
    for package in imported_modules():
        for name, module in list(sys.modules.items()):
            if name != package and not name.startswith(f"{package}."):
                continue
            for found in list(vars(module).values()):
                if isinstance(found, type | FunctionType) and found.__module__ == name:
                    yield found
                    if isinstance(found, type):
                        yield from _methods(found)


def _methods(kind: type) -> Iterator[_Part]:
    """The static methods and class methods that a class defines."""
    for name, found in vars(kind).items():
        if isinstance(found, staticmethod | classmethod):
            yield getattr(kind, name)


def _is(package: str, path: str, part: Any) -> bool:
    """Whether a loaded module has a part at this path. Nothing is imported for it."""
    found: Any = sys.modules.get(package)
    for name in path.split("."):
        # Modules may import something when they are asked for what they do not have.
        found = getattr(found, name, None) if isinstance(found, type) else _own(found).get(name)
    # A bound method is another object each time.
    return found is part or (isinstance(found, MethodType) and bool(found == part))


def _own(owner: Any) -> Mapping[str, Any]:
    own: Mapping[str, Any] = getattr(owner, "__dict__", {})
    return own
