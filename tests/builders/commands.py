"""The command `reldn` in the process of the test."""

import pytest

from reldn_cli.main import main

Captured = pytest.CaptureFixture[str]


def run_reldn(*words: object) -> int:
    """Runs `reldn` with these words. Returns the exit status."""
    return main([str(word) for word in words])


def refusal(capsys: Captured, *words: object) -> str:
    """The message of `reldn` about an expected error: status 2, and one paragraph on standard error."""
    capsys.readouterr()
    assert run_reldn(*words) == 2
    return _message(capsys.readouterr().err)


def line_of_refusal(capsys: Captured, *words: object) -> str:
    """The same for a message of one line."""
    message = refusal(capsys, *words)
    assert "\n" not in message
    return message


def usage_error(capsys: Captured, *words: object) -> str:
    """The message of `reldn` about wrong usage: status 2, the error, and a line that names the help."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run_reldn(*words)
    assert stopped.value.code == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert hint.startswith("(`reldn ") and "--help`" in hint
    return _message(error)


def _message(printed: str) -> str:
    assert printed.startswith("error: ")
    assert "Traceback" not in printed
    return printed.removeprefix("error: ").rstrip("\n")
