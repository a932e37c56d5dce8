"""Peak memory of the relation stage with more and more entities."""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.structures import Instances

from .sgdet_model import RelationStage, build, photos, r50_config, resized

_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Memory:
    """Peak memory of the relation stage, in MB (1e6 bytes) above the memory in use before."""

    entities: int
    pairs: int
    one_chunk_mb: float
    every_pair_mb: float
    exact_mb: float


def peak_memory() -> Iterator[Memory]:
    """Measures the best 100, 200 and 300 detections of all photos together, as if they were in one photo."""
    cfg = r50_config()
    model, found = build(cfg), photos(cfg.INPUT.MIN_SIZE_TEST)
    crowd = Instances.cat([resized(x, found[0].image_size) for x in found])
    crowd = crowd[crowd.scores.argsort(descending=True, stable=True)]
    for count in (100, 200, 300):
        stage = RelationStage(model, crowd[:count])
        every_pair, exact = (_peak_mb(partial(stage.run, every)) for every in (True, False))
        chunk_size, model.head.chunk_size = model.head.chunk_size, count**2
        one_chunk = _peak_mb(partial(stage.run, True))
        model.head.chunk_size = chunk_size
        yield Memory(count, count * (count - 1), one_chunk, every_pair, exact)


def can_measure() -> bool:
    """Whether the system has a high-water mark of memory that can be reset (Linux with glibc)."""
    return _CLEAR_REFS.exists() and hasattr(ctypes.CDLL(None), "malloc_trim")


def _peak_mb(function: Callable[[], Any]) -> float:
    function()  # the first call allocates memory that is kept
    peak = watch_peak()
    function()
    return peak()


def watch_peak() -> Callable[[], float]:
    """Resets the high-water mark of memory.

    Returns:
        A function that returns how far the mark has risen above the memory in use now, in MB (1e6 bytes).
    """
    trim_heap()
    _CLEAR_REFS.write_text("5")
    before = status_kb("VmRSS")
    return lambda: (status_kb("VmHWM") - before) * 1024 / 1e6


def trim_heap() -> None:
    """Gives memory that is not in use back to the system."""
    ctypes.CDLL(None).malloc_trim(0)


def status_kb(key: str) -> int:
    """A number of /proc/self/status, such as VmHWM, the high-water mark of memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
