import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from reldn_d2.demo import steps
from reldn_d2.demo.steps import Steps, shell_text


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands that were called. A command writes its last word as a file."""
    found: list[list[str]] = []

    def call(words: Sequence[str]) -> None:
        found.append([*words])
        Path(words[-1]).write_text("result")

    monkeypatch.setattr(steps, "_call", call)
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    return found


def make_older(path: Path, seconds: float) -> None:
    time = path.stat().st_mtime - seconds
    os.utime(path, (time, time))


WORDS = ["train", "--output", "demo/model.pth"]
RESULT = Path("demo/model.pth")


def test_a_finished_step_is_kept(calls: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = Steps(Path("demo")), Steps(Path("demo"))
    first.run("train", WORDS, RESULT)
    assert calls == [WORDS]
    assert "=== reldn train --output demo/model.pth" in capsys.readouterr().out
    second.run("train", WORDS, RESULT)
    assert calls == [WORDS]
    assert second.done == first.done
    assert "demo/model.pth exists and is kept" in capsys.readouterr().out


def test_records_hold_in_another_working_directory(
    calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Steps(Path("demo")).run("train", WORDS, RESULT)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    moved = Steps(Path("../demo"))
    moved.run("train", ["train", "--output", "../demo/model.pth"], Path("../demo/model.pth"))
    assert len(calls) == 1
    assert [step.command for step in moved.done] == ["reldn train --output ../demo/model.pth"]


def test_results_of_another_command_are_refused(calls: list[list[str]]) -> None:
    Steps(Path("demo")).run("train", WORDS, RESULT)
    with pytest.raises(ValueError, match=r"demo/model.pth was made by another command.*delete demo"):
        Steps(Path("demo")).run("train", ["train", "--seed", "2", *WORDS[1:]], RESULT)
    assert len(calls) == 1


def test_results_that_are_older_than_their_inputs_are_refused(calls: list[list[str]]) -> None:
    source = Path("demo/detector.pth")
    source.write_text("weights")
    Steps(Path("demo")).run("train", WORDS, RESULT, [source])
    make_older(source, 100)
    Steps(Path("demo")).run("train", WORDS, RESULT, [source])
    make_older(RESULT, 200)
    with pytest.raises(ValueError, match="changed later"):
        Steps(Path("demo")).run("train", WORDS, RESULT, [source])
    assert len(calls) == 1


def test_a_step_that_did_not_finish_runs_again(
    calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(words: Sequence[str]) -> None:
        RESULT.write_text("half")
        raise ValueError("no such key")

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="no such key"):
        patch.setattr(steps, "_call", fail)
        Steps(Path("demo")).run("train", WORDS, RESULT)
    Steps(Path("demo")).run("train", WORDS, RESULT)
    assert calls == [WORDS]
    RESULT.unlink()
    Steps(Path("demo")).run("train", WORDS, RESULT)
    assert calls == [WORDS, WORDS]


def test_a_record_names_the_command_without_the_folder(calls: list[list[str]]) -> None:
    Steps(Path("demo")).run("train", WORDS, RESULT)
    record = json.loads(Path("demo/steps/train.json").read_text())
    assert record["command"] == "reldn train --output OUTPUT/model.pth"


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("plain", "plain"),
        ("two words", "'two words'"),
        ("('scenes',)", "\"('scenes',)\""),
        ("it's $HOME", "'it'\"'\"'s $HOME'"),
    ],
)
def test_words_are_quoted_for_a_shell(word: str, text: str) -> None:
    assert shell_text(["reldn", word]) == f"reldn {text}"
