"""Time and memory of a generated data set of Visual Genome's size. Each measurement has its own process."""

import gc
import multiprocessing
import pickle
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reldn_d2.data import predicate_counts
from reldn_d2.data.checking.loaded import check_loaded
from reldn_d2.data.datasets.visual_genome.images import CORRUPT_IMAGES
from reldn_d2.data.datasets.visual_genome.vg150 import (
    OBJECT_CLASSES,
    PREDICATE_CLASSES,
    TEST,
    TRAIN,
    load_vg150,
)
from reldn_d2.utils.io import digest
from tests.builders.vg150_files import Arrays, write_files

from .memory import watch_peak
from .timing import AnswersDifferError

Form = Literal["arrays", "lists"]

# Numbers of images in the published files: with relationships in train and in test, and without.
_TRAIN_IMAGES, _TEST_IMAGES, _OTHER_IMAGES = 62_723, 26_446, 18_904


@dataclass(frozen=True)
class Loading:
    """The train images of Visual Genome, loaded and counted.

    Attributes:
        form: "arrays" if annotations are as the loader returns them, "lists" if they are lists of one dict
            for each entity.
        images, entities, relationships: their numbers.
        load_seconds: time to load the dicts.
        check_seconds: time to check them as every run does.
        peak_mb: peak memory of the process while it loads, above its memory before, in MB (1e6 bytes).
        dicts_mb: memory that is allocated after loading.
        serialised_mb, serialise_seconds: size of the dicts as pickles, which Detectron2's loader keeps, and
            the time to make them.
        count_seconds, overlap_seconds: time of the counts for the semantic module, without and with the
            overlap rule.
        answer: digest of these counts.
    """

    form: Form
    images: int
    entities: int
    relationships: int
    load_seconds: float
    check_seconds: float
    peak_mb: float
    dicts_mb: float
    serialised_mb: float
    serialise_seconds: float
    count_seconds: float
    overlap_seconds: float
    answer: str


def loadings() -> Iterator[Loading]:
    """Measures both forms of the same data set.

    Raises:
        AnswersDifferError: the two forms do not give the same counts.
    """
    with TemporaryDirectory() as folder:
        write_data_set(Path(folder), _TRAIN_IMAGES, _TEST_IMAGES, _OTHER_IMAGES)
        found = [measure_loading(folder, form) for form in ("arrays", "lists")]
    if found[0].answer != found[1].answer:
        raise AnswersDifferError("loading: lists of annotations do not give the counts of arrays")
    yield from found


def measure_loading(folder: str, form: Form) -> Loading:
    """Load the data set in `folder` in two new processes: one is timed, the other counts its memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        dicts_mb = pool.submit(_allocated_mb, folder, form).result()
        return Loading(form=form, dicts_mb=dicts_mb, **pool.submit(_timed, folder, form).result())


def write_data_set(folder: Path, train: int, test: int, others: int) -> None:
    """Write files as large as the published ones, with 11.6 boxes and 6.5 relationships an image on average.

    Args:
        folder: folder for the files.
        train, test: numbers of images with relationships in each split.
        others: number of train images without relationships.
    """
    draws = np.random.default_rng(0)
    images = train + test + others
    kind = draws.permutation(np.repeat([0, 1, 2], [train, test, others]))
    related = kind < 2
    box_counts = np.where(related, 2 + draws.poisson(9.6, images), draws.poisson(5.9, images))
    relation_counts = np.where(related, 1 + draws.poisson(5.5, images), 0)
    image_of_relation = np.repeat(np.arange(images), relation_counts)
    first_box = np.cumsum(box_counts) - box_counts
    counts = box_counts[image_of_relation]
    subject = draws.integers(0, counts)
    ends = np.stack([subject, (subject + draws.integers(1, counts)) % counts], axis=1)
    # 1024 x 768 is the scaled size of all images
    drawn = np.sort(draws.integers(0, (1012, 756), (box_counts.sum(), 2, 2)), axis=1)
    first, last = drawn[:, 0], drawn[:, 1] + 12
    arrays: Arrays = {
        "boxes_1024": np.concatenate([(first + last) // 2, last - first], axis=1).astype(np.int32),
        "labels": draws.integers(1, len(OBJECT_CLASSES) + 1, (len(first), 1)),
        "relationships": ends + first_box[image_of_relation, None],
        "predicates": draws.integers(1, len(PREDICATE_CLASSES) + 1, (len(ends), 1)),
        "split": np.where(kind == 1, TEST, TRAIN),
        **_first_and_last("box", box_counts),
        **_first_and_last("rel", relation_counts),
    }
    numbers = np.arange(1, images + len(CORRUPT_IMAGES) + 1)
    ids = numbers[~np.isin(numbers, CORRUPT_IMAGES)][:images]
    listed = [
        {
            "width": 800,
            "url": f"https://cs.stanford.edu/people/rak248/VG_100K_2/{image_id}.jpg",
            "height": 600,
            "image_id": image_id,
            "coco_id": None,
            "flickr_id": None,
        }
        for image_id in ids.tolist()
    ]
    write_files(folder, arrays, listed)


def _first_and_last(what: str, counts: NDArray[np.int64]) -> Arrays:
    ends = np.cumsum(counts)
    return {
        f"img_to_first_{what}": np.where(counts > 0, ends - counts, -1),
        f"img_to_last_{what}": np.where(counts > 0, ends - 1, -1),
    }


def _load(folder: str, form: Form) -> list[dict[str, Any]]:
    dataset_dicts = load_vg150(folder, "trainval")
    if form == "lists":
        for dataset_dict in dataset_dicts:
            dataset_dict["annotations"] = list(dataset_dict["annotations"])
    return dataset_dicts


def _allocated_mb(folder: str, form: Form) -> float:
    tracemalloc.start()
    dataset_dicts = _load(folder, form)
    gc.collect()
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del dataset_dicts  # they must live until the memory is read
    return allocated / 1e6


def _timed(folder: str, form: Form) -> dict[str, Any]:
    peak = watch_peak()
    times = [time.perf_counter()]
    dataset_dicts = _load(folder, form)
    times.append(time.perf_counter())
    peak_mb = peak()
    check_loaded(dataset_dicts, "generated", len(OBJECT_CLASSES), len(PREDICATE_CLASSES))
    times.append(time.perf_counter())
    serialised = sum(len(pickle.dumps(dataset_dict, protocol=-1)) for dataset_dict in dataset_dicts)
    times.append(time.perf_counter())
    counts = []
    for overlap_only in (False, True):
        sizes = len(OBJECT_CLASSES), len(PREDICATE_CLASSES)
        counts.append(np.asarray(predicate_counts(dataset_dicts, *sizes, overlap_only=overlap_only)))
        times.append(time.perf_counter())
    load_seconds, check_seconds, serialise_seconds, count_seconds, overlap_seconds = np.diff(times).tolist()
    return {
        "images": len(dataset_dicts),
        "entities": sum(len(dataset_dict["annotations"]) for dataset_dict in dataset_dicts),
        "relationships": sum(len(dataset_dict["relations"]) for dataset_dict in dataset_dicts),
        "load_seconds": load_seconds,
        "check_seconds": check_seconds,
        "peak_mb": peak_mb,
        "serialised_mb": serialised / 1e6,
        "serialise_seconds": serialise_seconds,
        "count_seconds": count_seconds,
        "overlap_seconds": overlap_seconds,
        "answer": digest(counts),
    }
