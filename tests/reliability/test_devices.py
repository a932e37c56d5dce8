"""A config that was made for a GPU, on a machine without: one line says what to add."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.builders.commands import line_of_refusal
from tests.builders.tiny_models import TinyConfig


@pytest.fixture
def folder(tmp_path: Path, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run whose config says cuda. Its weights are not read."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(tiny_config("MODEL.DEVICE", "cuda").dump())
    (run / "detector.yaml").write_text(tiny_config("MODEL.DEVICE", "cuda", file="detector.yaml").dump())
    (run / "model_final.pth").touch()
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.zeros((40, 60, 3), np.uint8))
    return run


@pytest.mark.parametrize("command", ["predict", "evaluate", "train", "cache-detections"])
def test_a_missing_gpu_is_one_line(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder.parent / "output"
    more: dict[str, list[object]] = {
        "predict": ["--input", folder.parent / "photo.jpg"],
        "train": ["--config-file", folder / "config.yaml"],
        "cache-detections": ["--config-file", folder / "detector.yaml"],
    }
    words = [command, "--weights", folder, "--output", output, *more.get(command, [])]
    message = line_of_refusal(capsys, *words)
    assert message == (
        "MODEL.DEVICE is 'cuda', but PyTorch finds no GPU here: add MODEL.DEVICE cpu (or --device cpu, where "
        "it is an option)"
    )
    assert not output.exists()
    # The option of the user wins over the config, in both directions.
    assert "is 'cuda:3', but" in line_of_refusal(capsys, *words, "--device", "cuda:3")
