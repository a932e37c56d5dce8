"""A full disk is one line, and the last good state stays. A limit of the file size stands for the disk."""

import io
import logging
import re
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reldn_d2.checkpoint.safe_files import read_torch
from reldn_d2.engine import Trainer, setup
from reldn_d2.engine.console import setup_run_log
from reldn_d2.engine.failed_writes import explaining_failed_writes
from reldn_d2.utils.io import atomic_write
from tests.builders.forks import in_child
from tests.builders.narrow_resnet import SCENES_RESNET
from tests.builders.tiny_models import TinyConfig
from tests.builders.tiny_runs import arguments, save_random_weights, save_run

LIMIT = 1_000_000


def limited(work: Callable[[], Any]) -> Callable[[], Any]:
    """The work in a process that can't write files longer than LIMIT."""

    def run() -> Any:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the error comes back from the call
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return work()

    return run


WRITERS: dict[str, Callable[[Any], object]] = {
    "bytes": lambda stream: stream.write(bytes(2 * LIMIT)),
    "many bytes": lambda stream: [stream.write(bytes(1000)) for _ in range(2000)],
    "npz": lambda stream: np.savez(stream, x=np.zeros(2 * LIMIT)),
    "compressed npz": lambda stream: np.savez_compressed(stream, x=np.random.default_rng(0).random(LIMIT)),
    # PyTorch makes a RuntimeError of it.
    "one tensor": lambda stream: torch.save({"x": torch.zeros(LIMIT)}, stream),
    "many tensors": lambda stream: torch.save({i: torch.zeros(500) for i in range(1500)}, stream),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_does_not_fit_leaves_the_old_one(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def write() -> None:
        with atomic_write(file) as stream:
            WRITERS[name](stream)

    error = in_child(limited(write)).error
    assert error == (
        f"OSError: {file} can't be written (File too large): a file may not be so large here: look at "
        "`ulimit -f`, or choose a folder on another disk"
    )
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]


def test_a_checkpoint_that_does_not_fit_leaves_the_last_one(tiny_config: TinyConfig, tmp_path: Path) -> None:
    output = tmp_path / "run"
    # Narrow tensors are smaller than what a file says about them.
    weights = save_random_weights(tiny_config(*SCENES_RESNET), tmp_path)
    save_run(output, weights, more=SCENES_RESNET)
    more = [*SCENES_RESNET, "DATASETS.TEST", "()"]
    args = arguments("yaml", *more, output=output, weights=weights, seed=7, resume=True)

    def train() -> None:
        trainer = Trainer(setup(args))
        trainer.resume_or_load(resume=True)
        # A forked process can't train. The hooks save and write.
        trainer._trainer.run_step = lambda: None
        trainer.train()

    error = in_child(limited(train)).error
    last, new = output / "model_0000000.pth", output / "model_final.pth"
    assert error.startswith(f"OSError: {new} can't be written (File too large): ") and "\n" not in error
    needed = re.search(r"The checkpoint needs about ([\d.]+) MB\.", error)
    assert needed and float(needed[1]) == pytest.approx(last.stat().st_size / 1e6, rel=0.02)
    assert error.endswith(f"The last checkpoint, {last}, is complete: --resume goes on from it")
    assert (output / "last_checkpoint").read_text() == last.name
    assert read_torch(last)["trainer"]["iteration"] == 0
    assert not list(output.glob(".*"))  # neither a temporary file nor a lock


def test_a_log_that_can_not_be_written_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def log() -> str:
        sys.stderr = said = io.StringIO()
        setup_run_log(str(tmp_path))
        for _ in range(3):
            logging.getLogger("reldn_d2").debug("x" * LIMIT)
        return said.getvalue()

    said = in_child(limited(log)).value
    assert said.startswith(f"WARNING: {tmp_path / 'log.txt'} can't be written (File too large): ")
    assert said.count("\n") == 1


def test_an_error_of_a_reader_stays_as_it_is() -> None:
    """An error of a data loader's worker has several lines, of which a command shows the last."""
    with pytest.raises(FileNotFoundError) as caught, explaining_failed_writes(None):  # type: ignore[arg-type]
        raise FileNotFoundError("Image a.png does not exist.\n")
    assert str(caught.value) == "Image a.png does not exist.\n"
