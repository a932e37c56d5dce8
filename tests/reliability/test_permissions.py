"""Files that are locked or that this user may not use are not damaged, and the message says what helps."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from reldn_d2.checkpoint.safe_files import read_pickle, read_torch
from reldn_d2.cli.common import message_of
from reldn_d2.data import load_vg150
from reldn_d2.data.detections import detections_made_by
from reldn_d2.data.images import cache_folder, image_sizes, read_image, upright_size
from reldn_d2.engine import setup
from reldn_d2.evaluation import load_predictions
from reldn_d2.utils.csv_files import csv_rows, read_table
from reldn_d2.utils.io import atomic_write, check_writable
from reldn_d2.utils.json_files import read_json
from reldn_d2.utils.system_errors import is_of_the_system
from tests.builders.forks import in_child, respect_permissions
from tests.builders.tiny_runs import arguments, save_run
from tests.builders.vg150_files import write_vg150


def message_in_child(work: Callable[[], object]) -> str:
    """The message of a command whose work fails, in a process for which permissions count."""

    def run() -> str:
        respect_permissions()
        with pytest.raises((OSError, ValueError)) as caught:
            work()
        return message_of(caught.value)

    outcome = in_child(run)
    if outcome.error.startswith("Skipped"):
        pytest.skip(outcome.error)
    assert not outcome.error
    message: str = outcome.value
    return message


READERS: dict[str, Callable[[Path], object]] = {
    "h5": lambda file: load_vg150(file.parent, "trainval"),
    "weights": read_torch,
    "weights in a pickle": read_pickle,
    "detections": detections_made_by,
    "predictions": load_predictions,
    "json": read_json,
    "csv": lambda file: read_table(file, ["ImageID"]),
    "rows": lambda file: list(csv_rows(file, ["ImageID", "x"], {})),
    "picture": lambda file: read_image(str(file), "BGR"),
    "size of a picture": upright_size,
    "sizes of pictures": lambda file: image_sizes([file]),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_may_not_be_read_is_not_damaged(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    if name == "h5":
        write_vg150(tmp_path, [])
        file = tmp_path / "VG-SGG-with-attri.h5"
    file.touch()
    file.chmod(0)
    message = message_in_child(lambda: READERS[name](file))
    assert message.startswith(str(file)) and "(Permission denied)" in message and "\n" not in message
    assert f"give user {os.geteuid()} the permission to" in message
    for words in ("ownload", "again", "damaged", "complete", "replace"):
        assert words not in message


def test_a_folder_that_may_not_be_written_is_said_first(weights: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    save_run(output, weights)
    before = {file: file.read_bytes() for file in output.iterdir()}
    output.chmod(0o555)
    for flags in ({"resume": True}, {"eval_only": True}):
        args = arguments("yaml", output=output, weights=weights, seed=7, **flags)
        message = message_in_child(lambda args=args: setup(args))
        assert message == (
            f"{output} can't be written (Permission denied): give user {os.geteuid()} the permission to "
            "write it, or choose another folder"
        )
    assert {file: file.read_bytes() for file in output.iterdir()} == before
    output.chmod(0o755)


@pytest.mark.parametrize("place", ["file", "below", "new folder"])
def test_a_result_that_may_not_be_written_names_its_path(place: str, tmp_path: Path) -> None:
    names = {"file": "a.json", "below": "taken/a.json", "new folder": "new/a.json"}
    target = tmp_path / names[place]
    (tmp_path / "taken").touch()
    tmp_path.chmod(0o555)

    def write() -> None:
        with atomic_write(target):
            pass

    message = message_in_child(write)
    tmp_path.chmod(0o755)
    said = "File exists" if place == "below" else "Permission denied"
    assert message.startswith(f"{target} can't be written ({said}): ")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_folder_is_tried_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())
    tmp_path.chmod(0o555)
    message = message_in_child(lambda: check_writable(tmp_path))
    tmp_path.chmod(0o755)
    assert message.startswith(f"{tmp_path} can't be written (Permission denied): ")


def test_a_locked_h5_file_is_not_damaged(tmp_path: Path) -> None:
    write_vg150(tmp_path, [])
    file = tmp_path / "VG-SGG-with-attri.h5"
    with file.open() as other_program:
        fcntl.flock(other_program, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="can't be locked") as caught:
            load_vg150(tmp_path, "trainval")
    message = message_of(caught.value)
    assert message.startswith(f"{file} can't be locked (") and os.strerror(errno.EAGAIN) in message
    assert "close that program" in message and "HDF5_USE_FILE_LOCKING=FALSE" in message
    assert "ownload" not in message


def test_a_disk_without_locks_is_not_a_damaged_h5_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_vg150(tmp_path, [])

    def fails(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "Unable to synchronously open file (unable to lock file, errno = 37)")

    monkeypatch.setattr(h5py, "File", fails)
    with pytest.raises(OSError, match="HDF5_USE_FILE_LOCKING=FALSE"):
        load_vg150(tmp_path, "trainval")


def test_what_is_no_h5_file_is_still_said_to_be_damaged(tmp_path: Path) -> None:
    write_vg150(tmp_path, [])
    (tmp_path / "VG-SGG-with-attri.h5").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="Download it again"):
        load_vg150(tmp_path, "trainval")


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fails)
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(OSError, match="set XDG_CACHE_HOME to a folder"):
        cache_folder()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (BlockingIOError(errno.EAGAIN, "locked"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (OSError("image file is truncated"), False),
        (OSError(errno.EINVAL, "Invalid argument"), False),  # a seek to a place that a broken file names
        (ValueError("no number"), False),
    ],
)
def test_only_the_system_refuses(error: Exception, expected: bool) -> None:
    assert is_of_the_system(error) == expected
