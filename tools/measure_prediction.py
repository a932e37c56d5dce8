#!/usr/bin/env python
"""Measures how many images a second `reldn predict` does, with batches of several sizes, in one run.

    python tools/measure_prediction.py --input photos --weights scenes-tiny

Every turn runs the command once for each batch size, on all images and on a single one. The time of the
single image is the start: it is subtracted. Nothing else should run on the machine.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate


def main() -> None:
    """Runs the commands, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="folder of images")
    parser.add_argument("--weights", required=True, help="as for reldn predict")
    parser.add_argument("--images", type=int, default=200, help="number of images (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 8], help="default: 1 8")
    parser.add_argument("--format", nargs="+", default=["jsonl"], help="default: jsonl")
    parser.add_argument("--turns", type=int, default=3, help="default: %(default)s")
    args = parser.parse_args()
    images = sorted(path for path in args.input.rglob("*") if path.is_file())[: args.images]
    if len(images) < args.images:
        sys.exit(f"--input {args.input}: {len(images)} files, not {args.images}")
    seconds: dict[tuple[int, int], list[float]] = {}
    for _ in range(args.turns):
        for batch_size in args.batch_size:
            for number in (len(images), 1):
                time_taken = predict(images[:number], args.weights, batch_size, args.format)
                seconds.setdefault((batch_size, number), []).append(time_taken)
    rows = []
    for batch_size in args.batch_size:
        everything, start = (statistics.median(seconds[batch_size, number]) for number in (len(images), 1))
        rows.append([batch_size, start, everything, (len(images) - 1) / (everything - start)])
    print(
        tabulate(
            rows,
            ["batch size", "start, s", f"{len(images)} images, s", "images a second"],
            "pipe",
            floatfmt=".3g",
        )
    )


def predict(images: list[Path], weights: str, batch_size: int, formats: list[str]) -> float:
    """Runs the command on some images, and returns the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "images.txt")
        listed.write_text("".join(f"{image.resolve()}\n" for image in images))
        command = [
            *(sys.executable, "-m", "reldn_cli", "predict", "--input", listed, "--weights", weights),
            *("--batch-size", batch_size, "--format", *formats, "--output", Path(folder, "output")),
        ]
        start = time.perf_counter()
        subprocess.run([str(word) for word in command], check=True, capture_output=True)
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
