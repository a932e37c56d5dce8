"""Ways to run a model: as it was built, or accelerated, in float32 or in bfloat16."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from reldn_d2.modeling.acceleration import Precision, accelerate, as_built, autocast

ModelT = TypeVar("ModelT", bound=nn.Module)


@dataclass(frozen=True)
class Way:
    """How a model runs.

    Attributes:
        accelerated: whether `accelerate` was given the model.
        precision: precision of its products and convolutions.
    """

    accelerated: bool
    precision: Precision = "fp32"

    def __str__(self) -> str:
        name = "accelerated" if self.accelerated else "as built"
        return f"{name}, {self.precision}"

    def prepare(self, model: ModelT) -> ModelT:
        """The same model, made ready for this way. As built, all its poolers are Detectron2's."""
        return accelerate(model) if self.accelerated else as_built(model)

    def autocast(self, device: str) -> AbstractContextManager[Any]:
        """The context in which the model runs."""
        return autocast(device, self.precision)


AS_BUILT = Way(accelerated=False)
AS_BUILT_BF16 = Way(accelerated=False, precision="bf16")
ACCELERATED = Way(accelerated=True)
ACCELERATED_BF16 = Way(accelerated=True, precision="bf16")
