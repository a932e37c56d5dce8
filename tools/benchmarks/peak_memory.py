"""Peak memory of a training step and of predicting photos. Each measurement has its own process."""

import multiprocessing
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from . import inference, training
from .memory import status_kb, trim_heap, watch_peak
from .published import PublishedArrangement
from .sgdet_model import photos, r50_config
from .timing import Timer
from .ways import ACCELERATED, ACCELERATED_BF16, AS_BUILT, Way

_TURNS = 5  # processes of a training step

#: Makes what is measured, on a device.
Maker = Callable[[str], Callable[[], Any]]


@dataclass(frozen=True)
class PeakMemory:
    """Peak memory of several ways to the same answer, in MB (1e6 bytes).

    Attributes:
        name: what was measured.
        peaks: the peak of each way, by its name, above the memory before the model was built; of several
            processes the median.
    """

    name: str
    peaks: dict[str, float]


def peaks(timer: Timer) -> Iterator[PeakMemory]:
    """Measures training steps, batches of photos, and the published arrangement."""
    ways = [way for way in (AS_BUILT, ACCELERATED, ACCELERATED_BF16) if way.precision == "fp32" or timer.bf16]

    def measured(name: str, make: Callable[[Way, str], Callable[[], Any]], turns: int = 1) -> PeakMemory:
        of_turns = [[in_own_process(partial(make, x), timer.device) for x in ways] for _ in range(turns)]
        medians = map(statistics.median, zip(*of_turns, strict=True))
        return PeakMemory(name, dict(zip(map(str, ways), medians, strict=True)))

    turns = _TURNS if timer.slow_rows else 1
    for model in training.MODELS:
        # What the allocator holds differs by a few percent between processes.
        yield measured(f"training step of the scenes' {model}", partial(_step, model), turns)
    for batch in inference.BATCHES if timer.slow_rows else inference.BATCHES[:1]:
        yield measured(f"R-50-FPN sgdet, batch of {batch}", partial(_photos, batch))
    published = in_own_process(_published, timer.device)
    yield PeakMemory("R-50-FPN sgdet, published arrangement", {str(AS_BUILT): published})


def in_own_process(make: Maker, device: str) -> float:
    """Peak memory in a new process, in MB, see `PeakMemory`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peak_of, make, device).result()


def peak_of(make: Maker, device: str) -> float:
    """Peak memory in this process, in MB, see `PeakMemory`.

    Args:
        make: builds the model, whose memory counts as long as it is held. Its result is called three times,
            since the first calls allocate what is kept.
        device: "cpu" or "cuda", whose memory is meant.
    """
    if device == "cuda":
        function = make(device)
        torch.cuda.reset_peak_memory_stats()
        _run(function)
        return torch.cuda.max_memory_allocated() / 1e6
    trim_heap()
    before = status_kb("VmRSS")
    function = make(device)
    peak = watch_peak()
    held_kb = status_kb("VmRSS") - before
    _run(function)
    return held_kb * 1024 / 1e6 + peak()


def _run(function: Callable[[], Any]) -> None:
    for _ in range(3):
        function()


def _step(model: str, way: Way, device: str) -> Callable[[], Any]:
    return training.Step(training.config(model), way, device)


def _photos(batch: int, way: Way, device: str) -> inference.Predict:
    """Models as they are built get one photo at a time."""
    found = inference.photos_of_one_size(batch)
    model = inference.photo_model(way, device)
    return inference.Predict(model, way, found, batch if way.accelerated else 1)


def _published(device: str) -> Callable[[], Any]:
    found = photos(r50_config().INPUT.MIN_SIZE_TEST)[:1]
    return PublishedArrangement(inference.photo_model(AS_BUILT, device), AS_BUILT, found)
