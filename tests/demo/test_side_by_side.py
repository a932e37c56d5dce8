"""Steps in processes of their own: what they say, what they leave, and how they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from reldn_d2.checkpoint.finite import NotFiniteError
from reldn_d2.demo.side_by_side import NamedLines, run_side_by_side
from reldn_d2.demo.steps import Command, Steps
from tests.builders.tiny_models import REPOSITORY


class StrangeError(Exception):
    """An error that can't be sent to another process."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def call(words: Sequence[str]) -> None:
    """A command: writes its process and its threads to a file; or fails, is killed, or goes on for ever."""
    what, file = words
    print(f"{what} begins")
    while what not in ("train", "endless") and not _has_text(Path("demo/c.txt")):
        time.sleep(0.05)  # the other process has to be there, to be ended
    if what == "wrong":
        raise ValueError("no such key")
    if what == "diverged":
        raise NotFiniteError("the loss is NaN")
    if what == "strange":
        raise StrangeError("a", "b")
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    Path(file).write_text(f"{os.getpid()} {torch.get_num_threads()}")
    while what == "endless":
        time.sleep(0.05)


def _has_text(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def command(name: str, what: str = "train") -> Command:
    return Command(name, [what, f"demo/{name}.txt"], Path(f"demo/{name}.txt"))


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Two threads, which make two processes, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def run(*lists: list[Command]) -> Steps:
    steps = Steps(Path("demo"), 3, call)
    run_side_by_side(steps, lists)
    return steps


def written(name: str) -> tuple[int, int]:
    """The process of a command and its threads."""
    process, threads = Path(f"demo/{name}.txt").read_text().split()
    return int(process), int(threads)


def test_lists_run_in_processes_of_their_own_that_share_the_threads(
    capfd: pytest.CaptureFixture[str],
) -> None:
    steps = run([command("a"), command("b")], [command("c")])
    assert [step.command for step in steps.done] == [f"reldn train demo/{name}.txt" for name in "abc"]
    assert written("a") == written("b") != written("c")
    assert os.getpid() not in (written("a")[0], written("c")[0])
    assert {written(name)[1] for name in "abc"} == {1}
    lines = capfd.readouterr().out.splitlines()
    assert {"a: train begins", "b: train begins", "c: train begins"} <= {*lines}
    assert "b: === step 2 of 3: reldn train demo/b.txt" in lines
    assert "c: === step 3 of 3: reldn train demo/c.txt" in lines


def test_with_one_thread_everything_runs_here() -> None:
    torch.set_num_threads(1)
    steps = run([command("a"), command("b")], [command("c")])
    assert len(steps.done) == 3
    assert {written(name) for name in "abc"} == {(os.getpid(), 1)}


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("wrong", ValueError, "no such key"),
        pytest.param("diverged", NotFiniteError, "the loss is NaN", marks=pytest.mark.slow),
        pytest.param("strange", RuntimeError, "StrangeError: ab", marks=pytest.mark.slow),
        pytest.param("killed", OSError, "ended from outside", marks=pytest.mark.slow),
    ],
)
def test_an_error_ends_the_other_process_and_reaches_the_user(
    what: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        run([command("a"), command("b", what)], [command("c", "endless")])
    if what != "killed":
        assert "raise " in str(caught.value.__cause__)  # where it happened in the other process
    with pytest.raises(ProcessLookupError):
        os.kill(written("c")[0], 0)
    # What was finished is kept.
    assert [path.stem for path in Path("demo/steps").iterdir()] == ["a"]


PROGRAM = """
import sys
from pathlib import Path
import torch
from reldn_d2.demo.side_by_side import run_side_by_side
from reldn_d2.demo.steps import Steps
from tests.demo.test_side_by_side import call, command
if __name__ == "__main__":
    torch.set_num_threads(2)
    try:
        run_side_by_side(Steps(Path("demo"), 2, call), [[command("a", "endless")], [command("b", "endless")]])
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_demo(by: signal.Signals) -> None:
    Path("program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    # A group of its own, as a command in a terminal has: Ctrl-C reaches all of its processes.
    demo = subprocess.Popen(
        [sys.executable, "program.py"],
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not all(_has_text(Path(f"demo/{name}.txt")) for name in "ab"):
            assert demo.poll() is None
            time.sleep(0.05)
        if by == signal.SIGINT:
            os.killpg(demo.pid, by)
        else:
            demo.kill()
        _, errors = demo.communicate()  # until the last process has closed the stream
    finally:
        demo.kill()
    assert demo.returncode == (130 if by == signal.SIGINT else -by)
    assert "Traceback" not in errors


def test_whole_lines_get_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    stream = NamedLines(sys.stdout)
    stream.name = "train"
    print("one\n\ntwo", "words", file=stream)
    print("thr", end="", file=stream)
    assert capsys.readouterr().out == "train: one\ntrain: two words\n"
    print("ee", file=stream)
    assert capsys.readouterr().out == "train: three\n"
    assert not stream.isatty()
