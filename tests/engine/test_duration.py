"""A training says once how long it will take."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from detectron2.utils.events import EventStorage

from reldn_d2.engine.duration import ExpectedDuration


def said(caplog: pytest.LogCaptureFixture, start: int, max_iter: int, times: list[float]) -> list[str]:
    """What the hook says in a training whose iterations take these seconds."""
    trainer: Any = SimpleNamespace(
        iter=start, start_iter=start, max_iter=max_iter, storage=EventStorage(start)
    )
    hook = ExpectedDuration(measured=5)
    hook.trainer = trainer
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="reldn_d2"):
        for trainer.iter, seconds in enumerate(times, start):
            trainer.storage.put_scalar("time", seconds)
            hook.after_step()
    return caplog.messages


def test_it_counts_the_iterations_that_are_left(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = said(caplog, 0, 365, [9.0, 2.0, 2.0, 2.0, 2.0, 7.0, 7.0])
    assert message.startswith("2 s an iteration: about 0:12:00 to go, until ")
    assert message.endswith(", evaluations not counted")
    (message,) = said(caplog, 100, 365, [0.5] * 20)
    assert "about 0:02:10 to go" in message


@pytest.mark.parametrize("times", [[1.0] * 4, [1.0] * 5])
def test_a_short_training_says_nothing(times: list[float], caplog: pytest.LogCaptureFixture) -> None:
    assert said(caplog, 0, len(times), times) == []
