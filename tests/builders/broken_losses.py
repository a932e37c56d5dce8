"""Losses that are not finite."""

from collections.abc import Callable
from typing import Any

from detectron2.engine import HookBase
from torch import Tensor

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class ChangedLosses(HookBase):
    """Changes the losses of one iteration. Detectron2's hooks can't, so it replaces the model's `forward`."""

    def __init__(self, change: Change, iteration: int) -> None:
        """Sets what makes other losses, and when."""
        self._change, self._iteration = change, iteration

    def before_train(self) -> None:
        """Replaces `forward`."""
        trainer = self.trainer
        model = trainer.checkpointer.model
        forward = model.forward

        def changed(inputs: list[dict[str, Any]]) -> Any:
            found = forward(inputs)
            return self._change(found) if model.training and trainer.iter == self._iteration else found

        model.forward = changed


def times(factor: float) -> Change:
    """Multiplies one loss."""

    def change(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        name = next(iter(losses))
        return {**losses, name: losses[name] * factor}

    return change


def diverges(_: dict[str, Tensor]) -> dict[str, Tensor]:
    """What Detectron2's RPN does with boxes that are not finite."""
    raise FloatingPointError("Predicted boxes or scores contain Inf/NaN. Training has diverged.")
