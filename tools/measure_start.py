#!/usr/bin/env python
"""Measures the start: the imports, and `reldn predict` on one picture, each in processes of its own.

    python tools/measure_start.py --turns 7

Every turn runs each step once; the table has the least processor time of each. Processor time is shown, since
waiting for a disk or for other programs says nothing about the code. A first turn, which warms the disk's
cache, is not counted.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

# Each step does all that the one above it does.
IMPORTS = {
    "import torch": "import torch",
    "import detectron2.modeling, detectron2.data": "import detectron2.modeling, detectron2.data",
    "import reldn_d2": "import reldn_d2",
    "the modules of `reldn predict`": "import reldn_d2, reldn_d2.cli.predict",
}
PREDICTIONS = {
    "`reldn predict --format json`, one picture": ["json"],
    "`reldn predict`, which also draws": ["json", "drawings"],
}


def main() -> None:
    """Runs the steps, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--turns", type=int, default=7, help="default: %(default)s")
    parser.add_argument(
        "--weights", default="scenes-tiny", help="a model with a picture (default: %(default)s)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = {name: ["-c", program] for name, program in IMPORTS.items()} | {
            name: [
                *("-m", "reldn_cli", "predict", "--weights", args.weights, "--format", *formats),
                *("--overwrite", "--output", str(Path(folder, "-".join(formats)))),
            ]
            for name, formats in PREDICTIONS.items()
        }
        least = dict.fromkeys(commands, float("inf"))
        for turn in range(args.turns + 1):
            for name, command in commands.items():
                seconds = processor_time(command)
                if turn:
                    least[name] = min(least[name], seconds)
    before = dict(zip(least, [0.0, *least.values()], strict=False))
    rows = [(name, seconds, seconds - before[name]) for name, seconds in least.items()]
    print(tabulate(rows, ["step", "s", "more than the step above, s"], "pipe", floatfmt=".2f"))


def processor_time(command: list[str]) -> float:
    """Runs a command of this Python in a new process, and returns its processor time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-W", "ignore", *command], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    main()
