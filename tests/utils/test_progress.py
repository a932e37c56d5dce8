"""Progress on a terminal and in a log file."""

import logging
import sys
from collections.abc import Iterator
from io import StringIO

import pytest

from reldn_d2.utils.progress import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time in seconds, which a test changes."""
    now = [1000.0]
    monkeypatch.setattr("reldn_d2.utils.progress.time.monotonic", lambda: now[0])
    yield now


class Screen(StringIO):
    """What standard error shows, on a terminal or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_where_there_is_no_terminal_a_line_is_logged_every_half_minute(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", Screen(terminal=False))
    seen = []
    with caplog.at_level(logging.INFO):
        for item in progress(range(10), "images"):
            seen.append(item)
            clock[0] += 12.5
    assert seen == [*range(10)]
    # 37.5 s for 3 images, 75 s for 6 and 112.5 s for 9: 0.08 a second.
    assert caplog.messages == [
        "3 of 10 images, 0.08 a second, 88 s remaining",
        "6 of 10 images, 0.08 a second, 50 s remaining",
        "9 of 10 images, 0.08 a second, 12 s remaining",
    ]
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_a_number_that_nobody_knows_is_not_said(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", Screen(terminal=False))
    with caplog.at_level(logging.INFO):
        for _ in progress(iter(range(6)), "images"):
            clock[0] += 12.5
    assert caplog.messages == ["3 images, 0.08 a second"]


def test_hours_are_shown_as_such(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", Screen(terminal=False))
    with caplog.at_level(logging.INFO):
        items = progress(range(100_001), "images")
        next(items)
        clock[0] += 100.0
        next(items)
    assert caplog.messages == ["1 of 100001 images, 0.01 a second, 115 days, 17:46:40 remaining"]


def test_short_jobs_log_nothing(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", Screen(terminal=False))
    with caplog.at_level(logging.INFO):
        for _ in progress([1, 2, 3], "images"):
            clock[0] += 9.0
        assert [*progress([], "images")] == []
    assert caplog.messages == []


def test_a_long_wait_before_the_first_item_is_no_rate(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stderr", Screen(terminal=False))
    with caplog.at_level(logging.INFO):
        items = progress([1, 2], "images")
        clock[0] += 100.0
        assert next(items) == 1
    assert caplog.messages == []


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    screen = Screen(terminal=True)
    monkeypatch.setattr(sys, "stderr", screen)
    with caplog.at_level(logging.INFO):
        assert [*progress([5, 6, 7], "images")] == [5, 6, 7]
    assert "0/3" in screen.getvalue() and "images" in screen.getvalue()
    assert caplog.messages == []
