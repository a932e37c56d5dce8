"""Learning rates and weight decay of RelDN's parameters."""

from typing import Any

from detectron2.solver import get_default_optimizer_params
from detectron2.solver.build import reduce_param_groups
from torch import nn

from reldn_d2.modeling import RelDN


def relation_optimizer_params(
    model: nn.Module,
    *,
    base_lr: float,
    weight_decay: float,
    weight_decay_norm: float = 0.0,
    weight_decay_bias: float | None = None,
    bias_lr_factor: float = 1.0,
    predicate_backbone_lr_factor: float = 0.1,
) -> list[dict[str, Any]]:
    """Parameter groups of an optimizer: those of Detectron2, with a lower rate for the predicate backbone.

    Args:
        model: RelDN or a detector, before it is wrapped for several processes.
        base_lr: learning rate.
        weight_decay: weight decay of all parameters except those of normalisation layers, biases and those
            that the relation head treats like biases, such as RelDN's semantic table, which have none.
        weight_decay_norm: weight decay of normalisation layers.
        weight_decay_bias: weight decay of biases; None: that of their layer.
        bias_lr_factor: factor of the learning rate for biases and `RelationHead.bias_like_parameters`.
        predicate_backbone_lr_factor: factor of the learning rate for the predicate backbone and
            `RelationHead.slow_parameters`, which start from the detector's weights.

    Raises:
        ValueError: the model has nothing to train.
    """
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            "this config has nothing to train: with the semantic module alone, run with --eval-only"
        )

    slow, bias_like = _slow(model), _bias_like(model)
    parameters = {
        f"{path}.{name}": parameter
        for path, module in model.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
    }

    def factor(name: str) -> float:
        parameter = parameters[name]
        is_bias = name.endswith(".bias") or parameter in bias_like
        return (predicate_backbone_lr_factor if parameter in slow else 1.0) * (
            bias_lr_factor if is_bias else 1.0
        )

    groups = get_default_optimizer_params(
        model,
        base_lr=base_lr,
        weight_decay=weight_decay,
        weight_decay_norm=weight_decay_norm,
        lr_factor_func=factor,
        overrides={"bias": {} if weight_decay_bias is None else {"weight_decay": weight_decay_bias}},
    )
    # Detectron2 can override the weight decay by the last part of a name only.
    settings = {
        parameter: {**group, "params": [parameter]} for group in groups for parameter in group["params"]
    }
    for parameter in bias_like & settings.keys():
        settings[parameter]["weight_decay"] = 0.0
    ordered = [settings[parameter] for parameter in model.parameters() if parameter in settings]
    reduced: list[dict[str, Any]] = reduce_param_groups(ordered)
    if isinstance(model, RelDN):
        model.training_setup.has_own_rates = True
    return reduced


def _slow(model: nn.Module) -> set[nn.Parameter]:
    if not isinstance(model, RelDN):
        return set()
    backbone = () if model.relation_backbone is None else model.relation_backbone.parameters()
    return {*backbone, *model.relation_head.slow_parameters()}


def _bias_like(model: nn.Module) -> set[nn.Parameter]:
    return set(model.relation_head.bias_like_parameters()) if isinstance(model, RelDN) else set()
