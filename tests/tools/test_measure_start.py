"""The command that measures the start runs each step in a process of its own, and prints the least times."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.builders.commands import Captured
from tools import measure_start


def test_every_step_is_run_in_every_turn(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    monkeypatch.setattr(measure_start.resource, "getrusage", lambda _: Usage(len(commands)))
    monkeypatch.setattr(sys, "argv", ["measure_start.py", "--turns", "2"])
    measure_start.main()
    steps = [*measure_start.IMPORTS, *measure_start.PREDICTIONS]
    assert len(commands) == 3 * len(steps)
    assert all(command[0] == sys.executable for command in commands)
    assert commands[2][-1] == "import reldn_d2"
    assert commands[4][4:8] == ["reldn_cli", "predict", "--weights", "scenes-tiny"]
    table = capsys.readouterr().out.splitlines()[2:]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table]
    # Each process takes a second more than the one before; the first turn does not count.
    assert [row[0] for row in rows] == steps
    assert [float(row[1]) for row in rows] == [7.0, 8.0, 9.0, 10.0, 11.0, 12.0]
    assert [float(row[2]) for row in rows] == [7.0, 1.0, 1.0, 1.0, 1.0, 1.0]


class Usage:
    """Processor time after some processes, of which the n-th takes n seconds."""

    def __init__(self, processes: int) -> None:
        self.ru_utime: Any = processes * (processes + 1) / 2
        self.ru_stime = 0.0
