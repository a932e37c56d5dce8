"""`reldn train` with a loss that is not finite: one line, and no process waits for another."""

import subprocess
import sys
from pathlib import Path

import pytest

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import vocabulary_of
from reldn_d2.modeling import RelDN
from tests.builders.commands import Captured, line_of_refusal
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig, make_model

# Seconds. It only ends processes that wait for each other.
LIMIT = 1800
# A module for --import: what the last process computes in its second step is not finite.
BREAKS = """
from detectron2.utils import comm
from reldn_d2.modeling import RelDN

forward, steps = RelDN.forward, []


def breaks(self, inputs):
    losses = forward(self, inputs)
    steps.extend([None] * self.training)
    if self.training and len(steps) == 2 and comm.get_rank() == comm.get_world_size() - 1:
        ACTION
    return losses


RelDN.forward = breaks
"""
ACTIONS = {
    "nan": "return {name: loss * float('nan') for name, loss in losses.items()}",
    "raises": "raise FloatingPointError('Predicted boxes or scores contain Inf/NaN')",
}


@pytest.fixture
def words(tiny_config: TinyConfig, tmp_path: Path) -> list[str]:
    """The words of a training of two steps."""
    names = vocabulary_of("reldn_scenes_tiny_train")
    RelationCheckpointer(make_model(tiny_config()), str(tmp_path), vocabulary=names).save("start")
    return [
        *("train", "--config-file", "scenes/reldn.yaml", "--import", str(tmp_path / "breaks.py")),
        *("--weights", str(tmp_path / "start.pth"), "--output", str(tmp_path / "run"), "--seed", "1"),
        *TINY,
        *("SOLVER.CHECKPOINT_PERIOD", "1"),
    ]


def write(folder: Path, action: str) -> None:
    (folder / "breaks.py").write_text(BREAKS.replace("ACTION", ACTIONS[action]))


def check_folder(folder: Path) -> None:
    """The only checkpoint is that of the first step, and nothing was evaluated."""
    assert [file.name for file in folder.glob("*.pth")] == ["model_0000000.pth"]
    assert (folder / "last_checkpoint").read_text() == "model_0000000.pth"
    assert not (folder / "inference").exists()


def test_the_command_says_it_in_one_line(
    words: list[str], tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RelDN, "forward", RelDN.forward)  # undoes what the module does
    write(tmp_path, "nan")
    message = line_of_refusal(capsys, *words)
    assert message.startswith("the loss is not finite in iteration 1: loss_rel_class_agnostic is nan, ")
    assert f"the last checkpoint is {tmp_path / 'run' / 'model_0000000.pth'}" in message
    check_folder(tmp_path / "run")
    # The log file has what the screen does not show.
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("action", ACTIONS)
def test_two_processes_end_together(words: list[str], tmp_path: Path, action: str) -> None:
    """Only the second one has the loss, or fails in its forward pass."""
    write(tmp_path, action)
    rendezvous = (tmp_path / "rendezvous").as_uri()  # a free port could be taken before they open it
    done = subprocess.run(
        [sys.executable, "-m", "reldn_cli", *words, "--num-gpus", "2", "--dist-url", rendezvous],
        capture_output=True, text=True, timeout=LIMIT, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and "Traceback" not in done.stdout + done.stderr
    what = "Predicted boxes or" if action == "raises" else "loss_rel_class_agnostic is nan, "
    assert error[0].startswith(f"error: the loss is not finite in iteration 1: process 1: {what}")
    assert error[0].count("image_id") == 1 and "process 0" not in error[0]
    check_folder(tmp_path / "run")
