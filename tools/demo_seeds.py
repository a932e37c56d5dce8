#!/usr/bin/env python
"""Compare finished demos of two states, seed by seed.

python tools/demo_seeds.py --before before/seed1 before/seed2 --after after/seed1 after/seed2

Each folder is the --output of a `reldn demo SEED N`. Prints, for each seed, the box AP50 of the detector and
the share of confusable cases that L0 and all losses solve (boxes and classes are given), before and after,
and the mean differences with a 95 % t interval over the seeds.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from detectron2.data import DatasetCatalog
from numpy.typing import NDArray
from tabulate import tabulate

from reldn_d2.demo.cases import KINDS, scene_cases, solved_counts
from reldn_d2.demo.models import BASELINE, FULL
from reldn_d2.demo.run import COMPLETE, RUNS
from reldn_d2.evaluation.scorer import PREDICTIONS_FILE

BOX_AP50 = "box AP50"
# Quantiles 0.975 of Student's t distribution, for 1, 2, ... degrees of freedom.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def main() -> None:
    """Print the table of all seeds, and the mean differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("before", "after"):
        help = f"folders of the demos {name}"
        parser.add_argument(f"--{name}", type=Path, nargs="+", required=True, metavar="FOLDER", help=help)
    args = parser.parse_args()
    before, after = (by_seed(folders) for folders in (args.before, args.after))
    if before.keys() != after.keys() or not 2 <= len(before) <= 1 + len(T_975):
        parser.error(f"give 2 to 10 seeds, the same before and after: they are {[*before]} and {[*after]}")
    print(as_markdown(before, after))


def by_seed(folders: Sequence[Path]) -> dict[int, dict[str, float]]:
    """Seed -> percentages of a demo, in the order of the seeds."""
    found = {seed_of(folder): percentages(folder) for folder in folders}
    return dict(sorted(found.items()))


def seed_of(folder: Path) -> int:
    """The seed of a demo."""
    return int(yaml.safe_load((folder / RUNS[FULL] / "config.yaml").read_text())["SEED"])


def percentages(folder: Path) -> dict[str, float]:
    """Box AP50, and the shares of solved cases."""
    summary = json.loads((folder / "detector" / "summary.json").read_text())
    found = {BOX_AP50: summary["results"]["bbox"]["AP50"]}
    results = Path("inference", COMPLETE.test_dataset, "prdcls", PREDICTIONS_FILE)
    files = {name: folder / RUNS[name] / results for name in (BASELINE, FULL)}
    scenes = scene_cases(files, DatasetCatalog.get(COMPLETE.test_dataset))
    for name in files:
        for kind in KINDS:
            counts = solved_counts(scenes, name, kind)
            solved, cases = counts.hits["solved"].sum(), counts.ground_truths.sum()
            found[f"{name}, {kind}"] = 100 * float(solved) / float(cases)
    return found


def as_markdown(before: Mapping[int, Mapping[str, float]], after: Mapping[int, Mapping[str, float]]) -> str:
    """The table, with a row for each number."""
    rows = []
    for name in next(iter(before.values())):
        values = [np.array([x[name] for x in runs.values()]) for runs in (before, after)]
        texts = [", ".join(f"{x:.1f}" for x in of_state) for of_state in values]
        mean, low, high = t_interval(values[1] - values[0])
        rows.append([name, *texts, f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"])
    seeds = ", ".join(map(str, before))
    return tabulate(
        rows,
        ["percent", f"before, seeds {seeds}", f"after, seeds {seeds}", "mean difference"],
        tablefmt="github",
    )


def t_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % t interval.

    Args:
        values: (N,), two to ten.
    """
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    reach = T_975[len(values) - 2] * error
    return float(mean), float(mean - reach), float(mean + reach)


if __name__ == "__main__":
    main()
