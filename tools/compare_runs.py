#!/usr/bin/env python
"""Is one run better than another, or lucky with the test images? Recall of both, and a paired bootstrap interval.

python tools/compare_runs.py output/a/inference/scenes_test/prdcls output/b/inference/scenes_test/prdcls \\
    --protocol motifs --metric R@50

Takes the folders that evaluation writes (`OUTPUT_DIR/inference/DATASET/TASK`).
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from reldn_d2.evaluation import load_per_image, paired_bootstrap
from reldn_d2.evaluation.evaluator import PER_IMAGE_FILE
from reldn_d2.evaluation.recall import macro_recall, micro_recall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("a", type=Path, help="results of one run")
    parser.add_argument("b", type=Path, help="results of the other")
    parser.add_argument("--protocol", default="motifs")
    parser.add_argument("--metric", default="R@50", help="a name of the protocol's per-image counts")
    args = parser.parse_args()
    if args.a.resolve().parts[-2:] != args.b.resolve().parts[-2:]:
        parser.error(f"{args.a} and {args.b} are of different data sets or tasks")
    runs = [load_per_image(folder / PER_IMAGE_FILE) for folder in (args.a, args.b)]
    if any(args.protocol not in run for run in runs):
        parser.error(
            f"no protocol {args.protocol} in both; there are {sorted(runs[0].keys() & runs[1].keys())}"
        )
    a, b = (run[args.protocol] for run in runs)
    rows = []
    for average, found in paired_bootstrap(a, b, args.metric).items():
        recall = {"macro": macro_recall, "micro": micro_recall}[average]
        values = [recall(run.hits[args.metric], run.ground_truths) for run in (a, b)]
        rows.append([average, *values, found.mean, found.low, found.high])
    print(f"{args.protocol} {args.metric}, percent")
    print(tabulate(rows, ["average", "a", "b", "a - b", "95 % from", "to"], "pipe", floatfmt=".2f"))


if __name__ == "__main__":
    main()
