"""Measures what --precision bf16 changes: the models of a finished demo on its test scenes, and four photos.

    python -m tools.measure_bf16 --demo output/demo --output output/bf16

Evaluates the detector and RelDN in both precisions, with `reldn evaluate`, and prints box AP, recalls and
confusable cases solved. The detector of RelDN runs in the same precision. For the photos it prints which
share of the 100 best triplets stays. The weights of the demo were trained in float32, unless it was run with
MODEL.RELDN_PRECISION bf16.

Where a CPU has no instructions for bfloat16, PyTorch's products take a hundred times as long. There this
program computes them from the same rounded numbers in float32, and rounds the result. Such instructions add
up in float32, too, so only the order of the sums differs.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from reldn_cli.main import main as reldn
from reldn_d2.demo.models import BASELINE, FULL
from reldn_d2.demo.run import COMPLETE, RUNS
from reldn_d2.engine.summary import INFERENCE
from reldn_d2.modeling.acceleration.precision import PRECISIONS, Precision, has_bf16_instructions
from tools.benchmarks.inference import Predict, photo_model, photos_of_one_size, recall_of_best
from tools.benchmarks.ways import Way

TASKS = ("prdcls", "sgdet")
# (protocol, metric) -> what it is called in the table.
METRICS = {
    ("motifs", "R@20"): "R@20",
    ("motifs", "mR@20"): "mR@20",
    ("confusion", "entity_instance_right"): "right instance",
    ("confusion", "proximal_right"): "right neighbour",
}
_PHOTOS = 4
_PRODUCTS = {
    "addmm",
    "baddbmm",
    "bmm",
    "conv2d",
    "convolution",
    "convolution_backward",
    "linear",
    "matmul",
    "mm",
}


class RoundedProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types
    """Computes products of bfloat16 numbers in float32, and rounds the results."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operator of PyTorch."""
        name = func.overloadpacket.__name__
        if name not in _PRODUCTS or not any(_is_bf16(x) for x in args):
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            exact = func(*tree_map_only(torch.Tensor, torch.Tensor.float, tuple(args)), **(kwargs or {}))
        return tree_map_only(torch.Tensor, torch.Tensor.bfloat16, exact)


def _is_bf16(x: object) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype == torch.bfloat16


def computed_as(precision: Precision) -> AbstractContextManager[Any]:
    """A context in which this CPU can compute in a precision in reasonable time."""
    if precision == "fp32" or has_bf16_instructions():
        return nullcontext()
    rounded: AbstractContextManager[Any] = RoundedProducts()  # type: ignore[no-untyped-call]
    return rounded


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True, help="--output of a finished `reldn demo`")
    parser.add_argument("--output", type=Path, required=True, help="folder for the evaluations")
    args = parser.parse_args()
    columns = {x: of_scenes(args.demo, args.output / x, x) for x in PRECISIONS}
    first = columns[PRECISIONS[0]]
    rows = [[name, *(f"{columns[x][name]:.2f}" for x in PRECISIONS)] for name in first]
    for row, name in zip(rows, first, strict=True):
        row.append(f"{columns['bf16'][name] - first[name]:+.2f}")
    print(tabulate(rows, ["percent", *PRECISIONS, "difference"], "pipe"))
    print(f"\nof the 100 best triplets of {_PHOTOS} photos the same: {100 * same_on_photos():.1f} %")


def of_scenes(demo: Path, output: Path, precision: Precision) -> dict[str, float]:
    """The numbers of a demo's models in a precision, in percent."""
    found = {}
    boxes = evaluated(demo / "detector", output / "detector", precision)["bbox"]
    for metric in ("AP", "AP50", "AP75"):
        found[f"detector, box {metric}"] = boxes[metric]
    for name in (BASELINE, FULL):
        results = evaluated(demo / RUNS[name], output / RUNS[name], precision, "--task", *TASKS)
        for task in TASKS:
            for (protocol, metric), title in METRICS.items():
                found[f"{name}, {task}, {title}"] = results[f"{task}/{protocol}"][metric]
    return found


def evaluated(
    weights: Path, output: Path, precision: Precision, *options: str
) -> dict[str, dict[str, float]]:
    """The results of an evaluation on the test scenes."""
    command = [
        *("evaluate", "--weights", str(weights), "--output", str(output), "--precision", precision),
        *("--dataset", COMPLETE.test_dataset, *options),
    ]
    with computed_as(precision):
        status = reldn(command)
    if status:
        sys.exit(f"reldn {' '.join(command)} ended with {status}")
    results: dict[str, dict[str, float]] = json.loads((output / INFERENCE / "summary.json").read_text())[
        "results"
    ]
    return results


def same_on_photos() -> float:
    """Which share of the 100 best triplets bf16 has as well, see `tools.benchmarks.inference`."""
    answers = []
    for precision in PRECISIONS:
        way = Way(accelerated=True, precision=precision)
        predict = Predict(photo_model(way, "cpu"), way, photos_of_one_size(_PHOTOS), 1)
        with computed_as(precision):
            answers.append(predict())
    exact, rounded = answers
    return recall_of_best(rounded, exact)


if __name__ == "__main__":
    main()
