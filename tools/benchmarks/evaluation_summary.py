"""Memory and time of the last step of an evaluation from shards: the numbers of columns that lie on the disk.

Each protocol has generated columns, in files of 2,000 images, and a process of its own.
"""

import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from reldn_d2.evaluation import EvaluatedSplit, TrainingSplit, make_protocols
from reldn_d2.evaluation.columns import Columns, compact, image_of_rows
from reldn_d2.evaluation.protocols.average_precision import AveragePrecisionProtocol
from reldn_d2.evaluation.protocols.recall import RecallProtocol, RecallSummary
from reldn_d2.evaluation.protocols.registry import streaming_protocols
from reldn_d2.evaluation.sorted_runs import run_order
from reldn_d2.utils.array_files import read_arrays, write_arrays

from .memory import watch_peak

_IMAGES = 2_000  # of a file
_RELATIONSHIPS, _TRIPLETS, _CASES = 6, 100, 4  # of an image
_TRUE = 0.04  # share of the triplets that are true positives
# Protocol, number of images, number of predicates.
_SUMMARIES = (
    *(("motifs", images, 50) for images in (10_000, 100_000, 1_000_000)),
    *(("openimages", images, 9) for images in (10_000, 100_000, 1_000_000)),
    ("openimages", 1_000_000, 50),
    *((name, 100_000, 50) for name in ("reldn", "vrd2016", "reldn_openimages", "confusion")),
)


@dataclass(frozen=True)
class Summary:
    """The summary of one protocol.

    Attributes:
        protocol: name of the protocol.
        images, predicates: their numbers.
        disk_mb: size of all columns on the disk, in MB (1e6 bytes).
        peak_mb: peak memory above that before the summary, in MB.
        seconds: time of the processor for the summary, with reading.
    """

    protocol: str
    images: int
    predicates: int
    disk_mb: float
    peak_mb: float
    seconds: float


def summaries() -> Iterator[Summary]:
    """Writes the columns of each row of the table, and measures its summary."""
    for name, images, predicates in _SUMMARIES:
        with TemporaryDirectory() as folder:
            for first in range(0, images, _IMAGES):
                write_arrays(Path(folder, f"{first:07}.npz"), _columns(name, predicates, first))
            disk_mb = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                peak_mb, seconds = pool.submit(summarise, name, images, predicates, folder).result()
        yield Summary(name, images, predicates, disk_mb, peak_mb, seconds)


class _Files(Sequence[Columns]):
    """Columns of each file of a folder, read when they are asked for."""

    def __init__(self, folder: str) -> None:
        self._paths = sorted(Path(folder).iterdir())

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> Any:
        return read_arrays(self._paths[index], (), what="file of columns", remedy="measure again")


def summarise(name: str, images: int, predicates: int, folder: str) -> tuple[float, float]:
    """Summarise the columns of a folder in this process. Returns the peak in MB, and the seconds."""
    (protocol,) = streaming_protocols(make_protocols([name]))
    counts = np.arange(predicates)[::-1]
    split = EvaluatedSplit(
        [str(p) for p in range(predicates)], TrainingSplit(1, counts, counts[:0]), task="sgdet"
    )
    peak = watch_peak()
    start = time.process_time()
    image_ids = tuple(f"{i:07}" for i in range(images))
    protocol.summarise_columns(image_ids, _Files(folder), split)
    return peak(), time.process_time() - start


def _columns(name: str, predicates: int, seed: int) -> Mapping[str, npt.NDArray[Any]]:
    """The columns of the images of a file."""
    rng = np.random.default_rng(seed)
    (protocol,) = make_protocols([name])
    if isinstance(protocol, AveragePrecisionProtocol):
        return {**_recall_columns(rng, protocol.recall, predicates), **_triplets(rng, predicates)}
    if isinstance(protocol, RecallProtocol):
        return _recall_columns(rng, protocol, predicates)
    return _cases(rng, predicates)


def _recall_columns(
    rng: np.random.Generator, protocol: RecallProtocol | RecallSummary, predicates: int
) -> dict[str, npt.NDArray[Any]]:
    lists, numbers = len(protocol.lists), len(protocol.recall_at)
    counts = rng.poisson(_RELATIONSHIPS, _IMAGES)
    return {
        "images/correct": rng.integers(_RELATIONSHIPS, size=(_IMAGES, lists, numbers), dtype=np.uint8),
        "relationships/image": image_of_rows(counts.tolist()),
        "relationships/predicate": _predicates(rng, counts.sum(), predicates),
        "relationships/places": rng.integers(101, size=(counts.sum(), lists), dtype=np.uint8),
        "relationships/zero_shot": rng.random(counts.sum()) < 0.1,
    }


def _triplets(rng: np.random.Generator, predicates: int) -> dict[str, npt.NDArray[Any]]:
    size = _IMAGES * _TRIPLETS
    relation, phrase = rng.random((2, size)) < [[_TRUE], [_TRUE / 4]]
    table = {
        "image": image_of_rows([_TRIPLETS] * _IMAGES),
        "predicate": _predicates(rng, size, predicates),
        "score": rng.random(size, dtype=np.float32) ** 2,
        "true_rel": relation,
        "true_phr": relation | phrase,
    }
    order = run_order(table["predicate"], table["score"])
    return {f"triplets/{name}": values[order] for name, values in table.items()}


def _cases(rng: np.random.Generator, predicates: int) -> dict[str, npt.NDArray[Any]]:
    columns: dict[str, npt.NDArray[Any]] = {"images/excluded": np.zeros(_IMAGES, dtype=np.bool_)}
    for kind in ("instance", "proximity"):
        counts = rng.poisson(_CASES, _IMAGES)
        right = rng.integers(3, size=counts.sum(), dtype=np.uint8)
        columns |= {
            f"images/chance_{kind}": rng.random(_IMAGES),
            f"{kind}/image": image_of_rows(counts.tolist()),
            f"{kind}/predicate": _predicates(rng, counts.sum(), predicates),
            f"{kind}/halves": np.stack([right, 2 - right, np.zeros_like(right)], axis=1),
        }
    return columns


def _predicates(rng: np.random.Generator, size: int, predicates: int) -> npt.NDArray[Any]:
    """Predicates whose frequencies fall as 1 / rank, as in Visual Genome."""
    weights = 1 / np.arange(1, predicates + 1)
    return compact(rng.choice(predicates, size, p=weights / weights.sum()))
