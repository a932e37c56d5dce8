#!/usr/bin/env python
r"""Compare runs with a base run: recalls, and paired bootstrap intervals over the test images.

python tools/compare_runs.py --base output/a/inference/scenes_test/prdcls \
    output/b/inference/scenes_test/prdcls output/c/inference/scenes_test/prdcls \
    --protocol motifs --metrics R@50 ngR@50

The arguments are folders that an evaluation wrote (`OUTPUT_DIR/inference/DATASET/TASK`). The tool prints a
Markdown table. An interval says how much a difference depends on the choice of the test images. It says
nothing about other seeds of training.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from reldn_d2.evaluation import load_per_image, paired_bootstrap
from reldn_d2.evaluation.io.results import PER_IMAGE_FILE
from reldn_d2.evaluation.metrics import PerImageRecall, macro_recall, micro_recall

_AVERAGES = {"macro": macro_recall, "micro": micro_recall}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="results of the runs to compare")
    parser.add_argument("--base", type=Path, required=True, help="results of the run to compare them with")
    parser.add_argument("--protocol", default="motifs")
    parser.add_argument(
        "--metrics", nargs="+", default=["R@50"], help="metrics in the per-image counts of the protocol"
    )
    parser.add_argument("--averages", nargs="+", choices=[*_AVERAGES], default=[*_AVERAGES])
    args = parser.parse_args()
    folders = [args.base, *args.runs]
    for folder in folders:
        if folder.resolve().parts[-2:] != args.base.resolve().parts[-2:]:
            parser.error(f"{args.base} and {folder} are of different data sets or tasks")
    found = [load_per_image(folder / PER_IMAGE_FILE) for folder in folders]
    for folder, protocols in zip(folders, found, strict=True):
        if args.protocol not in protocols:
            parser.error(f"{folder} has no protocol {args.protocol}, but {', '.join(sorted(protocols))}")
        unknown = [metric for metric in args.metrics if metric not in protocols[args.protocol].hits]
        if unknown:
            known = ", ".join(protocols[args.protocol].hits)
            parser.error(f"{folder} has no {unknown[0]} of protocol {args.protocol}, but {known}")
    base, *runs = (protocols[args.protocol] for protocols in found)
    rows = [
        row
        for folder, run in zip(args.runs, runs, strict=True)
        for metric in args.metrics
        for row in _rows(_name(folder), run, base, metric, args.averages)
    ]
    print(f"{args.protocol}, percent; base: {_name(args.base)}\n")
    header = ("run", "metric", "average", "run", "base", "difference", "95 % from", "to")
    print(tabulate(rows, header, "pipe", floatfmt=".2f"))


def _rows(
    name: str, run: PerImageRecall, base: PerImageRecall, metric: str, averages: list[str]
) -> list[tuple[str | float, ...]]:
    differences = paired_bootstrap(run, base, metric)
    rows: list[tuple[str | float, ...]] = []
    for average in averages:
        recall, found = _AVERAGES[average], differences[average]
        values = (recall(x.hits[metric], x.ground_truths) for x in (run, base))
        rows.append((name, metric, average, *values, found.mean, found.low, found.high))
    return rows


def _name(folder: Path) -> str:
    """The name of OUTPUT_DIR in OUTPUT_DIR/inference/DATASET/TASK."""
    return folder.resolve().parts[-4]


if __name__ == "__main__":
    main()
