"""The trials of prediction on many machines compare rows strictly, and count what they say they count."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from tools.scale import images, processes
from tools.scale.cost import Costs
from tools.scale.predictions import Job, RowsDifferError, check_same
from tools.scale.throughput import speed_of


def table(*rows: tuple[str, int, str]) -> pyarrow.Table:
    return pyarrow.table(dict(zip(("input", "row", "path"), map(list, zip(*rows, strict=True)), strict=True)))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "shards").mkdir()
    return Job(tmp_path / "images", tmp_path, ())


def test_rows_come_sorted_from_all_shards(job: Job) -> None:
    for name, rows in (
        ("part-b", [("x", 2, "c"), ("x", 10, "d")]),
        ("part-a", [("", 7, "e"), ("x", 0, "a")]),
    ):
        pyarrow.parquet.write_table(table(*rows), job.output / "shards" / f"{name}.parquet")
    assert job.rows().equals(table(("", 7, "e"), ("x", 0, "a"), ("x", 2, "c"), ("x", 10, "d")))


def test_a_row_that_is_there_twice_is_refused(job: Job) -> None:
    for name in "ab":
        pyarrow.parquet.write_table(table(("x", 1, "p")), job.output / "shards" / f"part-{name}.parquet")
    with pytest.raises(RowsDifferError, match="1 rows are there twice"):
        job.rows()


@pytest.mark.parametrize(
    "found, message",
    [
        (table(("x", 0, "a")), "1 rows are missing, 0 too many"),
        (table(("x", 0, "a"), ("x", 2, "b")), "1 rows are missing, 1 too many"),
        (table(("x", 0, "a"), ("x", 1, "c")), "row 1 of 'x' differs in path"),
        (table(("x", 0, "a"), ("x", 1, "b")).cast(pyarrow.schema(
            [("input", "string"), ("row", "int32"), ("path", "string")]
        )), "the types of the columns differ"),
    ],
)  # fmt: skip
def test_rows_that_differ_are_named(found: pyarrow.Table, message: str) -> None:
    wanted = table(("x", 0, "a"), ("x", 1, "b"))
    check_same(wanted, wanted, "a trial")
    with pytest.raises(RowsDifferError, match=f"a trial: {message}"):
        check_same(found, wanted, "a trial")


def test_a_command_that_fails_shows_what_it_said(tmp_path: Path) -> None:
    job = Job(tmp_path, tmp_path, prefix=("sh", "-c", "echo no room; exit 2"))
    with pytest.raises(RuntimeError, match="exit status 2:\nno room"):
        job.run(tmp_path / "log")
    assert job.start(tmp_path / "log").finish(expected=(1, 2)) == 2


def test_a_killed_command_has_ended(tmp_path: Path) -> None:
    running = Job(tmp_path, tmp_path, prefix=("sh", "-c", "exec sleep 600")).start(tmp_path / "log")
    assert not running.has_ended()
    running.kill()
    assert running.has_ended() and running.seconds > 0


def test_processes_below_a_process() -> None:
    # A shell that waits for a Python process, which holds 100 MB.
    program = "x = bytearray(100_000_000); print('ready', flush=True); input()"
    with subprocess.Popen(
        ["sh", "-c", f'"{sys.executable}" -c "{program}"; true'],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as shell:  # fmt: skip
        assert shell.stdout is not None and shell.stdout.readline() == "ready\n"
        (python,) = processes.descendants(shell.pid)
        assert {shell.pid, python} <= set(processes.descendants(os.getpid()))
        assert processes.title(python).startswith(sys.executable)
        assert 100 < processes.peak_mb(python) < 400
        assert processes.actors(shell.pid) == []
        shell.communicate("\n")
    assert processes.title(python) == "" and processes.peak_mb(python) == 0


def test_images_are_the_same_in_each_run(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        images.write_small_images(tmp_path / folder, 3)
    contents = [[x.read_bytes() for x in sorted((tmp_path / folder).iterdir())] for folder in ("a", "b")]
    assert contents[0] == contents[1] and len({*contents[0]}) == 3
    assert Image.open(tmp_path / "a" / "000000.jpg").size == images.SMALL


def test_speed_is_that_between_the_first_and_the_last_tenth() -> None:
    """20 shards of 10 images, one each second, after 30 seconds; the first and the last came late."""
    times = [100.0 + x for x in range(20)]
    times[0], times[-1] = 90.0, 150.0
    found = speed_of(times, begun=60.0, shard_size=10)
    assert found.start == 30 and found.images == pytest.approx(10)


def test_costs_grow_with_images_and_shards() -> None:
    costs = Costs(start=10, image=0.5, shard=2, end=2, read_bytes=0, row_bytes=3, shard_bytes=100)
    assert costs.seconds(images=40, workers=4, shard_size=50) == 17.5
    assert costs.seconds(images=40, workers=4, shard_size=10) == 19
    assert costs.written(images=41, shard_size=10) == 3 * 41 + 5 * 100
