"""The command that measures `reldn predict` runs it, and prints a row for each batch size."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reldn_d2.engine import RelationPredictor
from tests.builders.commands import Captured, run_reldn
from tools import measure_prediction


def test_a_row_for_each_batch_size(
    scenes_tiny: RelationPredictor, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        Image.new("RGB", (96, 96), (40 * number, 90, 90)).save(tmp_path / f"{number}.png")
    runs: list[tuple[int, str]] = []

    def run(command: list[str], **_: Any) -> None:
        """Runs the command in this process, which is faster."""
        assert command[:3] == [sys.executable, "-m", "reldn_cli"]
        assert run_reldn(*command[3:], "--device", "cpu") == 0
        listed = Path(command[command.index("--input") + 1])
        (graphs,) = (listed.parent / "output").glob("*.jsonl")
        assert graphs.read_text().count("\n") == listed.read_text().count("\n")
        runs.append((listed.read_text().count("\n"), command[command.index("--batch-size") + 1]))

    monkeypatch.setattr(subprocess, "run", run)
    words = ["--input", str(tmp_path), "--weights", "scenes-tiny", "--images", "2", "--turns", "1"]
    monkeypatch.setattr(sys, "argv", ["measure_prediction.py", *words])
    measure_prediction.main()
    assert runs == [(2, "1"), (1, "1"), (2, "8"), (1, "8")]
    table = capsys.readouterr().out.splitlines()[-4:]
    assert [cell.strip() for cell in table[0].split("|")[1:-1]] == [
        *("batch size", "start, s", "2 images, s", "images a second")
    ]
    assert [row.split("|")[1].strip() for row in table[2:]] == ["1", "8"]


def test_too_few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--input", str(tmp_path), "--weights", "scenes-tiny"]
    monkeypatch.setattr(sys, "argv", ["measure_prediction.py", *words])
    with pytest.raises(SystemExit, match="0 files, not 200"):
        measure_prediction.main()
