import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from reldn_d2.demo.steps import Command, Steps, shell_text


class Calls(list[list[str]]):
    """The commands that were called. A command writes its last word as a file."""

    def __call__(self, words: Sequence[str]) -> None:
        self.append([*words])
        Path(words[-1]).write_text("result")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    return Calls()


def make_older(path: Path, seconds: float) -> None:
    time = path.stat().st_mtime - seconds
    os.utime(path, (time, time))


WORDS = ["train", "--output", "demo/model.pth"]
RESULT = Path("demo/model.pth")
TRAIN = Command("train", WORDS, RESULT)


def test_a_finished_step_is_kept(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = Steps(Path("demo"), 2, calls), Steps(Path("demo"), 2, calls)
    first.run(TRAIN)
    assert calls == [WORDS]
    assert "=== step 1 of 2: reldn train --output demo/model.pth" in capsys.readouterr().out
    second.run(TRAIN)
    assert calls == [WORDS]
    assert second.done == first.done
    assert "demo/model.pth exists and is kept" in capsys.readouterr().out


def test_records_hold_in_another_working_directory(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    Steps(Path("demo"), 2, calls).run(TRAIN)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    moved = Steps(Path("../demo"), 2, calls)
    moved.run(Command("train", ["train", "--output", "../demo/model.pth"], Path("../demo/model.pth")))
    assert len(calls) == 1
    assert [step.command for step in moved.done] == ["reldn train --output ../demo/model.pth"]


def test_results_of_another_command_are_refused(calls: Calls) -> None:
    Steps(Path("demo"), 2, calls).run(TRAIN)
    with pytest.raises(ValueError, match=r"demo/model.pth was made by another command.*delete demo"):
        Steps(Path("demo"), 2, calls).run(Command("train", ["train", "--seed", "2", *WORDS[1:]], RESULT))
    assert len(calls) == 1


def test_results_that_are_older_than_their_inputs_are_refused(calls: Calls) -> None:
    source = Path("demo/detector.pth")
    source.write_text("weights")
    Steps(Path("demo"), 2, calls).run(Command("train", WORDS, RESULT, [source]))
    make_older(source, 100)
    Steps(Path("demo"), 2, calls).run(Command("train", WORDS, RESULT, [source]))
    make_older(RESULT, 200)
    with pytest.raises(ValueError, match="changed later"):
        Steps(Path("demo"), 2, calls).run(Command("train", WORDS, RESULT, [source]))
    assert len(calls) == 1


def test_a_step_that_did_not_finish_runs_again(calls: Calls) -> None:
    def fail(words: Sequence[str]) -> None:
        RESULT.write_text("half")
        raise ValueError("no such key")

    with pytest.raises(ValueError, match="no such key"):
        Steps(Path("demo"), 2, fail).run(TRAIN)
    Steps(Path("demo"), 2, calls).run(TRAIN)
    assert calls == [WORDS]
    RESULT.unlink()
    Steps(Path("demo"), 2, calls).run(TRAIN)
    assert calls == [WORDS, WORDS]


def test_a_record_names_the_command_without_the_folder(calls: Calls) -> None:
    Steps(Path("demo"), 2, calls).run(TRAIN)
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
