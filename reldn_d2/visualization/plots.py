"""Training curves from the `metrics.json` that Detectron2 writes, as SVG."""

import json
import math
import os
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from .svg import Svg, polyline, svg, text

#: One curve: value by iteration.
Curve = dict[int, float]

_COLOURS = ("#2f7bd9", "#e0662b", "#1f9d63", "#a259d9", "#d93f6e", "#0aa3b5", "#a08418", "#7b8794")
_FAINT = 'stroke-opacity="0.18"'
_LEGEND_LINE = 22


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Curve]:
    """Every number of a `metrics.json`: a file of one JSON object a line, which need not have the same keys.

    Where a resumed run wrote an iteration again, the later line counts. A last line that is still being
    written (no line end, not yet JSON) is left out.

    Returns:
        A curve for each key but "iteration", by rising iteration; values that are not finite are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is not a JSON object.
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


def curves_svg(
    curves: Mapping[str, Curve], *, y_label: str = "loss", width: int = 720, height: int = 340
) -> Svg:
    """Curves over the iterations, with a legend that gives each one's last value.

    Args:
        curves: name -> curve; empty ones are left out.
        y_label: written above the vertical axis.
        width, height: in pixels, without the legend.

    Returns:
        An inline SVG.
    """
    curves = {name: dict(sorted(curve.items())) for name, curve in curves.items() if curve}
    if not curves:
        return svg(width, 40, "no curve", [text(width / 2, 24, "no values recorded")])
    left, right, top, bottom = 58.0, width - 36.0, 30.0, height - 44.0
    values = [value for curve in curves.values() for value in curve.values()]
    x_ticks = _ticks(0, max(iteration for curve in curves.values() for iteration in curve))
    y_ticks = _ticks(min(0.0, min(values)), max(values))

    def across(iteration: float) -> float:
        return left + (iteration - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (right - left)

    def up(value: float) -> float:
        return bottom - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - top)

    body = [text(left, top - 12, y_label, "start"), text((left + right) / 2, height - 6, "iteration")]
    for tick in y_ticks:
        body.append(polyline([(left, up(tick)), (right, up(tick))], "currentColor", 1, _FAINT))
        body.append(text(left - 8, up(tick) + 4, f"{tick:g}", "end"))
    for tick in x_ticks:
        body.append(polyline([(across(tick), bottom), (across(tick), bottom + 5)], "currentColor", 1, _FAINT))
        body.append(text(across(tick), bottom + 19, f"{tick:,g}" if tick < 1e5 else f"{tick:,.0f}"))
    for curve, colour in zip(curves.values(), cycle(_COLOURS), strict=False):
        points = [(across(iteration), up(value)) for iteration, value in curve.items()]
        body.append(polyline(points, colour, 2, 'stroke-linejoin="round"'))
        # A curve of one point would be an invisible line.
        body.append(f'<circle cx="{points[-1][0]:.1f}" cy="{points[-1][1]:.1f}" r="3" fill="{colour}"/>')
    body += _legend(curves, left, (right - left) / 2, height + 18)
    height += 10 + _LEGEND_LINE * -(-len(curves) // 2)
    return svg(width, height, f"{y_label} by iteration: {', '.join(curves)}", body)


def _legend(curves: Mapping[str, Curve], left: float, column: float, top: float) -> list[str]:
    """Two columns of colour, name and last value."""
    body = []
    for index, ((name, curve), colour) in enumerate(zip(curves.items(), cycle(_COLOURS), strict=False)):
        x, y = left + column * (index % 2), top + _LEGEND_LINE * (index // 2)
        body.append(polyline([(x, y - 4), (x + 20, y - 4)], colour, 4))
        body.append(text(x + 28, y, f"{name}  {list(curve.values())[-1]:.3g}", "start"))
    return body


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that enclose [low, high]."""
    if high <= low:
        high = low + 1
    return [float(tick) for tick in MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
