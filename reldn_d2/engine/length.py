"""The length of a resumed training: it may grow, and its learning rate follows the new length."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.engine.hooks import LRScheduler
from detectron2.solver import LRMultiplier
from fvcore.common.param_scheduler import ParamScheduler

from .parts import RunParts


def check_length(parts: RunParts, done: int, source: str) -> None:
    """Checks that a training is not shorter than what is trained already.

    Args:
        parts: parts of the training.
        done: number of iterations of the checkpoint.
        source: file of the checkpoint.

    Raises:
        ValueError: it is shorter.
    """
    if done > parts.max_iter:
        key = parts.keys.max_iter
        raise ValueError(
            f"{key} is {parts.max_iter}, but {source} has trained {done} iterations: set {key} to {done} or "
            "more, or choose another output folder"
        )


def describe_change(
    parts: RunParts,
    saved: Mapping[str, str],
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    done: int,
) -> str:
    """Says what a new length means for the learning rate.

    Args:
        parts: parts of the training.
        saved: `run_identity` of the checkpoint; checkpoints of earlier releases do not all say their length.
        optimizer: the optimizer with the state of the checkpoint.
        scheduler: scheduler of the training, with the state of the checkpoint if it has a state.
        done: number of iterations of the checkpoint.

    Returns:
        A sentence; empty if the length is the same, or the checkpoint does not say it.
    """
    old = saved.get(parts.keys.max_iter)
    if old is None or json.loads(old) == parts.max_iter:
        return ""
    group = LRScheduler.get_best_param_group_id(optimizer)
    before, now = optimizer.param_groups[group]["lr"], _rate(optimizer, scheduler, parts, done, group)
    if now is None:
        rate = "From there the learning rate follows the schedule of the new length"
    elif abs(now - before) <= 1e-6 * abs(before):
        rate = f"The learning rate there is {now:.4g}, as before"
    else:
        rate = (
            f"The learning rate there was {before:.4g} and is now {now:.4g}, since the schedule depends on "
            "the length of the training (a warm-up never takes longer than the training)"
        )
    return (
        f"The training goes on at iteration {done} and ends after {parts.max_iter} instead of {old} "
        f"iterations. {rate}; schedule: {parts.schedule}"
    )


def _rate(
    optimizer: torch.optim.Optimizer, scheduler: Any, parts: RunParts, done: int, group: int
) -> float | None:
    """The learning rate of the schedule after `done` iterations; None if the schedule is of another kind."""
    if isinstance(scheduler, ParamScheduler):
        initial: float = optimizer.param_groups[group]["initial_lr"]
        return initial * float(scheduler(done / parts.max_iter))
    if isinstance(scheduler, LRMultiplier):
        rates: list[float] = scheduler.get_lr()
        return rates[group]
    return None
