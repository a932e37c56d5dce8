"""Training curves from the `metrics.json` that Detectron2 writes."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

#: One curve: value by iteration.
Curve = dict[int, float]


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Curve]:
    """Read the numbers of a `metrics.json`.

    The file has one JSON object per line; the lines may have different keys. If a resumed run wrote an
    iteration again, the later line counts. The last line is skipped while it is still being written (it has
    no line end and is not yet JSON).

    Returns:
        A curve for each key except "iteration", sorted by iteration. Values that are not finite are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a JSON object.
    """
    curves: dict[str, Curve] = {}
    lines = Path(path).read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise ValueError(f"{path}, line {number}: not JSON ({error}); delete the line") from error
        if not isinstance(record, dict):
            raise ValueError(f"{path}, line {number}: not a JSON object; delete the line")
        iteration = record.pop("iteration", None)
        if iteration is None:
            continue
        for key, value in record.items():
            if isinstance(value, int | float) and math.isfinite(value):
                curves.setdefault(key, {})[int(iteration)] = float(value)
    return {key: dict(sorted(curve.items())) for key, curve in curves.items()}


def loss_curves(metrics: Mapping[str, Curve]) -> dict[str, Curve]:
    """The losses among the curves of `read_metrics`: those of the relation head, then the total."""
    names = [*sorted(key for key in metrics if key.startswith("loss_")), "total_loss"]
    return {name: metrics[name] for name in names if name in metrics}
