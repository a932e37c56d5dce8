"""What a prediction on Ray costs: measured on 800 images, checked on 2,000, computed for more.

A run has a start, then each worker has its images one after the other, and an end. Seconds and bytes grow
with the images and with the shards, each of which has a head of its own and is brought to the disk.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode

from reldn_d2.scene_graphs import SceneGraph
from reldn_d2.scene_graphs.formats.shards import ImageKey, RowEncoder, ShardFile, read_identity
from reldn_d2.structures import Vocabulary
from tools.benchmarks.inference import Predict, photo_model, photos_of_one_size
from tools.benchmarks.ways import ACCELERATED

from .images import write_small_images
from .memory import Peaks
from .predictions import QUICK_MODEL, Job

_WORKERS, _CHECKED, _SHARD = 2, 2_000, 50
# Number and size of the shards of two short runs.
_SMALL, _LARGE = (40, 5), (12, 50)
_SIZES = (10**6, 10**8, 10**10)
# A photo as in COCO, whose 118,287 training images take 19.3 GB.
_PHOTO_BYTES = 163_000
# The rows that the default options give, from a detector that keeps 100 entities.
_ENTITIES, _RELATIONSHIPS = 100, 20
# An A100 in float32, without TF32, and what part of it a detector is assumed to use.
_GPU_FLOPS, _USED = 19.5e12, 0.3
_CORES, _GPUS = 1_000, 64


@dataclass(frozen=True)
class Costs:
    """The parts of the cost of a run.

    Attributes:
        start: seconds until the workers predict.
        image: seconds of a worker for an image.
        shard: seconds of a worker for each shard besides.
        end: seconds after the last shard.
        read_bytes: bytes of an image.
        row_bytes, shard_bytes: bytes that are written for each image, and for each shard besides.
    """

    start: float
    image: float
    shard: float
    end: float
    read_bytes: float
    row_bytes: float
    shard_bytes: float

    def seconds(self, images: int, workers: int, shard_size: int) -> float:
        """Duration of a run."""
        shards = -(-images // shard_size)
        return self.start + (self.image * images + self.shard * shards) / workers + self.end

    def written(self, images: int, shard_size: int) -> float:
        """Bytes of all shards of a run."""
        return self.row_bytes * images + self.shard_bytes * -(-images // shard_size)


def run(*, check: bool, folder: Path | None) -> None:
    """Measures the parts, and prints what a run costs.

    Args:
        check: also predict 2,000 images, and compare.
        folder: folder for everything that is written, which stays; None: a temporary one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        if check:
            print(
                tabulate(_checked(place), ["small images", "predicted", "measured", "ratio"], "pipe", ".3g")
            )
            print()
        print(tabulate(_restart(place), ["a finished shard of 100 rows", "value"], "pipe", floatfmt=".3g"))
    photo = _photo()
    print()
    print(tabulate(photo.parts(), ["a photo of 600 x 800, R-50-FPN", "value"], "pipe", floatfmt=".3g"))
    print()
    print(tabulate(_paper(photo), "keys", "pipe", floatfmt=".3g"))


@dataclass(frozen=True)
class _Sample:
    """A short run, seen from outside.

    Attributes:
        images, shards: their numbers.
        start: seconds until the workers predict.
        shard: seconds of a worker for a shard.
        end: seconds after the last shard.
        bytes: of all shards.
    """

    images: int
    shards: int
    start: float
    shard: float
    end: float
    bytes: int


def _sample(folder: Path, shards: int, shard_size: int) -> _Sample:
    images = shards * shard_size
    job = _job(folder, images, shard_size)
    running = job.start(folder / "sample.log")
    running.finish()
    written = sorted(path.stat().st_mtime for path in job.shards())
    # The first shard of each worker ends the start.
    first, last = written[_WORKERS - 1], written[-1]
    shard = (last - first) * _WORKERS / (len(written) - _WORKERS)
    return _Sample(
        images,
        shards,
        first - running.begun - shard,
        shard,
        running.seconds - (last - running.begun),
        _size(job.shards()),
    )


def _measured(folder: Path) -> Costs:
    """The parts, from a run with small shards and one with larger ones, which finds a warm machine."""
    small, large = _sample(folder, *_SMALL), _sample(folder, *_LARGE)
    images = np.array([[x.images / x.shards, 1] for x in (small, large)])
    image, shard = np.linalg.solve(images, [x.shard for x in (small, large)])
    counts = np.array([[x.images, x.shards] for x in (small, large)])
    row_bytes, shard_bytes = np.linalg.solve(counts, [x.bytes for x in (small, large)])
    pictures = [*_job(folder, large.images, _LARGE[1]).images.iterdir()]
    return Costs(
        start=large.start,
        image=image,
        shard=shard,
        end=large.end,
        read_bytes=_size(pictures) / large.images,
        row_bytes=row_bytes,
        shard_bytes=shard_bytes,
    )


def _checked(folder: Path) -> Iterator[list[object]]:
    """What the parts say of a longer run, and what it costs."""
    costs = _measured(folder)
    job, peaks = _job(folder, _CHECKED, _SHARD), Peaks()
    running = job.start(folder / "check.log")
    peaks.watch(running)
    running.finish()
    found = job.shards()
    pairs = {
        "seconds": (costs.seconds(_CHECKED, _WORKERS, _SHARD), running.seconds),
        "of them start and end": (costs.start + costs.end, None),
        "of an image, ms": (1000 * costs.image, None),
        "of a shard besides, ms": (1000 * costs.shard, None),
        "MB read": (costs.read_bytes * _CHECKED / 1e6, _size([*job.images.iterdir()]) / 1e6),
        "MB written": (costs.written(_CHECKED, _SHARD) / 1e6, _size(found) / 1e6),
        "shards": (_CHECKED / _SHARD, len(found)),
        "MB in the object store": (None, peaks.object_store),
    }
    for name, (predicted, measured) in pairs.items():
        yield [name, predicted, measured, predicted / measured if predicted and measured else None]


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _job(folder: Path, images: int, shard_size: int) -> Job:
    place = folder / f"images-{images}"
    write_small_images(place, images)
    # Images alone, so that no batch is fuller in the long run than in the short one.
    words = ("--engine", "ray", "--workers", str(_WORKERS), "--shard-size", str(shard_size), *QUICK_MODEL)
    return Job(place, folder / f"output-{images}-{shard_size}", words).with_words("--batch-size", "1")


@dataclass(frozen=True)
class Photo:
    """What a photo costs.

    Attributes:
        core: seconds on one core.
        flops: floating-point operations of its products and convolutions.
        row_bytes, shard_bytes: see `Costs`.
    """

    core: float
    flops: float
    row_bytes: float
    shard_bytes: float

    @property
    def gpu(self) -> float:
        """Seconds on a GPU, computed."""
        return self.flops / (_GPU_FLOPS * _USED)

    def parts(self) -> list[tuple[str, float]]:
        """Rows of a table."""
        return [
            ("seconds on one core, measured", self.core),
            ("GFLOP of products and convolutions", self.flops / 1e9),
            (f"seconds on an A100, computed: {_USED:.0%} of its {_GPU_FLOPS / 1e12:g} TFLOP/s", self.gpu),
            ("bytes of a row", self.row_bytes),
            ("bytes of a shard besides its rows", self.shard_bytes),
        ]


def _photo() -> Photo:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        predict = Predict(photo_model(ACCELERATED, "cpu"), ACCELERATED, photos_of_one_size(1), 1)
        with FlopCounterMode(display=False) as counter:
            predict()
        times = []
        for _ in range(5):
            # Processor time, which does not count other programs.
            start = time.process_time()
            predict()
            times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        few, many = (_write_shard(Path(folder, f"{rows}"), rows) for rows in (10, 100))
    row_bytes = (many - few) / 90
    return Photo(float(np.median(times)), counter.get_total_flops(), row_bytes, few - 10 * row_bytes)


def _write_shard(file: Path, rows: int) -> int:
    """Writes a shard of photos with random numbers. Returns its size in bytes."""
    names = Vocabulary([f"class {x}" for x in range(150)], [f"predicate {x}" for x in range(50)])
    encoder, generator = RowEncoder(names), np.random.default_rng(0)
    table = [
        encoder.graph(ImageKey("images.parquet", x, f"photos/{x:012d}.jpg"), _graph(generator))
        for x in range(rows)
    ]
    with file.open("wb") as stream:
        ShardFile().write(stream, table, {"weights (sha256)": "0" * 64, "version": "0"}, names)
    return file.stat().st_size


def _graph(generator: np.random.Generator) -> SceneGraph:
    """A scene graph with as much in it as the default options let through."""
    boxes = np.sort(generator.uniform(0, 600, (_ENTITIES, 2, 2)), axis=1).reshape(-1, 4)
    numbers = generator.random(_ENTITIES + 2 * _RELATIONSHIPS)
    return {
        "version": 1,
        "image": {"file_name": "photo.jpg", "width": 800, "height": 600},
        "entities": [
            {
                "id": i,
                "class": f"class {generator.integers(150)}",
                "score": numbers[i],
                "box": boxes[i].tolist(),
            }
            for i in range(_ENTITIES)
        ],
        "relationships": [
            {
                "subject": int(generator.integers(50)),
                "object": int(generator.integers(50, 100)),
                "predicate": f"predicate {generator.integers(50)}",
                "score": numbers[_ENTITIES + i],
                "predicate_score": numbers[_ENTITIES + _RELATIONSHIPS + i],
            }
            for i in range(_RELATIONSHIPS)
        ],
    }


def _restart(folder: Path) -> list[tuple[str, float]]:
    """What a command that goes on reads of finished shards."""
    file = folder / "part-0.parquet"
    size = _write_shard(file, 100)
    ways: dict[str, Callable[[Path], object]] = {
        "by the driver, ms": read_identity,
        "by the worker that has its unit, ms": ShardFile().read_header,
    }
    rows = [("bytes", float(size))]
    for name, read in ways.items():
        start = time.process_time()
        for _ in range(50):
            read(file)
        rows.append((f"processor time to read it {name}", (time.process_time() - start) / 50 * 1e3))
    return rows


def _paper(photo: Photo) -> Iterator[dict[str, object]]:
    """What numbers of photos cost that nobody has predicted here."""
    for images in _SIZES:
        shard_size = 100 if images <= 10**6 else 1_000 if images <= 10**8 else 10_000
        shards = images // shard_size
        yield {
            "photos": f"{images:.0e}",
            "TB read": images * _PHOTO_BYTES / 1e12,
            "--shard-size": shard_size,
            "shards": shards,
            "TB written": (images * photo.row_bytes + shards * photo.shard_bytes) / 1e12,
            "core hours": images * photo.core / 3600,
            f"days on {_CORES:,} cores": images * photo.core / 86400 / _CORES,
            "GPU hours": images * photo.gpu / 3600,
            f"days on {_GPUS} GPUs": images * photo.gpu / 86400 / _GPUS,
        }
