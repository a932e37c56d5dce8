#!/usr/bin/env python
"""Times the optimised parts, each beside another way to the same answer and beside fixed loads.

    python -m tools.benchmarks                     # prints at its end how long it took
    python -m tools.benchmarks --quick             # about ten minutes: less of everything
    python -m tools.benchmarks --only losses       # one part; --help names them
    python -m tools.benchmarks --output benchmark.md
    python -m tools.benchmarks --device cuda       # the parts for GPUs, a few minutes
    python -m tools.benchmarks --profile train --output profiles     # a table and a trace of each model

Answers are compared first: if they differ, no time is printed and the exit status is 1. Nothing else
should run on the machine.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from tabulate import tabulate

from reldn_d2.utils.io import atomic_write

from . import (
    crowds,
    dataset_loading,
    evaluation,
    evaluation_memory,
    evaluation_summary,
    image_loading,
    inference,
    losses,
    memory,
    pair_classifier,
    peak_memory,
    profiles,
    published,
    roi_align,
    sampling,
    sgdet,
    statistics,
    training,
)
from .timing import AnswersDifferError, Row, Skipped, Timer, has_fast_bf16

_PARTS = {
    "losses": losses.rows,
    "sampling": sampling.rows,
    "head": pair_classifier.rows,
    "roi_align": roi_align.rows,
    "training": training.rows,
    "inference": inference.rows,
    "published": published.rows,
    "sgdet": sgdet.rows,
    "evaluation": evaluation.rows,
    "statistics": statistics.rows,
}
_ON_GPUS = ("training", "inference", "published", "peak_memory")
_SLOWEST = ("memory", "evaluation_memory", "evaluation_summary", "loading")
_HEADER = (
    *(
        "what",
        "ms",
        "compared with",
        "ms",
        "ratio",
        "operators",
        "launches",
        "GFLOP",
        "limit ms",
        "arithmetic",
    ),
    *("matrix product ms", "bf16 product ms", "small operation µs", "note"),
)


def main() -> None:
    """Runs the benchmarks and prints their tables."""
    args = _arguments()
    start = time.perf_counter()
    timer = Timer(
        args.device,
        seconds=0.5 if args.quick else 3.0,
        turns=2 if args.quick else 4,
        slow_rows=not args.quick,
        bf16=args.bf16 or has_fast_bf16(args.device),
    )
    text = [f"{_machine(timer)}\n"]
    print(text[0])
    for table in _profiles(args, timer) if args.profile else _tables(args, timer):
        text.append(table)
        print(table + "\n", flush=True)
    if args.output is not None and not args.profile:
        with atomic_write(args.output) as stream:
            stream.write(("\n\n".join(text) + "\n").encode())
    minutes, seconds = divmod(round(time.perf_counter() - start), 60)
    print(f"The benchmark took {minutes} minutes {seconds} seconds.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=[*_PARTS, *_TABLES, *_MEMORY_PARTS], help="one part")
    parser.add_argument("--quick", action="store_true", help="fewer turns, without the slowest parts")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to measure")
    parser.add_argument(
        "--bf16", action="store_true", help="also measure bfloat16 on a CPU without instructions for it"
    )
    parser.add_argument(
        "--profile", choices=profiles.KINDS, help="profile this instead; --output is the folder for the files"
    )
    parser.add_argument("--output", type=Path, help="also write the tables there, as Markdown")
    args = parser.parse_args()
    if args.device == "cuda":
        if not torch.cuda.is_available():
            parser.error("--device cuda: PyTorch finds no GPU here; leave the option out to measure the CPU")
        if args.only not in (None, *_ON_GPUS):
            parser.error(f"--only {args.only} measures the CPU; the parts for GPUs are {', '.join(_ON_GPUS)}")
        # Float32 is float32, so that answers can be compared.
        torch.backends.cudnn.allow_tf32 = False
    if args.profile and args.only:
        parser.error("--profile measures no part: leave --only out")
    if args.profile and args.output is None:
        parser.error("--profile needs --output, the folder for its files")
    return args


def _machine(timer: Timer) -> str:
    threads = f"{torch.get_num_threads()} threads"
    where = torch.cuda.get_device_name() if timer.device == "cuda" else f"{platform.machine()}, {threads}"
    return f"{where}, PyTorch {torch.__version__}"


def _profiles(args: argparse.Namespace, timer: Timer) -> Iterator[str]:
    return profiles.write_profiles(args.profile, timer, args.output)


def _tables(args: argparse.Namespace, timer: Timer) -> Iterator[str]:
    """The table of each part that was asked for; ends the process if answers differ."""
    parts = [args.only] if args.only else [*_PARTS, *_TABLES, *_MEMORY_PARTS]
    if timer.device == "cuda":
        parts = [part for part in parts if part in _ON_GPUS]
    elif args.quick and not args.only:
        parts = [part for part in parts if part not in _SLOWEST]
    try:
        for part in parts:
            if part in _PARTS:
                yield _table(_PARTS[part](timer))
            elif part in _TABLES:
                yield _TABLES[part](timer)
            else:
                yield _memory_table(_MEMORY_PARTS[part], timer)
    except AnswersDifferError as error:
        sys.exit(str(error))


def _table(rows: Iterator[Row | Skipped]) -> str:
    found = list(rows)
    measured = [_cells(row) for row in found if isinstance(row, Row)]
    skipped = [f"Not measured: {row.name}, since {row.reason}." for row in found if isinstance(row, Skipped)]
    table = [tabulate(measured, _HEADER, "pipe", floatfmt=".3g")] if measured else []
    return "\n\n".join([*table, *skipped])


def _cells(row: Row) -> list[object]:
    machine = row.machine
    launches = row.operators * machine.small_operation_us / 1e3 / row.ms
    return [
        *(row.name, row.ms, row.slow, row.slow_ms, row.slow_ms / row.ms),
        *(row.operators, f"{launches:.0%}", row.gflop, row.limit_ms, f"{row.limit_ms / row.ms:.0%}"),
        *(machine.matrix_product_ms, machine.bf16_product_ms, machine.small_operation_us, row.note),
    ]


def _memory_table(part: Callable[[Timer], str], timer: Timer) -> str:
    can_measure = timer.device == "cuda" or memory.can_measure()
    return part(timer) if can_measure else "Memory can't be measured on this system."


def _stage_memory(_: Timer) -> str:
    rows = [(x.entities, x.pairs, x.one_chunk_mb, x.every_pair_mb, x.exact_mb) for x in memory.peak_memory()]
    header = ("entities", "pairs", "every pair at once, MB", "every pair in chunks, MB", "exact, MB")
    return tabulate(rows, header, "pipe", floatfmt=".0f")


def _peak_memory(timer: Timer) -> str:
    rows = [{"peak memory, MB": x.name, **x.peaks} for x in peak_memory.peaks(timer)]
    return tabulate(rows, "keys", "pipe", floatfmt=".0f")


def _evaluation_memory(_: Timer) -> str:
    rows = [
        (x.images, x.triplets, x.peak_mb, x.process_seconds, x.evaluate_seconds)
        for x in evaluation_memory.evaluations()
    ]
    header = ("images", "triplets an image", "peak, MB", "process, s", "evaluate, s")
    return tabulate(rows, header, "pipe", floatfmt=".0f")


def _evaluation_summary(_: Timer) -> str:
    rows = [
        (x.protocol, x.images, x.predicates, x.disk_mb, x.peak_mb, x.seconds)
        for x in evaluation_summary.summaries()
    ]
    header = ("protocol", "images", "predicates", "on the disk, MB", "peak, MB", "processor, s")
    return tabulate(rows, header, "pipe", floatfmt=".3g")


def _crowds(_: Timer) -> str:
    rows = [
        (x.boxes, x.relationships, x.triplets, x.ask_seconds, x.judge_seconds, x.peak_mb)
        for x in crowds.crowded_images()
    ]
    header = ("boxes", "relationships", "triplets asked about", "ask, s", "judge, s", "peak, MB")
    return tabulate(rows, header, "pipe", floatfmt=".2g")


def _loading(_: Timer) -> str:
    arrays, lists = dataset_loading.loadings()
    size = f"{arrays.images} images, {arrays.entities} entities, {arrays.relationships} relationships"
    measured = {
        "load, s": (arrays.load_seconds, lists.load_seconds),
        "peak while loading, MB": (arrays.peak_mb, lists.peak_mb),
        "dicts, MB": (arrays.dicts_mb, lists.dicts_mb),
        "serialise, s": (arrays.serialise_seconds, lists.serialise_seconds),
        "serialised, MB": (arrays.serialised_mb, lists.serialised_mb),
        "check, s": (arrays.check_seconds, lists.check_seconds),
        "statistics, s": (arrays.count_seconds, lists.count_seconds),
        "statistics with the overlap rule, s": (arrays.overlap_seconds, lists.overlap_seconds),
    }
    rows = [(what, *pair, pair[1] / pair[0]) for what, pair in measured.items()]
    return tabulate(rows, (size, "arrays", "lists of annotation dicts", "ratio"), "pipe", floatfmt=".3g")


def _image_loading(timer: Timer) -> str:
    rows = [
        (f"{x.mode}, short side {x.short_side}", x.ours, x.detectron2, x.ours / x.detectron2)
        for x in image_loading.loadings(timer)
    ]
    header = ("images a second, one core", "ours", "Detectron2's", "ratio")
    return tabulate(rows, header, "pipe", floatfmt=".3g")


# Parts with tables of their own.
_TABLES: dict[str, Callable[[Timer], str]] = {"image_loading": _image_loading}
_MEMORY_PARTS: dict[str, Callable[[Timer], str]] = {
    "peak_memory": _peak_memory,
    "memory": _stage_memory,
    "evaluation_memory": _evaluation_memory,
    "evaluation_summary": _evaluation_summary,
    "crowds": _crowds,
    "loading": _loading,
}


if __name__ == "__main__":
    main()
