"""A training loop in a precision that needs no gradient scaler."""

import time
from typing import Any

from detectron2.engine import SimpleTrainer
from torch import Tensor, nn

from reldn_d2.modeling.acceleration import Precision, autocast


class AutocastTrainer(SimpleTrainer):
    """Detectron2's SimpleTrainer whose forward pass is in a precision, on any device that has it.

    Detectron2's AMPTrainer needs CUDA, and scales gradients. bfloat16 has the exponents of float32, so no
    gradient is too small for it. Weights, gradients and losses are float32.
    """

    def __init__(self, model: nn.Module, *args: Any, precision: Precision, **kwargs: Any) -> None:
        """Starts.

        Args:
            model: the model, which may be wrapped for several processes.
            args, kwargs: further arguments of SimpleTrainer.
            precision: precision of the forward pass.
        """
        super().__init__(model, *args, **kwargs)
        self.precision = precision

    def run_step(self) -> None:
        """Trains for one step: data, losses in the precision, gradients, optimizer."""
        assert self.model.training, "the model was set to eval mode"
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        with autocast(next(self.model.parameters()).device, self.precision):
            losses = self.model(data)
        if isinstance(losses, Tensor):
            losses = {"total_loss": losses}
        total = sum(losses.values())
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        total.backward()
        self.after_backward()
        if self.async_write_metrics:
            self.concurrent_executor.submit(self._write_metrics, losses, data_time, iter=self.iter)
        else:
            self._write_metrics(losses, data_time)
        self.optimizer.step()
