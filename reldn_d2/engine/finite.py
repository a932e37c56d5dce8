"""A training whose loss is not finite stops in all processes, before anything of it is saved."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.engine import DefaultTrainer
from detectron2.engine.hooks import LRScheduler
from detectron2.utils import comm
from torch import Tensor, distributed, nn

from reldn_d2.checkpoint.finite import FiniteWeights, NotFiniteError, listed

from .parts import RunParts
from .run import last_checkpoint


@dataclass(frozen=True)
class _Trouble:
    """What went wrong in the forward pass of one process.

    Attributes:
        process: number of the process.
        what: the losses, or the error of the model.
        images: the images of its batch.
    """

    process: int
    what: str
    images: str

    def __str__(self) -> str:
        where = f"process {self.process}: " if comm.get_world_size() > 1 else ""
        return f"{where}{self.what}; its images: {self.images}"


class FiniteTraining(DefaultTrainer):
    """Stops a training with `NotFiniteError` if a loss, or a weight that would be saved, is not finite.

    At the end of each forward pass of the training the processes exchange one number. So all of them stop in
    the same step, and before the backward pass, in which they would wait for each other.

    It is a base class of trainers that have `parts` and `checkpointer`.
    """

    parts: RunParts
    checkpointer: Any
    iter: int
    _watching: Sequence[Any] = ()
    _batch: Any = None  # of the forward pass whose losses are not yet checked

    def before_train(self) -> None:
        """Watches the forward passes, until `after_train`."""
        model: nn.Module = self.model
        self._weights = FiniteWeights(self.checkpointer.model)
        # Functions: a copy of the model must not copy the trainer.
        self._watching = (
            model.register_forward_pre_hook(lambda _, inputs: self._begin(inputs)),
            model.register_forward_hook(lambda *call: self._check_losses(call[-1])),
        )
        super().before_train()

    def run_step(self) -> None:
        """Trains for one step.

        Raises:
            NotFiniteError: a loss is not finite in one of the processes, or the model found that it computes
                with numbers that are not.
        """
        try:
            super().run_step()
        except FloatingPointError as error:
            if self._batch is None:
                raise
            # The model itself raised it, while other processes may be about to exchange their number.
            what = str(error).rstrip(".")
            self._stop_together(torch.ones((), device=_device_of(self.model)), lambda: what)

    def after_step(self) -> None:
        """Checks weights that are about to be saved or evaluated, and calls the hooks.

        Raises:
            NotFiniteError: weights are not finite. They are the same in all processes.
        """
        done = self.iter + 1
        periods = (self.parts.checkpoint_options.get("period", 0), self.parts.eval_period)
        if done == self.max_iter or any(period > 0 and done % period == 0 for period in periods):
            broken = self._broken_weights()
            if broken:
                raise NotFiniteError(
                    f"after iteration {self.iter} {broken}, though its loss was finite. {self._remedy()}"
                )
        super().after_step()

    def after_train(self) -> None:
        """Calls the hooks for the last time. A training that failed is not evaluated."""
        for handle in self._watching:
            handle.remove()
        self._watching, self._batch = (), None
        reached = self.iter
        # Detectron2's EvalHook takes a failure in the last iteration for the end of the training. So the
        # hooks get the last iteration that is complete.
        self.iter = reached if reached >= self.max_iter else reached - 1
        try:
            super().after_train()
        finally:
            self.iter = reached

    def _trains(self) -> bool:
        """Whether a forward pass is one of the training, not of an evaluation or of batch normalisation."""
        return self.model.training and torch.is_grad_enabled()

    def _begin(self, inputs: Sequence[Any]) -> None:
        self._batch = inputs[0] if inputs and self._trains() else None

    def _check_losses(self, losses: Any) -> None:
        named = {"total_loss": losses} if isinstance(losses, Tensor) else losses
        if self._batch is None or not isinstance(named, Mapping) or not named:
            return
        # As float32, since finite losses in half precision may have an infinite sum.
        total = torch.stack([x.detach().float().sum() for x in named.values()]).sum()
        self._stop_together(
            (~total.isfinite()).float(),
            lambda: ", ".join(f"{name} is {float(x.detach().sum()):.4g}" for name, x in named.items()),
        )

    def _stop_together(self, failed: Tensor, what: Callable[[], str]) -> None:
        """Raises in all processes if one has failed. Each process must call it once for a forward pass.

        Args:
            failed: one number, 1 if this process has failed, otherwise 0.
            what: says what has failed here.
        """
        batch, self._batch = self._batch, None
        any_failed = failed.clone()
        if comm.get_world_size() > 1:
            distributed.all_reduce(any_failed, distributed.ReduceOp.MAX)
        if not any_failed.item():
            return
        mine = _Trouble(comm.get_rank(), what(), _images(batch)) if failed.item() else None
        troubles = "; ".join(str(trouble) for trouble in comm.all_gather(mine) if trouble is not None)
        broken = self._broken_weights()
        before = f". {broken} already before this step".capitalize() if broken else ""
        raise NotFiniteError(
            f"the loss is not finite in iteration {self.iter}: {troubles}{before}. {self._remedy()}"
        )

    def _broken_weights(self) -> str:
        """Says which trained parameters are not finite; empty if all are."""
        model: nn.Module = self.checkpointer.model
        trained = {name: x for name, x in model.named_parameters() if x.requires_grad}
        names = self._weights.broken(trained)
        return f"{len(names)} parameters are not finite ({listed(names)})" if names else ""

    def _remedy(self) -> str:
        parts, optimizer = self.parts, self.optimizer
        keys, rate = parts.keys, optimizer.param_groups[LRScheduler.get_best_param_group_id(optimizer)]["lr"]
        of_run = ""
        if parts.base_lr is not None and parts.batch_size is not None:
            of_run = f"; {keys.base_lr} / {keys.batch_size} is {parts.base_lr:g} / {parts.batch_size}"
        last = last_checkpoint(parts)
        return (
            f"Learning rate: {rate:.4g}{of_run}. Nothing of this step is saved; "
            f"{f'the last checkpoint is {last}' if last else 'there is no checkpoint yet'}. If the losses in "
            f"metrics.json grew before, start a new training with a lower {keys.base_lr} (in proportion to "
            f"{keys.batch_size}), or clip gradients ({keys.clip_gradients}). Otherwise look at the named "
            "images and their annotations (`reldn check`)"
        )


def _device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _images(batch: Any) -> str:
    """The file names and ids of a batch of Detectron2's form."""
    if not isinstance(batch, Sequence) or not all(isinstance(image, Mapping) for image in batch):
        return f"unknown, the batch is a {type(batch).__name__}"
    known = ([image.get("file_name", "no file"), f"image_id {image.get('image_id')}"] for image in batch)
    return ", ".join(f"{file} ({number})" for file, number in known)
