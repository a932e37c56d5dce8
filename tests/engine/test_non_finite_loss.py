"""A loss that is not finite stops a training with one error, before anything is saved or evaluated."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.engine import AMPTrainer, DefaultTrainer, HookBase, hooks
from torch import Tensor

from reldn_d2.checkpoint.finite import NotFiniteError
from reldn_d2.engine import RelationTraining, Trainer, setup
from tests.builders.broken_losses import Change, ChangedLosses, diverges, times
from tests.builders.tiny_models import TinyConfig
from tests.builders.tiny_runs import KINDS, arguments


class Foreign(RelationTraining, DefaultTrainer):
    """What another project writes."""


class Steps(HookBase):
    """Counts what a training does, and whether it was closed."""

    def __init__(self) -> None:
        self.steps, self.closed = 0, False

    def after_step(self) -> None:
        self.steps += 1

    def after_train(self) -> None:
        self.closed = True


def trained(trainer: DefaultTrainer, change: Change, iteration: int) -> tuple[str, Steps]:
    """The error of a training whose losses are changed in one iteration."""
    steps = Steps()
    trainer.register_hooks([ChangedLosses(change, iteration), steps])
    trainer.resume_or_load(resume=False)
    with pytest.raises(NotFiniteError) as error:
        trainer.train()
    assert not trainer.model._forward_hooks and not trainer.model._forward_pre_hooks
    return str(error.value), steps


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The iterations of evaluations, which are not done."""
    done: list[int] = []
    monkeypatch.setattr(hooks.EvalHook, "_do_eval", lambda hook: done.append(hook.trainer.iter))
    yield done


def run(kind: str, weights: str, folder: Path, *more: str, **settings: Any) -> Trainer:
    return Trainer(setup(arguments(kind, *more, weights=weights, output=folder, seed=1, **settings)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_names_everything(kind: str, weights: str, tmp_path: Path, evaluations: list[int]) -> None:
    trainer = run(kind, weights, tmp_path / "run")
    message, steps = trained(trainer, times(torch.nan), 1)
    keys = trainer.parts.keys
    assert "\n" not in message
    assert message.startswith(
        "the loss is not finite in iteration 1: loss_rel_class_agnostic is nan, loss_rel_"
    )
    assert all(f" {name} is " in message for name in ("loss_rel_entity_class", "loss_rel_cross_entropy"))
    assert message.count(".png (image_id ") == 2
    assert f"Learning rate: 0.001; {keys.base_lr} / {keys.batch_size} is 0.001 / 2. Nothing" in message
    assert "there is no checkpoint yet. If the losses in metrics.json grew before, start a new" in message
    assert f"a lower {keys.base_lr} " in message and f"({keys.clip_gradients})" in message
    assert steps.steps == 1 and steps.closed
    assert not list((tmp_path / "run").glob("*.pth")) and evaluations == []


@pytest.mark.parametrize(("kind", "factor"), [(Trainer, torch.nan), (Foreign, torch.inf)])
def test_the_last_iteration_saves_and_evaluates_nothing(
    kind: type[Trainer], factor: float, tiny_config: TinyConfig, weights: str, evaluations: list[int]
) -> None:
    cfg = tiny_config("MODEL.WEIGHTS", weights, "SOLVER.CHECKPOINT_PERIOD", "1", "TEST.EVAL_PERIOD", "1")
    message, steps = trained(kind(cfg), times(factor), 1)
    assert f"is {factor}, " in message
    output = Path(cfg.OUTPUT_DIR)
    assert [file.name for file in output.glob("*.pth")] == ["model_0000000.pth"]
    assert f"the last checkpoint is {output / 'model_0000000.pth'}. If" in message
    assert steps.steps == 1 and steps.closed and evaluations == [0]


def test_an_error_of_the_model_gets_the_same_words(tiny_config: TinyConfig, weights: str) -> None:
    message, _ = trained(Foreign(tiny_config("MODEL.WEIGHTS", weights)), diverges, 0)
    assert (
        "iteration 0: Predicted boxes or scores contain Inf/NaN. Training has diverged; its images" in message
    )


def broken_gradient(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss is finite, but its gradient is not."""
    name = next(iter(losses))
    return {**losses, name: losses[name] + (losses[name] * 0).sqrt()}


@pytest.mark.parametrize("period", ["1", "5000"])
def test_weights_that_are_not_finite_are_not_saved(
    period: str, tiny_config: TinyConfig, weights: str, evaluations: list[int]
) -> None:
    """The loss was finite, and the gradient was not."""
    cfg = tiny_config("MODEL.WEIGHTS", weights, "SOLVER.CHECKPOINT_PERIOD", period, "SOLVER.MAX_ITER", "3")
    message, steps = trained(Foreign(cfg), broken_gradient, 1)
    if period == "1":
        assert "after iteration 1 " in message and "though its loss was finite. Learning rate" in message
        assert [file.name for file in Path(cfg.OUTPUT_DIR).glob("*.pth")] == ["model_0000000.pth"]
    else:
        assert "the loss is not finite in iteration 2" in message
        assert " parameters are not finite (rel" in message and "already before this step" in message
        assert not list(Path(cfg.OUTPUT_DIR).glob("*.pth"))
    assert evaluations == [] and steps.closed


def test_an_interrupted_last_iteration_is_not_evaluated(
    tiny_config: TinyConfig, weights: str, evaluations: list[int]
) -> None:
    def interrupt(_: dict[str, Tensor]) -> dict[str, Tensor]:
        raise KeyboardInterrupt

    trainer = Foreign(tiny_config("MODEL.WEIGHTS", weights))
    trainer.register_hooks([ChangedLosses(interrupt, 1)])
    trainer.resume_or_load(resume=False)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.iter == 1 and evaluations == []


class FakeScaler:
    """Skips steps with gradients that are not finite, as PyTorch's GradScaler does."""

    def __init__(self) -> None:
        self.skipped = 0

    def scale(self, loss: Tensor) -> Tensor:
        return loss * 1e38

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        self.skipped += 1

    def update(self) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step():UserWarning")
def test_a_step_that_mixed_precision_skips_does_not_stop(
    tiny_config: TinyConfig, weights: str, monkeypatch: pytest.MonkeyPatch, evaluations: list[int]
) -> None:
    trainer = Foreign(tiny_config("MODEL.WEIGHTS", weights))
    simple, scaler = trainer._trainer, FakeScaler()
    trainer._trainer = AMPTrainer(simple.model, simple.data_loader, simple.optimizer, grad_scaler=scaler)
    trainer.resume_or_load(resume=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # AMPTrainer asks for it
    monkeypatch.setattr("torch.cuda.amp.autocast", lambda dtype: nullcontext())
    trainer.register_hooks([ChangedLosses(times(torch.nan), 1)])
    with pytest.raises(NotFiniteError, match="the loss is not finite in iteration 1"):
        trainer.train()
    gradients = [x.grad for x in trainer.model.parameters() if x.grad is not None]
    assert scaler.skipped == 1 and any(not x.isfinite().all() for x in gradients)
