"""Images a second of Ray's workers beside plain `reldn predict`, in one run, with the start apart."""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from .images import write_small_images
from .predictions import Job

_ONE_ACTOR = ("--engine", "ray", "--workers", "1")
_TWO_ACTORS = ("--engine", "ray", "--workers", "2")


@dataclass(frozen=True)
class Way:
    """A way to predict.

    Attributes:
        name: name for the table.
        words: options of the command.
        threads: threads of each process that predicts.
        processes: number of such processes.
        beside: name of the plain way that it is compared with; empty for a plain way.
        format: what is written.
    """

    name: str
    words: tuple[str, ...] = ()
    threads: int = 2
    processes: int = 1
    beside: str = ""


WAYS = (
    Way("one process, two threads"),
    Way("one actor, two threads", (*_ONE_ACTOR, "--worker-cpus", "2"), beside="one process, two threads"),
    Way("two processes, one thread each", ("--num-gpus", "2"), 1, 2),
    Way("two actors, one thread each", _TWO_ACTORS, 1, 2, beside="two processes, one thread each"),
)


@dataclass(frozen=True)
class Speed:
    """Speed of one run.

    Attributes:
        start: seconds until the first shard is written.
        images: images a second, without the first and the last tenth of the shards.
    """

    start: float
    images: float


def run(count: int, turns: int, words: list[str], shard_size: int, folder: Path | None) -> None:
    """Measures all ways in turns, and prints a table.

    Args:
        count: number of images.
        turns: how often each way is measured.
        words: other options of `reldn predict`, such as --weights.
        shard_size: images of a shard.
        folder: folder for everything that is written, which stays; None: a temporary one.
    """
    speeds: dict[str, list[Speed]] = {way.name: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        write_small_images(place / "images", count)
        for turn in range(turns):
            for way in WAYS:
                output = place / f"{way.name.replace(' ', '-')}-{turn}"
                job = Job(place / "images", output, tuple(words), way.threads)
                found = _speed(job.with_words(*way.words, "--shard-size", str(shard_size)), place, shard_size)
                speeds[way.name].append(found)
                print(f"{way.name}: {found.images:.1f} images a second after {found.start:.1f} s", flush=True)
    medians = {name: statistics.median(x.images for x in found) for name, found in speeds.items()}
    rows = [
        [
            way.name,
            statistics.median(x.start for x in speeds[way.name]),
            medians[way.name],
            medians[way.name] / medians[way.beside] if way.beside else None,
        ]
        for way in WAYS
    ]
    header = ("way", "start, s", "images a second", "of the plain way")
    print(tabulate(rows, header, "pipe", floatfmt=("", ".1f", ".1f", ".2f")))


def _speed(job: Job, folder: Path, shard_size: int) -> Speed:
    running = job.start(folder / f"{job.output.name}.log")
    running.finish()
    return speed_of([path.stat().st_mtime for path in job.shards()], running.begun, shard_size)


def speed_of(times: list[float], begun: float, shard_size: int) -> Speed:
    """The speed of a run, from the times at which its shards were written.

    Args:
        times: seconds, one for each shard.
        begun: when the command was started.
        shard_size: images of a shard.
    """
    times = sorted(times)
    # Several workers neither begin nor end at the same moment.
    tenth = len(times) // 10
    steady = times[tenth : len(times) - tenth]
    return Speed(times[0] - begun, (len(steady) - 1) * shard_size / (steady[-1] - steady[0]))
