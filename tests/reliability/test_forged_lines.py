"""A name with line feeds makes no line of its own, on the screen or in a log: each line is what we say."""

import logging
import shutil
from pathlib import Path

import pytest
import yaml

from reldn_d2.cli.common import message_of
from reldn_d2.engine.console import setup_run_log
from reldn_d2.utils.plain_text import Lines
from tests.builders.commands import Captured, line_of_refusal, run_reldn
from tests.builders.tiny_models import REPOSITORY

OLD = REPOSITORY / "tests" / "old_release"
TEST_SET = "reldn_scenes_tiny_test"


@pytest.mark.parametrize(
    "content",
    [
        'ImageId,PredictionString\n"i\nerror: FAKE",0.5 x\n',
        'ImageId,PredictionString\n"i\nerror: FAKE",a,b,c\n',
        'ImageId,"a\nerror: FAKE","a\nerror: FAKE",PredictionString\nx,y,z,w\n',
    ],
    ids=["words", "fields", "columns"],
)
def test_submissions(content: str, tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    words = ("evaluate", "--predictions", path, "--dataset", TEST_SET, "--task", "sgdet")
    assert r"\nerror: FAKE" in line_of_refusal(capsys, *words)


def test_names_in_a_config_beside_weights(tmp_path: Path, capsys: Captured) -> None:
    """A warning lists the old names in it, and two lines of the first screen tell of the run."""
    run = Path(shutil.copytree(OLD / "reldn", tmp_path / "run"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["DATASETS"]["TRAIN"] = ["scenes_tiny_train", "x\n[11/29 00:00:00] INFO: FAKE"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert run_reldn("evaluate", "--weights", run, "--dataset", TEST_SET, "--task", "prdcls") == 0
    printed = capsys.readouterr().out
    logged = (run / "log.txt").read_text()
    for text in (printed, logged):
        assert r"\n[11/29 00:00:00] INFO: FAKE" in text
        assert not any(line.startswith("[11/29 00:00:00] INFO") for line in text.splitlines())


def test_log_records(tmp_path: Path, capsys: Captured) -> None:
    setup_run_log(str(tmp_path))
    logging.getLogger("reldn_d2.data").warning("image %s is odd", "i\n[00:00:00] FAKE\tx")
    logging.getLogger("reldn_d2.data").warning("two:\n%s", "  a\n  b")
    for text in (capsys.readouterr().out, (tmp_path / "log.txt").read_text()):
        assert "image i\\n[00:00:00] FAKE\\tx is odd\n" in text
        assert "two:\n  a\n  b\n" in text


def test_messages_of_errors() -> None:
    assert message_of(ValueError("image i\nerror: FAKE: correct it")) == r"image i\nerror: FAKE: correct it"
    assert message_of(FileNotFoundError(2, "No such file", "a\nb")) == r"a\nb: No such file"
    assert message_of(PermissionError(13, "Permission denied", "a\nb")).startswith(r"a\nb can't be used")
    assert message_of(ValueError(Lines.of("it has", "a\nb", "c"))) == "it has\na\\nb\nc"
    assert message_of(ValueError()) == ""


@pytest.mark.parametrize("name", ["ru\nn", "ru\tn"])
def test_weights_in_a_folder_with_an_odd_name(name: str, tmp_path: Path, capsys: Captured) -> None:
    """Detectron2 takes a path for a URL, and leaves such signs out. Then it would open another file."""
    odd = Path(shutil.copytree(OLD / "reldn", tmp_path / name))
    shutil.copytree(OLD / "reldn", tmp_path / "run")
    message = line_of_refusal(capsys, "evaluate", "--weights", odd, "--dataset", TEST_SET)
    assert "model_final.pth: Detectron2 can't open a path with line feeds, tabs" in message
