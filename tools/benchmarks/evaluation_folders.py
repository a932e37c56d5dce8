"""Memory and time of scoring folders of predictions for very many generated images.

    python -m tools.benchmarks.evaluation_folders --images 10000 100000 --protocol motifs openimages
    python -m tools.benchmarks.evaluation_folders --images 1000000 --workers 2 --folder /data/generated

An image has 20 annotated entities of 150 classes, 6 relationships of 50 predicates, and a list of 100
triplets: about 4 KB on the disk. After 100,000 images the same ones follow again with other ids. Each size is
generated first, then scored in a process of its own, and deleted.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reldn_d2.evaluation import (
    AnnotatedSet,
    AnnotationShardWriter,
    GroundTruthGraph,
    PredictedGraph,
    PredictionShardWriter,
    RankedTriplets,
    TripletAnswers,
    confusion_triplets,
    evaluate_folders,
)
from reldn_d2.structures import Vocabulary
from reldn_d2.utils.array_files import read_arrays, write_arrays
from reldn_d2.utils.plain_text import markdown_table, say

from .memory import status_kb

CLASSES, PREDICATES, SIDE = 150, 50, 800
ENTITIES, RELATIONS, PAIRS, TRIPLETS = 20, 6, 60, 100
_OF_A_FILE = 2_000  # images
_DIFFERENT = 100_000  # images; the number of all must be a multiple of `_OF_A_FILE` if it is larger
_HEADER = (
    *("images", "protocols", "workers", "imports", "main process", "largest worker"),
    *("seconds", "CPU seconds"),
)


@dataclass(frozen=True)
class Scored:
    """One evaluation.

    Attributes:
        imports_mb: memory of a process with all imports, in MB (1e6 bytes).
        main_mb, worker_mb: peak memory of the main process and of its largest worker, with the imports.
        seconds: time of the whole evaluation.
        cpu_seconds: time that processors worked for it, in all processes.
    """

    imports_mb: float
    main_mb: float
    worker_mb: float
    seconds: float
    cpu_seconds: float


def main() -> None:
    """Generates and scores each size, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", type=int, nargs="+", default=[10_000, 100_000])
    add("--protocol", nargs="+", default=["motifs", "openimages"])
    add("--workers", type=int, default=2)
    add("--folder", type=Path, help="where to generate (default: a temporary folder)")
    args = parser.parse_args()
    rows = []
    for images in args.images:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            generate(Path(folder), images, answers="confusion" in args.protocol)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                found = pool.submit(score, folder, args.protocol, args.workers).result()
        memory = [f"{mb:.0f} MB" for mb in (found.imports_mb, found.main_mb, found.worker_mb)]
        time_taken = f"{found.seconds:.0f}", f"{found.cpu_seconds:.0f}"
        rows.append([f"{images:,}", " ".join(args.protocol), str(args.workers), *memory, *time_taken])
        say(markdown_table(_HEADER, rows, ["right"] * len(_HEADER)))


def score(folder: str, protocols: Sequence[str], workers: int) -> Scored:
    """Score generated folders in this process and its workers."""
    imports, start, used = status_kb("VmRSS"), time.perf_counter(), _cpu_seconds()
    evaluate_folders(
        Path(folder, "predictions"), Path(folder, "annotations"), protocols, Path(folder, "results"),
        workers=workers,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if workers > 1 else imports
    imports_mb, main_mb, worker_mb = (kb * 1024 / 1e6 for kb in (imports, status_kb("VmHWM"), worker))
    return Scored(imports_mb, main_mb, worker_mb, seconds, _cpu_seconds() - used)


def _cpu_seconds() -> float:
    """The time that processors have worked for this process and for its ended children."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def generate(folder: Path, images: int, *, answers: bool) -> None:
    """Write folders of annotations and predictions.

    Args:
        folder: where to make the folders "annotations" and "predictions".
        images: number of images.
        answers: whether the predictions answer what protocol confusion asks.
    """
    start = time.perf_counter()
    names = [[str(i) for i in range(count)] for count in (CLASSES, PREDICATES)]
    vocabulary = Vocabulary(*names)
    about = AnnotatedSet("generated", vocabulary)
    with (
        AnnotationShardWriter(folder / "annotations", about, shard_size=_OF_A_FILE) as annotations,
        PredictionShardWriter(
            folder / "predictions", "generated", "sgdet", vocabulary, shard_size=_OF_A_FILE
        ) as predictions,
    ):
        for image, (truth, predicted) in enumerate(_images(min(images, _DIFFERENT), answers)):
            annotations.add(_name(image), truth, (SIDE, SIDE))
            predictions.add(_name(image), predicted)
    for what in ("annotations", "predictions"):
        _repeat(folder / what, images)
    size = sum(path.stat().st_size for path in folder.rglob("*.npz"))
    say(f"{images:,} images: {size / 1e9:.2f} GB generated in {time.perf_counter() - start:.0f} s")


def _repeat(folder: Path, images: int) -> None:
    """Write the files of the images after the first `_DIFFERENT` ones."""
    for start in range(_DIFFERENT, images, _OF_A_FILE):
        source = folder / f"part-{start % _DIFFERENT // _OF_A_FILE:06}.npz"
        arrays = read_arrays(source, (), what="file", remedy="generate it again")
        arrays["image_id"] = np.array([_name(start + i) for i in range(_OF_A_FILE)])
        write_arrays(folder / f"part-{start // _OF_A_FILE:06}.npz", arrays)


def _name(image: int) -> str:
    return f"{image:09}"


def _images(count: int, answers: bool) -> Iterator[tuple[GroundTruthGraph, PredictedGraph]]:
    for start in range(0, count, _OF_A_FILE):
        scenes = _Scenes(np.random.default_rng(start), min(_OF_A_FILE, count - start))
        for i in range(scenes.count):
            yield scenes.image(i, answers)


class _Scenes:
    """Some generated images, in arrays over all of them."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        self.count = count
        corners = rng.uniform(0, SIDE / 2, (count, ENTITIES, 2))
        self._boxes = np.concatenate([corners, corners + rng.uniform(30, SIDE / 2, corners.shape)], axis=2)
        # Few classes and predicates are frequent.
        self._classes = _frequent_first(rng, CLASSES, (count, ENTITIES))
        found = self._boxes + rng.uniform(-14, 14, self._boxes.shape)
        self._found_boxes = np.clip(found, 0, SIDE).astype(np.float32)
        wrong = rng.random(self._classes.shape) < 0.2
        self._found_classes = np.where(wrong, rng.integers(CLASSES, size=wrong.shape), self._classes)
        self._entity_scores = rng.random((count, ENTITIES), dtype=np.float32)
        # The first pairs of each image are annotated.
        ends = np.stack(np.nonzero(~np.eye(ENTITIES, dtype=np.bool_)), axis=1)
        self._pairs = ends[rng.random((count, len(ends))).argsort(axis=1)[:, :PAIRS]]
        self._predicates = _frequent_first(rng, PREDICATES, (count, PAIRS))
        self._annotated = self._predicates[:, :RELATIONS].copy()
        wrong = rng.random(self._annotated.shape) < 0.5
        self._predicates[:, :RELATIONS][wrong] = rng.integers(PREDICATES, size=int(wrong.sum()))
        self._pair_scores = rng.random((count, PAIRS), dtype=np.float32)

    def image(self, i: int, answers: bool) -> tuple[GroundTruthGraph, PredictedGraph]:
        """The annotation of an image, and the prediction for it."""
        annotated = np.column_stack([self._pairs[i, :RELATIONS], self._annotated[i]])
        truth = GroundTruthGraph(self._boxes[i], self._classes[i], annotated)
        return truth, PredictedGraph(
            self._found_boxes[i],
            self._found_classes[i],
            self._entity_scores[i],
            self._ranked(i),
            triplet_answers=_answers(truth) if answers else None,
        )

    def _ranked(self, i: int) -> RankedTriplets:
        """The best predicate of all pairs, and the second best one of some."""
        seconds = TRIPLETS - PAIRS
        pairs = np.concatenate([self._pairs[i], self._pairs[i, :seconds]]).astype(np.int32)
        predicates = np.concatenate([self._predicates[i], (self._predicates[i, :seconds] + 1) % PREDICATES])
        scores = np.concatenate([self._pair_scores[i], self._pair_scores[i, :seconds] / 2])
        rank = np.repeat(np.array([1, 2], dtype=np.int32), [PAIRS, seconds])
        order = np.argsort(-scores, kind="stable")
        subject, object = pairs.T
        return RankedTriplets(subject, object, predicates.astype(np.int32), scores, rank).rows(order)


def _frequent_first(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Random classes below `count`, the first ones most often."""
    drawn: npt.NDArray[np.int64] = (count * rng.random(shape) ** 3).astype(np.int64)
    return drawn


def _answers(truth: GroundTruthGraph) -> TripletAnswers:
    subject, object, predicate = confusion_triplets(truth).T
    score = np.linspace(1, 0, len(subject), dtype=np.float32)
    return TripletAnswers(subject, object, predicate, score, np.ones(len(subject), dtype=np.bool_))


if __name__ == "__main__":
    main()
