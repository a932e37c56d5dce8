"""`reldn predict --format shards` in processes that can be watched and killed, and its rows."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pyarrow
import pyarrow.parquet

from . import processes

_REPOSITORY = Path(__file__).parents[2]
#: A model that takes about 10 ms an image on one core: what is measured is the work around it.
QUICK_MODEL = (
    *("--weights", "scenes-tiny", "--device", "cpu", "--score-threshold", "0", "--batch-size", "8"),
    *("INPUT.MIN_SIZE_TEST", "64", "TEST.DETECTIONS_PER_IMAGE", "5"),
    *("MODEL.RPN.PRE_NMS_TOPK_TEST", "20", "MODEL.RPN.POST_NMS_TOPK_TEST", "10"),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"),
)


class RowsDifferError(AssertionError):
    """A disturbed run did not end with the rows of an undisturbed one."""


@dataclass(frozen=True)
class Job:
    """A command `reldn predict --format shards`, which can be given again.

    Attributes:
        images: --input.
        output: --output.
        words: the other options and overrides of the config.
        threads: threads of each process that predicts.
        environment: more environment variables.
        prefix: words before the command, for a program that starts it.
    """

    images: Path
    output: Path
    words: tuple[str, ...] = QUICK_MODEL
    threads: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def with_words(self, *words: str) -> Self:
        """The same command with more options."""
        # Overrides of the config come last.
        return replace(self, words=(*words, *self.words))

    def start(self, log: Path) -> "Running":
        """Starts the command.

        Args:
            log: file that what it says is added to.
        """
        words = ["--input", str(self.images), "--output", str(self.output), "--format", "shards", *self.words]
        with log.open("ab") as stream:
            process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "reldn_cli", "predict", *words],
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, cwd=_REPOSITORY,
                env={**os.environ, **worker_environment(self.threads), **self.environment},
            )  # fmt: skip
        return Running(process, log)

    def run(self, log: Path) -> float:
        """Runs the command to its end. Returns the seconds that it took.

        Raises:
            RuntimeError: it failed.
        """
        running = self.start(log)
        running.finish()
        return running.seconds

    def shards(self) -> list[Path]:
        """The shards that are written."""
        return sorted(self.output.glob("shards/*.parquet"))

    def rows(self) -> "pyarrow.Table":
        """All rows, sorted by the input and the number of the row.

        Raises:
            RowsDifferError: a row is there twice.
        """
        table = pyarrow.concat_tables(pyarrow.parquet.read_table(path) for path in self.shards())
        table = table.replace_schema_metadata(None).sort_by([("input", "ascending"), ("row", "ascending")])
        keys = table.select(["input", "row"]).group_by(["input", "row"]).aggregate([([], "count_all")])
        if len(keys) != len(table):
            raise RowsDifferError(f"{self.output}: {len(table) - len(keys)} rows are there twice")
        return table


def worker_environment(threads: int = 1) -> dict[str, str]:
    """Environment variables of processes that predict, and of clusters that start such processes."""
    # Its sockets need a short path. With a folder of its own, no other cluster is found by chance.
    folder = Path(f"/tmp/reldn_scale_{os.getuid()}")
    folder.mkdir(exist_ok=True)
    return {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(_REPOSITORY),
        "RAY_TMPDIR": str(folder),
        # Ray gives its workers the lowest share of the processor, unless the command starts the cluster.
        "RAY_worker_niceness": "0",
    }


class Running:
    """A command that was started.

    Attributes:
        pid: its process.
        log: file with what it says.
        begun: when it was started, as files have times.
        seconds: time until its end, once it has ended.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process, self.log = process, log
        self.begun = time.time()
        self.pid, self.seconds = process.pid, 0.0

    def has_ended(self) -> bool:
        """Whether it has ended."""
        if self._process.poll() is None:
            return False
        self.seconds = self.seconds or time.time() - self.begun
        return True

    def finish(self, expected: Sequence[int] = (0,), seconds: float = 1800) -> int:
        """Waits for its end. Returns the exit status.

        Raises:
            RuntimeError: it has another exit status than expected.
            TimeoutError: it takes longer than `seconds`.
        """
        processes.wait_until(self.has_ended, f"the end of the command, see {self.log}", seconds)
        status: Any = self._process.returncode
        if status not in expected:
            raise RuntimeError(f"exit status {status}:\n{self.log.read_text(errors='replace')[-3000:]}")
        return int(status)

    def kill(self) -> None:
        """Kills the command itself, without the processes that it started, and waits for its end."""
        self._process.kill()
        self._process.wait()
        self.has_ended()


def check_same(found: "pyarrow.Table", wanted: "pyarrow.Table", what: str) -> None:
    """Compares the rows of two runs.

    Raises:
        RowsDifferError: they differ. The message names the first row.
    """
    if found.equals(wanted):
        return
    keys, others = (
        {(x["input"], x["row"]) for x in t.select(["input", "row"]).to_pylist()} for t in (found, wanted)
    )
    if keys != others:
        raise RowsDifferError(f"{what}: {len(others - keys)} rows are missing, {len(keys - others)} too many")
    for one, other in zip(found.to_pylist(), wanted.to_pylist(), strict=True):
        if one != other:
            names = [name for name in one if one[name] != other.get(name)]
            raise RowsDifferError(
                f"{what}: row {one['row']} of {one['input']!r} differs in {', '.join(names)}"
            )
    raise RowsDifferError(f"{what}: the types of the columns differ")
