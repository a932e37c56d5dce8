"""Kills parts of a prediction, fills its disk and memory, and compares its rows with an undisturbed run."""

import os
import random
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
from tabulate import tabulate

from .images import write_huge_image, write_small_images
from .predictions import Job, Running, check_same, worker_environment
from .processes import actors, wait_until

_IMAGES, _SHARD_SIZE = 400, 10
_SHARDS = ("--shard-size", str(_SHARD_SIZE))
_RAY = ("--engine", "ray", "--workers", "2", *_SHARDS)
# What the rows say of an image that ended the processes that read it.
_TOOK_DOWN = "took the worker down"
_CGROUP = Path("/sys/fs/cgroup/memory")
# Enough for the command and its workers, but not for the huge image, too.
_MEMORY, _MEMORY_OF_ONE = 4_000_000_000, 1_500_000_000
# Ray does not count what files have in memory.
_MEMORY_FOR_RAY = 3_000_000_000
# How often a command is given that an image ends each time.
_MOST_COMMANDS = 10
_HUGE = "huge.png"


@dataclass(frozen=True)
class Case:
    """A trial of one fault.

    Attributes:
        job: the command.
        random: chooses places and processes.
        log: file with what the command says.
        nodes: `ray.cluster_utils.Cluster` that the command uses, and its second node; None if it starts one.
    """

    job: Job
    random: random.Random
    log: Path
    nodes: tuple[Any, Any] | None = None

    def start_and_wait(self) -> Running:
        """Starts the command, and waits until it is somewhere in the middle of a shard.

        Raises:
            RuntimeError: it ended before.
        """
        running = self.job.start(self.log)
        shards = self.random.randint(3, _IMAGES // _SHARD_SIZE - 8)
        wait_until(lambda: len(self.job.shards()) >= shards or running.has_ended(), "shards")
        time.sleep(self.random.uniform(0, 0.1))
        if running.has_ended():
            raise RuntimeError(f"the command ended before its time, see {self.log}")
        return running

    def go_on(self) -> float:
        """Gives the command again. Returns the seconds that it took."""
        return self.job.with_words("--resume").run(self.log)


@dataclass(frozen=True)
class Ending:
    """What came of a run with a fault.

    Attributes:
        rows: the rows at its end.
        commands: how often the command was given.
        seconds: time of all of them.
    """

    rows: "pyarrow.Table"
    commands: int
    seconds: float


def actor_killed(case: Case) -> Ending:
    """`kill -9` of one of two actors."""
    running = case.start_and_wait()
    os.kill(case.random.choice(actors(running.pid)), signal.SIGKILL)
    running.finish()
    return Ending(case.job.rows(), 1, running.seconds)


def node_killed(case: Case) -> Ending:
    """`kill -9` of all processes of one of two nodes."""
    assert case.nodes is not None
    cluster, node = case.nodes
    running = case.start_and_wait()
    cluster.remove_node(node, allow_graceful=False)
    running.finish()
    return Ending(case.job.rows(), 1, running.seconds)


def driver_killed(case: Case) -> Ending:
    """`kill -9` of the driver."""
    running = case.start_and_wait()
    running.kill()
    seconds = running.seconds + case.go_on()
    return Ending(case.job.rows(), 2, seconds)


def disk_full(case: Case) -> Ending:
    """A disk that gets full, and is freed."""
    with disk_in_memory(case.job.output):
        running = case.start_and_wait()
        filler = case.job.output / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        running.finish(expected=(2,))
        if "No space left on device" not in case.log.read_text():
            raise AssertionError(f"the command does not say that the disk is full, see {case.log}")
        filler.unlink()
        seconds = running.seconds + case.go_on()
        return Ending(case.job.rows(), 2, seconds)


def too_little_memory(case: Case) -> Ending:
    """An image whose worker the system kills, since memory is full."""
    with memory_limit(_MEMORY) as prefix:
        return _with_huge(replace(case.job, prefix=prefix), case.log)


def too_little_memory_for_one(case: Case) -> Ending:
    """An image that ends the command, since memory is full; it is given again until it finishes."""
    with memory_limit(_MEMORY_OF_ONE) as prefix:
        job = replace(case.job, prefix=prefix)
        seconds, commands, status = 0.0, 0, -signal.SIGKILL
        while status == -signal.SIGKILL and commands < _MOST_COMMANDS:
            running = (job.with_words("--resume") if commands else job).start(case.log)
            status = running.finish(expected=(1, -signal.SIGKILL))
            seconds, commands = seconds + running.seconds, commands + 1
    return Ending(_rows_with_error(job, case.log), commands, seconds)


def too_much_for_ray(case: Case) -> Ending:
    """An image whose worker Ray kills, since memory is nearly full."""
    sizes = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(sizes[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    threshold = (total - free + _MEMORY_FOR_RAY) / total
    environment = {"RAY_memory_usage_threshold": f"{threshold}", "RAY_memory_monitor_refresh_ms": "50"}
    return _with_huge(replace(case.job, environment=environment), case.log)


def _with_huge(job: Job, log: Path) -> Ending:
    """Runs a command in which the huge image must fail."""
    running = job.start(log)
    # An image without a result is a problem.
    running.finish(expected=(1,))
    return Ending(_rows_with_error(job, log), 1, running.seconds)


def _rows_with_error(job: Job, log: Path) -> "pyarrow.Table":
    """The rows but for that of the huge image, which must say what it did."""
    rows = job.rows()
    (error,) = rows.filter(pyarrow.compute.ends_with(rows["path"], _HUGE))["error"].to_pylist()
    if _TOOK_DOWN not in (error or ""):
        raise AssertionError(f"the row of {_HUGE} does not say that it {_TOOK_DOWN}: {error}, see {log}")
    return _without_huge(rows)


def _without_huge(rows: "pyarrow.Table") -> "pyarrow.Table":
    return rows.filter(pyarrow.compute.invert(pyarrow.compute.ends_with(rows["path"], _HUGE)))


@contextmanager
def two_nodes() -> Iterator[tuple[Any, Any]]:
    """A cluster of two nodes on this machine, with one logical CPU each.

    Yields:
        The `ray.cluster_utils.Cluster`, and its second node.
    """
    os.environ.update(worker_environment())
    from ray.cluster_utils import Cluster

    options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster: Any = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    try:
        yield cluster, cluster.add_node(**options)
    finally:
        cluster.shutdown()


@contextmanager
def disk_in_memory(folder: Path) -> Iterator[None]:
    """Mounts a disk of 8 MB at a folder. Needs root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def memory_limit(size: int) -> Iterator[tuple[str, ...]]:
    """A group of processes that have so many bytes of memory together. Needs root, and cgroups of version 1.

    Yields:
        Words to put before a command, so that it runs in the group.
    """
    group = _CGROUP / f"reldn_d2_{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(size))
    try:
        yield "sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")
    finally:
        # Processes need a moment to end.
        wait_until(lambda: not (group / "cgroup.procs").read_text(), f"the end of the processes in {group}")
        group.rmdir()


@dataclass(frozen=True)
class Kind:
    """A fault, and the command that it is tried with.

    Attributes:
        cause: causes the fault.
        where: what runs the command, for the table.
        words: more options of the command.
        with_huge: whether the huge image is among the images.
        on_nodes: whether the command uses a cluster of two nodes, which stays.
    """

    cause: Callable[[Case], Ending]
    where: str = "a cluster of its own"
    words: tuple[str, ...] = _RAY
    with_huge: bool = False
    on_nodes: bool = False


KINDS = {
    "actor": Kind(actor_killed),
    "node": Kind(node_killed, "two nodes", on_nodes=True),
    "driver": Kind(driver_killed),
    "driver-of-nodes": Kind(driver_killed, "two nodes", on_nodes=True),
    "local": Kind(driver_killed, "the local engine", _SHARDS),
    "disk": Kind(disk_full),
    "memory": Kind(too_little_memory, with_huge=True),
    "ray-memory": Kind(too_much_for_ray, with_huge=True),
    "local-memory": Kind(too_little_memory_for_one, "the local engine", _SHARDS, with_huge=True),
}


_HEADER = (
    *("fault", "of", "trials", "rows", "commands", "undisturbed, s"),
    *("lost, s (median)", "lost, s (most)"),
)


def run(names: list[str], turns: int, folder: Path | None) -> bool:
    """Tries faults, and prints a table. After a fault that a run does not survive the next one is tried.

    Args:
        names: keys of `KINDS`.
        turns: how often each fault is tried.
        folder: folder for everything that is written, which stays; None: a temporary one.

    Returns:
        Whether all runs ended with the rows of an undisturbed one.
    """
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        trials = Trials(folder or Path(temporary))
        for name in names:
            try:
                rows.append(trials.row(name, KINDS[name], turns))
            except (AssertionError, RuntimeError, TimeoutError) as error:
                print(f"{name}: FAILED: {error}", flush=True)
    print(tabulate(rows, _HEADER, "pipe", floatfmt=".0f"))
    return len(rows) == len(names)


class Trials:
    """Trials in one folder, which share the images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Command and place -> its undisturbed run.
        self._undisturbed: dict[tuple[object, ...], Ending] = {}
        write_small_images(folder / "images", _IMAGES)
        write_huge_image(folder / _HUGE)
        images = [str(folder / "images" / f"{number:06d}.jpg") for number in range(_IMAGES)]
        # In the middle of a shard.
        place = _IMAGES // 2 + _SHARD_SIZE // 2
        with_huge = [*images[:place], str(folder / _HUGE), *images[place:]]
        for name, listed in (("images", images), ("with_huge", with_huge)):
            (folder / f"{name}.txt").write_text("".join(f"{path}\n" for path in listed))

    def row(self, name: str, kind: Kind, turns: int) -> list[object]:
        """Tries a fault some times. Returns a row of the table."""
        wanted = self._wanted(name, kind)
        rows = _without_huge(wanted.rows) if kind.with_huge else wanted.rows
        lost, commands = [], 0
        for turn in range(turns):
            found = self._try(f"{name}-{turn}", kind, turn)
            check_same(found.rows, rows, f"{name}, trial {turn}")
            lost.append(found.seconds - wanted.seconds)
            commands = max(commands, found.commands)
            print(f"{name}, trial {turn}: the same {len(found.rows)} rows, {lost[-1]:.1f} s lost", flush=True)
        what = (kind.cause.__doc__ or "").rstrip(".")
        times = wanted.seconds, statistics.median(lost), max(lost)
        return [what, kind.where, turns, len(rows), commands, *times]

    def _wanted(self, name: str, kind: Kind) -> Ending:
        key = kind.words, kind.with_huge, kind.on_nodes
        if key not in self._undisturbed:
            self._undisturbed[key] = self._try(f"{name}-undisturbed", replace(kind, cause=_undisturbed), 0)
        return self._undisturbed[key]

    def _try(self, name: str, kind: Kind, turn: int) -> Ending:
        listed = self.folder / ("with_huge.txt" if kind.with_huge else "images.txt")
        job = Job(listed, self.folder / name).with_words(*kind.words)
        case = Case(job, random.Random(turn), self.folder / f"{name}.log")
        if not kind.on_nodes:
            return kind.cause(case)
        with two_nodes() as (cluster, node):
            job = job.with_words("--address", cluster.address)
            return kind.cause(replace(case, job=job, nodes=(cluster, node)))


def _undisturbed(case: Case) -> Ending:
    seconds = case.job.run(case.log)
    return Ending(case.job.rows(), 1, seconds)
