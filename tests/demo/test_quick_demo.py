"""`reldn demo --quick` from start to end, with narrow models."""

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
from detectron2.data import DatasetCatalog

from reldn_d2.engine import Trainer
from tests.builders.commands import line_of_refusal, run_reldn
from tests.builders.tiny_models import NARROW

WORDS = ["demo", "--quick", *NARROW]


@dataclass(frozen=True)
class Finished:
    """A demo that has run in `folder`, its working directory."""

    folder: Path
    printed: str
    report: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("work")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(folder)
        assert run_reldn(*WORDS) == 0
    report = (folder / "output" / "demo_quick" / "report.html").read_text()
    yield Finished(folder, printed.getvalue(), report)


@pytest.fixture(autouse=True)
def work_there(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.folder)


def test_the_report_has_every_part(finished: Finished) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", finished.report)
    assert headings == [
        "Who plays which guitar, who holds which cup?",
        *("Scenes", "Recall", "Average precision", "Training", "Try it", "Commands"),
    ]
    assert "Its numbers and pictures mean nothing" in finished.report
    questions = re.findall(r"<h3>Scene \d+: (.*?)</h3>", finished.report)
    assert questions == ["Who plays which guitar?", "Who holds which cup?"]
    # A scene has pictures of the case and feature maps; its graphs and the losses are drawings.
    assert finished.report.count("<img ") == 2 * (3 + 3)
    assert finished.report.count("<svg ") == 2 * 3 + 2
    assert finished.report.count("<table>") == 3


def test_commands_show_relative_paths_only(finished: Finished) -> None:
    assert str(finished.folder) not in finished.report
    assert str(finished.folder) not in finished.printed.split("Confusable cases")[1]
    commands = re.findall(r"^(?:<pre><code>)?(reldn .*?)    # \d+ s", finished.report, re.MULTILINE)
    assert len(commands) == 4 + 1 + 4
    assert commands[0].startswith(
        "reldn train --config-file scenes/detector.yaml --output output/demo_quick/detector --resume --seed 1"
    )


def test_the_seed_is_fixed(finished: Finished) -> None:
    for run in ("detector", "semantic_spatial", "reldn_l0", "reldn"):
        config = (finished.folder / "output" / "demo_quick" / run / "config.yaml").read_text()
        assert "\nSEED: 1\n" in config


def test_the_picture_and_the_samples_are_there(finished: Finished) -> None:
    folder = finished.folder / "output" / "demo_quick"
    picture = cv2.imread(str(folder / "scenes.jpg"))
    assert picture is not None and picture.shape[1] == 1500
    scenes = [Path(x["file_name"]) for x in DatasetCatalog.get("reldn_scenes_tiny_test")]
    assert len(scenes) == 8
    samples = sorted((folder / "samples").iterdir())
    assert [path.name for path in samples] == [f"scene_{i}.png" for i in range(8)]
    assert [path.read_bytes() for path in samples] == [path.read_bytes() for path in scenes]


def test_the_last_command_works(finished: Finished) -> None:
    (command,) = re.findall(r"^try it: +reldn (.*)$", finished.printed, re.MULTILINE)
    assert "drawn scenes only" in finished.printed.splitlines()[-1]
    assert run_reldn(*shlex.split(command)) == 0
    assert len(list(Path("predictions").glob("*.json"))) == 8


def test_a_second_call_keeps_what_is_finished(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(trainer: Trainer) -> None:
        raise AssertionError("a finished training starts again")

    monkeypatch.setattr(Trainer, "train", train)
    assert run_reldn(*WORDS) == 0
    assert capsys.readouterr().out.count("exists and is kept") == 4 + 1 + 4
    again = (finished.folder / "output" / "demo_quick" / "report.html").read_text()
    assert again == finished.report


def test_results_of_other_settings_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    message = line_of_refusal(capsys, *WORDS, "SEED", "2")
    assert "output/demo_quick/detector/model_final.pth was made by another command" in message
    assert "choose another --output" in message


def test_a_misspelt_key_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["demo", "--quick", "--output", tmp_path, "SOLVER.BASE_RL", "0.1"]
    assert "SOLVER.BASE_LR" in line_of_refusal(capsys, *words)
