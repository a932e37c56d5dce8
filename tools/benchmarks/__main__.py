#!/usr/bin/env python
"""Times the optimised parts, each beside another way to the same answer and beside two fixed loads.

    python -m tools.benchmarks                     # about twelve minutes on two cores
    python -m tools.benchmarks --only losses       # one part; --help names them
    python -m tools.benchmarks --output benchmark.md

Answers are compared first: if they differ, no time is printed and the exit status is 1. Nothing else
should run on the machine.
"""

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from tabulate import tabulate

from reldn_d2.utils.io import atomic_write

from . import (
    dataset_loading,
    evaluation,
    evaluation_memory,
    image_loading,
    losses,
    memory,
    pair_classifier,
    sampling,
    sgdet,
    statistics,
)
from .timing import AnswersDifferError, Row

_PARTS = {
    "losses": losses.rows,
    "sampling": sampling.rows,
    "head": pair_classifier.rows,
    "sgdet": sgdet.rows,
    "evaluation": evaluation.rows,
    "statistics": statistics.rows,
}
_HEADER = (
    *("what", "ms", "compared with", "ms", "ratio", "operators", "launches", "GFLOP", "arithmetic"),
    *("matrix product ms", "small operation µs"),
)


def main() -> None:
    """Runs the benchmarks and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=[*_PARTS, *_TABLES, *_MEMORY_PARTS], help="one part")
    parser.add_argument("--output", type=Path, help="also write the tables there, as Markdown")
    args = parser.parse_args()
    parts = [args.only] if args.only else [*_PARTS, *_TABLES, *_MEMORY_PARTS]
    text = [f"{platform.machine()}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}\n"]
    print(text[0])
    try:
        for part in parts:
            if part in _PARTS:
                text.append(_table(_PARTS[part]()))
            else:
                text.append(_TABLES[part]() if part in _TABLES else _memory_table(_MEMORY_PARTS[part]))
            print(text[-1] + "\n", flush=True)
    except AnswersDifferError as error:
        sys.exit(str(error))
    if args.output is not None:
        with atomic_write(args.output) as stream:
            stream.write(("\n\n".join(text) + "\n").encode())


def _table(rows: Iterator[Row]) -> str:
    return tabulate([_cells(row) for row in rows], _HEADER, "pipe", floatfmt=".3g")


def _cells(row: Row) -> list[object]:
    launches = row.operators * row.machine.small_operation_us / 1e3 / row.ms
    arithmetic = row.gflop / row.machine.gflop_per_second * 1e3 / row.ms
    return [
        *(row.name, row.ms, row.slow, row.slow_ms, row.slow_ms / row.ms),
        *(row.operators, f"{launches:.0%}", row.gflop, f"{arithmetic:.0%}"),
        *(row.machine.matrix_product_ms, row.machine.small_operation_us),
    ]


def _memory_table(part: Callable[[], str]) -> str:
    return part() if memory.can_measure() else "Memory can't be measured on this system."


def _stage_memory() -> str:
    rows = [(x.entities, x.pairs, x.one_chunk_mb, x.every_pair_mb, x.exact_mb) for x in memory.peak_memory()]
    header = ("entities", "pairs", "every pair at once, MB", "every pair in chunks, MB", "exact, MB")
    return tabulate(rows, header, "pipe", floatfmt=".0f")


def _evaluation_memory() -> str:
    rows = [
        (x.images, x.triplets, x.peak_mb, x.process_seconds, x.evaluate_seconds)
        for x in evaluation_memory.evaluations()
    ]
    header = ("images", "triplets an image", "peak, MB", "process, s", "evaluate, s")
    return tabulate(rows, header, "pipe", floatfmt=".0f")


def _loading() -> str:
    arrays, lists = dataset_loading.loadings()
    size = f"{arrays.images} images, {arrays.entities} entities, {arrays.relationships} relationships"
    measured = {
        "load, s": (arrays.load_seconds, lists.load_seconds),
        "peak while loading, MB": (arrays.peak_mb, lists.peak_mb),
        "dicts, MB": (arrays.dicts_mb, lists.dicts_mb),
        "serialise, s": (arrays.serialise_seconds, lists.serialise_seconds),
        "serialised, MB": (arrays.serialised_mb, lists.serialised_mb),
        "statistics, s": (arrays.count_seconds, lists.count_seconds),
        "statistics with the overlap rule, s": (arrays.overlap_seconds, lists.overlap_seconds),
    }
    rows = [(what, *pair, pair[1] / pair[0]) for what, pair in measured.items()]
    return tabulate(rows, (size, "arrays", "lists of annotation dicts", "ratio"), "pipe", floatfmt=".3g")


def _image_loading() -> str:
    rows = [
        (f"{x.mode}, short side {x.short_side}", x.ours, x.detectron2, x.ours / x.detectron2)
        for x in image_loading.loadings()
    ]
    header = ("images a second, one core", "ours", "Detectron2's", "ratio")
    return tabulate(rows, header, "pipe", floatfmt=".3g")


# Parts with tables of their own.
_TABLES = {"image_loading": _image_loading}
_MEMORY_PARTS = {"memory": _stage_memory, "evaluation_memory": _evaluation_memory, "loading": _loading}


if __name__ == "__main__":
    main()
