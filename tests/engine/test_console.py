"""What the screen shows, and what goes to the log file only."""

import io
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from detectron2.utils import comm

from reldn_d2.engine import setup_console
from reldn_d2.engine.console import (
    FOR_THE_FILE,
    HARMLESS_WARNINGS,
    LOG_FILE,
    _Screen,
    as_block,
    printed_to_log,
    setup_run_log,
)
from tests.builders.processes import run_in_processes


def log_of(folder: Path) -> str:
    return (folder / LOG_FILE).read_text()


def warn(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # pytest is told to ignore some of them
        warnings.warn(text, UserWarning, stacklevel=2)


@pytest.mark.parametrize("message", HARMLESS_WARNINGS, ids=lambda x: x.beginning)
def test_harmless_warnings_go_to_the_file_only(
    message, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_run_log(str(tmp_path))
    if message.logger == "py.warnings":
        warn(f"{message.beginning} and so on")
    else:
        logging.getLogger(message.logger).warning("%s and so on", message.beginning)
    out, err = capsys.readouterr()
    assert message.beginning not in out + err
    assert f"{message.beginning} and so on" in log_of(tmp_path)
    assert message.reason.endswith(".")


@pytest.mark.parametrize("setup", [setup_console, lambda: setup_run_log("made")])
def test_other_warnings_stay_visible(
    setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    setup()
    warn("the moon is full; torch.meshgrid: in an upcoming release")
    logging.getLogger("reldn_d2.data").warning("two boxes are %d", 0)
    out = capsys.readouterr().out
    assert "WARNING: " in out and "the moon is full" in out
    assert "] WARNING: two boxes are 0\n" in out


@pytest.mark.parametrize("message", FOR_THE_FILE, ids=lambda x: f"{x.logger}: {x.beginning}")
def test_long_messages_go_to_the_file_only(
    message, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_run_log(str(tmp_path))
    logging.getLogger(message.logger).info("%s 123", message.beginning)
    assert capsys.readouterr().out == ""
    assert f"{message.beginning} 123" in log_of(tmp_path)


def test_the_screen_has_one_line_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also if a command without a folder becomes a run, and if another run follows in its process."""
    setup_console()
    for name in ("one", "two"):
        setup_run_log(str(tmp_path / name))
        logging.getLogger("reldn_d2.engine").info("run %s", name)
        logging.getLogger("reldn_d2.engine").debug("details of %s", name)
    out = capsys.readouterr().out
    assert [line.partition(" ")[2] for line in out.splitlines()] == ["run one", "run two"]
    assert "details of one" in log_of(tmp_path / "one") and "two" not in log_of(tmp_path / "one")
    assert "details of two" in log_of(tmp_path / "two") and "one" not in log_of(tmp_path / "two")


def test_what_was_said_before_there_was_a_file_is_in_it(tmp_path: Path) -> None:
    setup_console()
    logging.getLogger("reldn_d2.engine.yaml").warning("an old key")
    setup_run_log(str(tmp_path))
    assert "an old key" in log_of(tmp_path)


def test_commands_show_tables_and_runs_do_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scorer = logging.getLogger("reldn_d2.evaluation.scorer")
    setup_console()
    scorer.info("sgdet, first table")
    setup_run_log(str(tmp_path))
    scorer.info("sgdet, second table")
    scorer.warning("no training split")
    out = capsys.readouterr().out
    assert "first table" in out and "second table" not in out and "no training split" in out
    assert "second table" in log_of(tmp_path)


def test_what_a_library_prints_goes_to_the_file_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_run_log(str(tmp_path))
    with printed_to_log(logging.getLogger("reldn_d2.engine.run")):
        print("Running per image evaluation...")
    assert capsys.readouterr().out == ""
    assert "Running per image evaluation..." in log_of(tmp_path)


@pytest.mark.slow
def test_only_the_main_process_shows_anything(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_in_processes(say_hello, 2, tmp_path, tmp_path / "run")
    assert capfd.readouterr().out.count("hello") == 1
    for name in (LOG_FILE, f"{LOG_FILE}.rank1"):
        assert (tmp_path / "run" / name).read_text().count("hello") == 1


def say_hello(folder: Path) -> None:
    setup_run_log(str(folder))
    logging.getLogger("reldn_d2.engine").info("hello")


def test_a_process_that_turns_out_not_to_be_the_main_one_shows_nothing_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The processes of torchrun know it after they have joined the others."""
    setup_console()
    logging.getLogger("reldn_d2.data").info("before")
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    setup_console()
    logging.getLogger("reldn_d2.data").info("after")
    out = capsys.readouterr().out
    assert "before" in out and "after" not in out


def test_a_block_has_its_texts_below_each_other() -> None:
    assert as_block({"a": "1", "long": "2", "none": ""}) == "  a     1\n  long  2"
    assert as_block({}) == ""


def test_the_import_of_the_package_warns_of_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import reldn_d2.engine"], check=True, capture_output=True, text=True
    )
    assert "torch.jit.script" not in done.stderr


def test_log_records_are_shown_on_a_screen_without_their_signs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", errors="strict")
    monkeypatch.setattr(sys, "stdout", screen)
    handler = _Screen()
    handler.handle(logging.LogRecord("reldn_d2", logging.WARNING, "", 0, "%s → %s", ("컵", "x"), None))
    screen.flush()
    assert rb"WARNING: \ucef5 -> x" in screen.buffer.getvalue()  # type: ignore[attr-defined]
    assert capsys.readouterr().err == ""
