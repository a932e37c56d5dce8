"""A stopped evaluation of folders goes on where it was, and leaves nothing behind at its end."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reldn_d2.evaluation import evaluate_folders
from reldn_d2.evaluation.streaming import evaluation, matching
from reldn_d2.evaluation.streaming.evaluation import UNFINISHED
from tests.builders.many_graphs import many_graphs, write_annotations, write_predictions
from tests.builders.tiny_models import REPOSITORY

GRAPHS = many_graphs("sgdet", 40)
PROTOCOLS = ["motifs", "openimages"]
LOGGER = evaluation.__name__

# A file for --import. It ends a process of the command after some finished parts.
_KILLER = """
import multiprocessing, os, signal
from reldn_d2.evaluation.streaming import evaluation

in_processes = evaluation.in_processes


def counted(*args):
    for done, result in enumerate(in_processes(*args)):
        yield result
        if done == {after}:
            os.kill({victim}, signal.SIGKILL)


evaluation.in_processes = counted
"""
MAIN_PROCESS, WORKER = "os.getpid()", "multiprocessing.active_children()[0].pid"


class KilledError(BaseException):
    """Ends an evaluation as a signal does."""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write_predictions(tmp_path / "predictions", GRAPHS, 11),
        write_annotations(tmp_path / "annotations", GRAPHS.truths, 4),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def expected(folders: tuple[Path, Path], tmp_path: Path) -> dict[str, bytes]:
    """The files of an evaluation that was never stopped."""
    evaluate_folders(*folders, PROTOCOLS, tmp_path / "expected")
    return contents(tmp_path / "expected")


@pytest.fixture
def matched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Numbers of the parts that were matched. Add -1 to be killed after three more."""
    found: list[int] = []
    save = matching.save_records

    def counted(folder: Path, number: int, *args: object) -> None:
        save(folder, number, *args)
        found.append(number)
        if -1 in found and len(found) - found.index(-1) > 3:
            raise KilledError

    monkeypatch.setattr(matching, "save_records", counted)
    yield found


@pytest.fixture
def stopped(folders: tuple[Path, Path], matched: list[int], tmp_path: Path) -> Path:
    """The output folder of an evaluation that was killed after three of ten parts."""
    matched.append(-1)
    with pytest.raises(KilledError):
        evaluate_folders(*folders, PROTOCOLS, tmp_path / "results")
    assert matched == [-1, 0, 1, 2]
    matched.clear()
    return tmp_path / "results"


def test_only_the_other_parts_are_matched(
    folders: tuple[Path, Path],
    expected: dict[str, bytes],
    stopped: Path,
    matched: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        evaluate_folders(*folders, PROTOCOLS, stopped)
    assert matched == [3, 4, 5, 6, 7, 8, 9]
    assert "3 of 10 parts were compared before" in caplog.text
    assert contents(stopped) == expected


def test_a_damaged_file_of_records_is_made_again(
    folders: tuple[Path, Path], expected: dict[str, bytes], stopped: Path, matched: list[int]
) -> None:
    half = stopped / UNFINISHED / "part-000001.npz"
    half.write_bytes(half.read_bytes()[:-50])
    evaluate_folders(*folders, PROTOCOLS, stopped)
    assert matched == [1, 3, 4, 5, 6, 7, 8, 9]
    assert contents(stopped) == expected


def test_restart(
    folders: tuple[Path, Path], expected: dict[str, bytes], stopped: Path, matched: list[int]
) -> None:
    evaluate_folders(*folders, PROTOCOLS, stopped, restart=True)
    assert matched == list(range(10))
    assert contents(stopped) == expected


def test_the_first_part_of_another_evaluation_is_refused(folders: tuple[Path, Path], stopped: Path) -> None:
    before = contents(stopped / UNFINISHED)
    with pytest.raises(ValueError, match="protocols was motifs openimages, now motifs") as caught:
        evaluate_folders(*folders, ["motifs"], stopped)
    assert f"{stopped / UNFINISHED} has the first part of another evaluation" in str(caught.value)
    assert "add --restart" in str(caught.value)
    path = folders[0] / "part-000003.npz"
    path.unlink()
    with pytest.raises(ValueError, match=r"predictions \(sha256\) was .*, now ") as caught:
        evaluate_folders(*folders, PROTOCOLS, stopped, allow_missing=True)
    assert "annotations (sha256)" not in str(caught.value)
    assert contents(stopped / UNFINISHED) == before


def test_what_is_deleted_is_no_link(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / UNFINISHED).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="unfinished is a link"):
        evaluate_folders(*folders, PROTOCOLS, tmp_path / "results")


def run(folders: tuple[Path, Path], output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        *("evaluate", "--predictions", folders[0], "--annotations", folders[1], "--output", output),
        *("--protocol", *PROTOCOLS, *words),
    ]
    return subprocess.run(
        [sys.executable, "-m", "reldn_cli", *map(str, command)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "status"), [(MAIN_PROCESS, -signal.SIGKILL), (WORKER, 2)])
def test_a_killed_process(
    folders: tuple[Path, Path], expected: dict[str, bytes], tmp_path: Path, victim: str, status: int
) -> None:
    (tmp_path / "killer.py").write_text(_KILLER.format(after=2, victim=victim))
    killer = ("--import", str(tmp_path / "killer.py"))
    killed = run(folders, tmp_path / "results", "--processes", "2", *killer)
    assert killed.returncode == status, killed.stderr
    if victim == WORKER:
        assert "error: a worker process was ended from outside" in killed.stderr
    saved = contents(tmp_path / "results" / UNFINISHED)
    assert 3 <= len(saved) < 10
    ended = run(folders, tmp_path / "results")  # with one process
    assert ended.returncode == 0, ended.stderr
    assert "of 10 parts were compared before" in ended.stdout + ended.stderr
    assert contents(tmp_path / "results") == expected
