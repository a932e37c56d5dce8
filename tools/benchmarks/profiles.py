"""Profiles of a training step and of predicting a photo: a table by operator, and a trace for browsers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile

from reldn_d2.utils.io import atomic_write

from . import inference, training
from .timing import Timer
from .ways import ACCELERATED, ACCELERATED_BF16, AS_BUILT, Way

KINDS = ("train", "predict")
_OPERATORS = 30  # rows of a table


def write_profiles(kind: str, timer: Timer, folder: Path) -> Iterator[str]:
    """Profiles a kind of work in each way, and writes a table and a trace of each.

    Args:
        kind: one of `KINDS`.
        timer: its device, and whether bfloat16 is profiled.
        folder: folder for the files: NAME.md, and NAME.json.gz for chrome://tracing or ui.perfetto.dev.

    Yields:
        Names of what was profiled, with their tables.
    """
    for way in (AS_BUILT, ACCELERATED, ACCELERATED_BF16):
        if way.precision == "fp32" or timer.bf16:
            for name, function in _works(kind, way, timer.device):
                full_name = f"{name}, {way}"
                yield f"{full_name}\n\n{write_profile(function, timer, folder, full_name)}"


def write_profile(function: Callable[[], Any], timer: Timer, folder: Path, name: str) -> str:
    """Profiles the second call of a function.

    Args:
        function: what is profiled.
        timer: its device.
        folder: folder for the files.
        name: name of the files, for a reader; spaces and commas become "_".

    Returns:
        The table: operators by falling own time. Times of a GPU are added where there is one.
    """
    function()
    timer.wait()
    activities = [ProfilerActivity.CPU]
    if timer.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as measured:
        function()
        timer.wait()
    table = _table(measured.key_averages(), timer.device)
    stem = "_".join(name.replace(",", " ").split())
    with atomic_write(folder / f"{stem}.md") as stream:
        stream.write(f"{table}\n".encode())
    with TemporaryDirectory() as temporary:
        trace = Path(temporary) / "trace.json.gz"
        measured.export_chrome_trace(str(trace))
        with atomic_write(folder / f"{stem}.json.gz") as stream:
            stream.write(trace.read_bytes())
    return table


def _works(kind: str, way: Way, device: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    if kind == "train":
        for model in training.MODELS:
            yield f"training step {model}", training.Step(training.config(model), way, device)
    else:
        found = inference.photos_of_one_size(1)
        yield "sgdet photo", inference.Predict(inference.photo_model(way, device), way, found, 1)


def _table(averages: Any, device: str) -> str:
    def own_ms(event: Any) -> float:
        us = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        return float(us) / 1e3

    events = sorted(averages, key=own_ms, reverse=True)
    total = sum(map(own_ms, events)) or 1.0
    rows = [
        (event.key, event.count, own_ms(event), f"{own_ms(event) / total:.1%}")
        for event in events[:_OPERATORS]
    ]
    rows.append(("all", sum(event.count for event in events), total, "100%"))
    header = ("operator", "calls", f"own time on the {'GPU' if device == 'cuda' else 'CPU'}, ms", "share")
    return tabulate(rows, header, "pipe", floatfmt=".3g")
