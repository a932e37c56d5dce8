"""Learning rates and weight decay of RelDN's parameters."""

from typing import Any

from detectron2.solver import get_default_optimizer_params
from torch import nn

from reldn_d2.modeling import RelDN

# Parts that the published recipe trains at a lower rate, because they start from the detector's weights.
_SLOW_PARTS = ("relation_backbone.", "relation_head.pair_classifier.predicate_head.")


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
        weight_decay: weight decay of all parameters except those of normalisation layers, biases and the
            semantic table, which has none.
        weight_decay_norm: weight decay of normalisation layers.
        weight_decay_bias: weight decay of biases; None: that of their layer.
        bias_lr_factor: factor of the learning rate for biases, and for the semantic table if it is trained.
        predicate_backbone_lr_factor: factor of the learning rate for the predicate backbone and its box head.

    Raises:
        ValueError: the model has nothing to train.
    """
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            "this config has nothing to train: with the semantic module alone, run with --eval-only"
        )

    def factor(name: str) -> float:
        slow = predicate_backbone_lr_factor if name.startswith(_SLOW_PARTS) else 1.0
        # The published code trains the table like a bias.
        bias = bias_lr_factor if name.endswith((".bias", ".log_prior")) else 1.0
        return slow * bias

    groups: list[dict[str, Any]] = get_default_optimizer_params(
        model,
        base_lr=base_lr,
        weight_decay=weight_decay,
        weight_decay_norm=weight_decay_norm,
        lr_factor_func=factor,
        overrides={
            "bias": {} if weight_decay_bias is None else {"weight_decay": weight_decay_bias},
            "log_prior": {"weight_decay": 0.0},
        },
    )
    if isinstance(model, RelDN):
        model.training_setup.has_own_rates = True
    return groups
