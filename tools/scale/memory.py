"""Peak memory of a prediction on Ray, with few images and with many."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from .images import write_small_images
from .predictions import Job, Running
from .processes import actors, descendants, peak_mb, shared_mb


@dataclass
class Peaks:
    """Peak memory in MB (1e6 bytes).

    Attributes:
        driver: of the process of the command.
        actor: of the worker that had most.
        others: of all other processes of the cluster together.
        object_store: shared memory that the node's object store has touched.
    """

    driver: float = 0
    actor: float = 0
    others: float = 0
    object_store: float = 0

    def watch(self, running: Running) -> None:
        """Looks at the processes again and again, until the command ends."""
        while not running.has_ended():
            self.driver = max(self.driver, peak_mb(running.pid))
            workers = set(actors(running.pid))
            found = descendants(running.pid)
            self.actor = max([self.actor, *map(peak_mb, workers)])
            self.others = max(self.others, sum(peak_mb(pid) for pid in found if pid not in workers))
            self.object_store = max([self.object_store, *map(shared_mb, found)])
            time.sleep(0.05)


def run(counts: list[int], words: list[str], folder: Path | None) -> None:
    """Predicts small images, and prints a table.

    Args:
        counts: numbers of images.
        words: more options of `reldn predict`.
        folder: folder for everything that is written, which stays; None: a temporary one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        rows = [*_rows(counts, words, folder or Path(temporary))]
    header = (
        "images",
        "seconds",
        "driver, MB",
        "largest actor, MB",
        "other processes, MB",
        "object store, MB",
    )
    print(tabulate(rows, header, "pipe", floatfmt=".0f"))


def _rows(counts: list[int], words: list[str], folder: Path) -> Iterator[list[object]]:
    for count in counts:
        images = folder / f"images-{count}"
        write_small_images(images, count)
        job = Job(images, folder / f"output-{count}", tuple(words)).with_words(
            "--engine", "ray", "--workers", "2"
        )
        running, peaks = job.start(folder / f"{count}.log"), Peaks()
        peaks.watch(running)
        running.finish()
        found = len(job.rows())
        assert found == count, f"{found} rows of {count} images"
        yield [count, running.seconds, peaks.driver, peaks.actor, peaks.others, peaks.object_store]
