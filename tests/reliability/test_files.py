"""A kill at any moment leaves the old file or the new one, and nothing that stays for ever."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reldn_d2.engine import Trainer, load_config, setup
from reldn_d2.engine.folder_lock import release
from reldn_d2.utils import io
from reldn_d2.utils.io import atomic_write, remove_orphans, write_if_changed
from tests.builders.forks import in_child, kill_myself, killed_after, running_child
from tests.builders.tiny_runs import arguments, save_run

ORPHAN = ".a0_bcdef.reldn_d2.tmp"
# The calls of the system that a write makes, in their order.
CALLS = ("mkstemp", "fsync", "chmod", "replace", "fsync of the folder", "after it")


def killed_at(number: int) -> Callable[..., Any]:
    """Makes this process end before the call of that number in CALLS."""
    calls = iter(range(len(CALLS)))

    def ends_before(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if next(calls, None) == number:
                kill_myself()
            return call(*args, **kwargs)

        return wrapped

    return ends_before


@pytest.mark.parametrize("number", range(len(CALLS)), ids=CALLS)
def test_a_kill_during_a_write_leaves_the_old_file_or_the_new_one(number: int, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(b"old")

    def write() -> None:
        ends_before = killed_at(number)
        io.tempfile.mkstemp = ends_before(io.tempfile.mkstemp)
        for name in ("fsync", "chmod", "replace"):
            setattr(io.os, name, ends_before(getattr(io.os, name)))
        with atomic_write(file) as stream:
            stream.write(b"new" * 10_000)
        ends_before(lambda: None)()

    assert in_child(write).killed
    is_new = CALLS[number] in ("fsync of the folder", "after it")
    assert file.read_bytes() == (b"new" * 10_000 if is_new else b"old")
    litter = [path for path in tmp_path.iterdir() if path != file]
    assert len(litter) == (0 if is_new or CALLS[number] == "mkstemp" else 1)
    found = remove_orphans(tmp_path)
    assert found.count == len(litter) and list(tmp_path.iterdir()) == [file]


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def fsync(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}") if Path("/proc/self/fd").is_dir() else ""
        done.append(f"fsync {'folder' if name == str(tmp_path) else os.fstat(descriptor).st_size}")

    replace = os.replace
    monkeypatch.setattr(io.os, "fsync", fsync)
    monkeypatch.setattr(io.os, "replace", lambda *names: (done.append("replace"), replace(*names)))
    with atomic_write(tmp_path / "file") as stream:
        stream.write(b"12345")
    assert done[:2] == ["fsync 5", "replace"] and len(done) == 3


def test_a_file_of_the_longest_name_can_be_written(tmp_path: Path) -> None:
    with atomic_write(tmp_path / ("x" * 255)) as stream:
        stream.write(b"content")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"content"


def test_a_file_with_the_same_content_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_if_changed(file, b"one")
    before = file.stat().st_ino
    write_if_changed(file, b"one")
    assert file.stat().st_ino == before and file.read_bytes() == b"one"
    write_if_changed(file, b"two")
    assert file.read_bytes() == b"two"


def test_only_orphans_are_removed(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for place in (folder / "inference" / "set", elsewhere):
        place.mkdir(parents=True)
        (place / ORPHAN).write_bytes(b"12345")
    kept = [
        ".a0_bcdef.tmp", "a0_bcdef.reldn_d2.tmp", ".a0_bcdefg.reldn_d2.tmp", ".A0_bcdef.reldn_d2.tmp",
        ".a0_bcdef.reldn_d2.tmp.pth", "model_final.pth",
    ]  # fmt: skip
    for name in kept:
        (folder / name).touch()
    (folder / "link").symlink_to(elsewhere, target_is_directory=True)
    (folder / ".b0_bcdef.reldn_d2.tmp").symlink_to(elsewhere / ORPHAN)

    def write(ready: Callable[[], None]) -> None:
        with atomic_write(folder / "in_use"):
            ready()

    with running_child(write) as kill:
        (in_use,) = (
            {path.name for path in folder.iterdir()}
            - {*kept, "link", "inference"}
            - {".b0_bcdef.reldn_d2.tmp"}
        )
        assert io._OURS.fullmatch(in_use)
        assert remove_orphans(folder) == io.Orphans(1, 5)
        assert (folder / in_use).exists()
        kill()
        assert remove_orphans(folder) == io.Orphans(1, 0)
    names = {path.name for path in folder.iterdir()}
    assert names == {*kept, "link", "inference", ".b0_bcdef.reldn_d2.tmp"}
    assert (elsewhere / ORPHAN).read_bytes() == b"12345"
    assert not list((folder / "inference" / "set").iterdir())


def test_the_next_start_says_what_it_removed(
    tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ORPHAN).write_bytes(bytes(2_000_000))
    setup(arguments("yaml", output=tmp_path / "run", weights=weights))
    said = f"Removed 1 temporary files of interrupted runs from {tmp_path / 'run'} (2.0 MB)"
    assert capsys.readouterr().out.count(said) == 1
    assert said in (tmp_path / "run" / "log.txt").read_text()
    assert not (tmp_path / "run" / ORPHAN).exists()
    release()


def test_the_config_of_a_trained_run_is_that_of_its_training(weights: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    config = output / "config.yaml"
    save_run(output, weights)
    saved = config.read_bytes()
    # Another task and another rate: neither an evaluation nor a resume that is refused may change it.
    setup(arguments("yaml", output=output, weights=weights, eval_only=True, task="sgcls"))
    assert config.read_bytes() == saved
    config.unlink()
    setup(arguments("yaml", output=output, weights=weights, eval_only=True, task="sgcls"))
    other = arguments("yaml", "SOLVER.MOMENTUM", "0.5", output=output, weights=weights, seed=7, resume=True)
    trainer = Trainer(setup(other))
    with pytest.raises(ValueError, match="MOMENTUM"):
        trainer.resume_or_load(resume=True)
    assert not config.exists()
    args = arguments("yaml", output=output, weights=weights, seed=7, resume=True)
    Trainer(setup(args)).resume_or_load(resume=True)
    assert config.read_bytes() == saved
    release()


def test_traces_of_a_run_without_checkpoint_are_said(
    tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = arguments("yaml", output=tmp_path / "run", weights=weights)
    setup(args)
    assert "WARNING" not in capsys.readouterr().out
    (tmp_path / "run" / "metrics.json").touch()
    setup(args)
    said = f"{tmp_path / 'run'} has no checkpoint, but log.txt, config.yaml, metrics.json of an earlier run"
    assert capsys.readouterr().out.count(f"WARNING: {said}") == 1
    release()


TRIALS = int(os.environ.get("RELDN_D2_KILLS", "5"))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["new", "longer", "evaluation"])
def test_kills_at_random_moments_leave_the_config_of_the_run(
    start: str, weights: str, tmp_path: Path
) -> None:
    """Each trial kills a start, a resume to more iterations, or an evaluation with another task."""
    output = tmp_path / "run"
    config = output / "config.yaml"
    given: dict[str, Any] = {"output": output, "weights": weights, "seed": 7}
    if start == "new":
        setup(arguments("yaml", **given, max_iter=9))
        release()
        flags: dict[str, Any] = {}
    else:
        save_run(output, weights)
        flags = {"resume": True, "max_iter": 5} if start == "longer" else {"eval_only": True, "task": "sgcls"}
    args = arguments("yaml", **given, **flags)
    before = config.read_bytes()

    def work() -> None:
        cfg = setup(args)
        if start != "evaluation":
            Trainer(cfg).resume_or_load(resume=args.resume)

    began = time.monotonic()
    assert not in_child(work).error
    duration, after = time.monotonic() - began, config.read_bytes()
    assert (after != before) == (start != "evaluation")
    moments = random.Random(start)
    for _ in range(TRIALS):
        config.write_bytes(before)
        killed_after(work, moments.uniform(0, duration))
        assert config.read_bytes() in (before, after)
        assert load_config(str(config)).SEED == 7
    assert not in_child(work).error
    assert config.read_bytes() == after and not list(output.glob(".*.tmp"))
