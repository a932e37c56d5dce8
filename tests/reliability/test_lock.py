"""Two runs never write into one folder at the same time, and a kill frees it at once."""

import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from reldn_d2.engine import Trainer, evaluate, parts_of, setup
from reldn_d2.engine.folder_lock import LOCK_FILE, hold, release
from reldn_d2.engine.parts import RunParts
from tests.builders.forks import in_child, running_child
from tests.builders.processes import run_in_processes
from tests.builders.tiny_models import TinyConfig
from tests.builders.tiny_runs import arguments


@pytest.fixture(autouse=True)
def nothing_is_held() -> Iterator[None]:
    yield
    release()


@pytest.fixture
def parts(tiny_config: TinyConfig) -> Callable[..., RunParts]:
    """Makes the parts of a run; `task` and `output` may differ."""

    def make(output: Path, task: str = "prdcls") -> RunParts:
        return parts_of(tiny_config("OUTPUT_DIR", str(output), "MODEL.ROI_RELATION_HEAD.TEST.TASK", task))

    return make


def files_of(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", ["yaml", pytest.param("python", marks=pytest.mark.slow)])
def test_a_folder_of_a_running_training_is_refused(kind: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    cfg = arguments(kind, output=output)
    key = {"yaml": "OUTPUT_DIR FOLDER", "python": "train.output_dir=FOLDER"}[kind]

    def training(ready: Callable[[], None]) -> None:
        setup(cfg)
        ready()

    with running_child(training) as kill:
        before = files_of(output)
        holder = before[output / LOCK_FILE].decode()
        assert holder.startswith("training, process ") and socket.gethostname() in holder
        # A config in Python takes a second to load.
        for flags in ({}, {"resume": True}, {"eval_only": True}) if kind == "yaml" else ({},):
            with pytest.raises(ValueError, match="is in use by another run") as caught:
                setup(arguments(kind, output=output, **flags))
            for words in (str(output), holder, f"add {key} (or --output FOLDER"):
                assert words in str(caught.value)
            assert files_of(output) == before
        kill()
        setup(cfg)  # at once


def test_workers_of_a_killed_training_do_not_hold_its_folder(
    tmp_path: Path, parts: Callable[..., RunParts]
) -> None:
    """They live on for seconds, until they see that their parent is gone."""
    processes = tmp_path / "processes"

    def training(ready: Callable[[], None]) -> None:
        hold(parts(tmp_path / "run"), "training")
        loader: Any = DataLoader([0] * 100, num_workers=2)
        batches = iter(loader)
        next(batches)
        processes.write_text(" ".join(str(worker.pid) for worker in batches._workers))
        ready()

    with running_child(training) as kill:
        with pytest.raises(ValueError, match="is in use"):
            hold(parts(tmp_path / "run"), "training")
        workers = [Path("/proc", pid) for pid in processes.read_text().split()]
        assert len(workers) == 2
        if Path("/proc/self/fd").is_dir():
            for worker in workers:
                assert LOCK_FILE not in " ".join(os.readlink(file) for file in (worker / "fd").iterdir())
        kill()
        hold(parts(tmp_path / "run"), "training")


def test_an_evaluation_holds_its_folder_too(tmp_path: Path, parts: Callable[..., RunParts]) -> None:
    output = tmp_path / "run"

    def evaluation(ready: Callable[[], None]) -> None:
        hold(parts(output), "evaluation")
        ready()

    with running_child(evaluation):
        hold(parts(tmp_path / "other"), "evaluation")
        for kind in ("evaluation", "training"):
            with pytest.raises(ValueError, match=r"is in use by another run \(evaluation, process "):
                hold(parts(output, "sgcls"), kind)
    hold(parts(output), "training")


def test_a_process_can_start_its_runs_again_and_holds_the_last_of_each_kind(
    tmp_path: Path, parts: Callable[..., RunParts]
) -> None:
    first, second = parts(tmp_path / "first"), parts(tmp_path / "second")
    hold(first, "training")
    hold(first, "training")
    # An evaluation in the middle of a training does not end its lock.
    hold(first, "evaluation")
    release("evaluation")
    assert "in use" in in_child(lambda: hold(first, "training")).error
    hold(second, "training")
    assert "in use" in in_child(lambda: hold(second, "training")).error
    assert not in_child(lambda: hold(first, "training")).error
    release()
    assert not (tmp_path / "second" / LOCK_FILE).exists()


def test_a_training_holds_its_folder_until_it_ends(
    tmp_path: Path, tiny_config: TinyConfig, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(setup(arguments("yaml", output=tmp_path / "run", weights=weights)))
    release()  # as if it was made without `setup`
    other = trainer.parts

    def fails(self: Trainer) -> None:
        assert "in use" in in_child(lambda: hold(other, "training")).error
        raise ValueError("stopped")

    monkeypatch.setattr(Trainer, "_train", fails)
    trainer.resume_or_load(resume=False)
    assert "in use" in in_child(lambda: hold(other, "training")).error
    with pytest.raises(ValueError, match="stopped"):
        trainer.train()
    assert not (tmp_path / "run" / LOCK_FILE).exists()
    # An evaluation that fails, too.
    cfg = setup(arguments("yaml", output=tmp_path / "run", weights="missing.pth", eval_only=True))
    assert (tmp_path / "run" / LOCK_FILE).exists()
    with pytest.raises(FileNotFoundError):
        evaluate(cfg)
    assert not list((tmp_path / "run").glob("*.lock"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_said(
    number: int,
    tmp_path: Path,
    parts: Callable[..., RunParts],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuses)
    orphan = tmp_path / "run" / ".a0_bcdef.reldn_d2.tmp"
    orphan.parent.mkdir()
    orphan.touch()
    hold(parts(tmp_path / "run"), "training")
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'run'} is on a disk without locks: nothing stops another run from writing into this "
        "folder, too"
    ]
    assert list((tmp_path / "run").iterdir()) == [orphan]  # nobody knows whether it is in use


def _refused(output: str, word: str) -> None:
    args = arguments("yaml", output=output, device="cpu")
    with pytest.raises(ValueError, match="is in use by another run"):
        setup(args)
    Path(f"{output}.{word}{os.getpid()}").touch()


@pytest.mark.slow
def test_all_processes_stop(tmp_path: Path, parts: Callable[..., RunParts]) -> None:
    """Only the main process asks for the lock."""
    hold(parts(tmp_path / "run"), "training")
    run_in_processes(_refused, 2, tmp_path, str(tmp_path / "run"), "refused")
    assert len(list(tmp_path.glob("run.refused*"))) == 2
