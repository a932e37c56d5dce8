"""The `metrics.json` that Detectron2 writes; training curves, bar charts and differences as SVG."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib import style

from reldn_d2.evaluation import Difference
from reldn_d2.utils.plain_text import short, visible

from .svg import Svg, figure_to_svg, note_svg, pixel_figure

#: One curve: value by iteration.
Curve = dict[int, float]


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Curve]:
    """Read the numbers of a `metrics.json`.

    The file has one JSON object per line; the lines may have different keys. If a resumed run wrote an
    iteration again, the later line counts. The last line is skipped while it is still being written, when
    it has no line end and is not yet JSON.

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


# Bright enough for a dark page and dark enough for a light one.
_COLOURS = ("#2f7bd9", "#e0662b", "#1f9d63", "#a259d9", "#d93f6e", "#0aa3b5", "#a08418", "#7b8794")
_LINE_HEIGHT = 22
# Matplotlib's defaults, independent of the user's own settings, and our changes to them.
_STYLE: list[Any] = [
    "default",
    {
        "font.family": "sans-serif",
        "font.size": 13,
        # A name may hold a dollar sign, which would otherwise start a formula.
        "text.parse_math": False,
        "axes.autolimit_mode": "round_numbers",
        "axes.xmargin": 0,
        "axes.ymargin": 0,
        **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
        **{f"{axis}tick.major.size": 0 for axis in "xy"},
        **{f"{axis}tick.major.pad": 7 for axis in "xy"},
    },
]

# Widths in a bar chart, in pixels: a column, its names, and its longest bar. The rest is for the numbers.
_COLUMN, _NAMES, _BAR = 352, 158, 100
# Length of the longest name that fits.
_LONGEST_NAME = 21
# Length of the longest name of a row of differences.
_LONGEST_ROW = 48


def curves_svg(
    curves: Mapping[str, Curve], *, y_label: str = "loss", width: int = 720, height: int = 340
) -> Svg:
    """Draw curves over the iterations, with a legend that gives the last value of each.

    Args:
        curves: name -> curve; empty ones are skipped.
        y_label: text above the vertical axis.
        width, height: size in pixels, without the legend.

    Returns:
        An inline SVG.
    """
    curves = {short(name): dict(sorted(curve.items())) for name, curve in curves.items() if curve}
    if not curves:
        return note_svg(width, "no curve", "no values recorded")
    legend = _LINE_HEIGHT * -(-len(curves) // 2)
    with style.context(_STYLE):
        figure = pixel_figure(width, height + legend)
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        for (name, curve), colour in zip(curves.items(), cycle(_COLOURS), strict=False):
            iterations, values = list(curve), list(curve.values())
            label = f"{name}  {values[-1]:.3g}"
            axes.plot(iterations, values, color=colour, linewidth=2, label=label)
            # A dot at the end; without it, a curve of one point would be invisible.
            end = (iterations[-1:] * 2, values[-1:] * 2)
            axes.plot(*end, color=colour, linewidth=6, solid_capstyle="round")
        # Both axes begin at 0, or below; the horizontal one has a length even if all curves end at 0.
        axes.update_datalim([(0, 0), (1, 0)])
        axes.grid(axis="y", color="black", alpha=0.18)
        axes.xaxis.set_major_formatter("{x:,.10g}")
        axes.set_xlabel("iteration")
        axes.set_title(visible(y_label), loc="left", size=13)
        figure.legend(loc="outside lower left", ncols=2, frameon=False)
        return figure_to_svg(figure, f"{visible(y_label)} by iteration: {', '.join(curves)}")


def bars_svg(counts: Sequence[tuple[str, int]], *, columns: int = 3) -> Svg:
    """Draw a horizontal bar for each count, with its share of the total.

    Args:
        counts: (name, count) pairs, which fill one column after the other. Counts are at least 0.
        columns: number of columns; all have the same scale.

    Returns:
        An inline SVG.
    """
    width = _COLUMN * columns
    if not counts:
        return note_svg(width, "no counts", "no counts")
    total, longest = sum(count for _, count in counts), max(count for _, count in counts)
    rows = -(-len(counts) // columns)
    # Even a rare name gets a bar of 1.5 pixels.
    shortest = 0.015 * longest
    with style.context(_STYLE):
        figure = pixel_figure(width, _LINE_HEIGHT * rows)
        for first in range(0, len(counts), rows):
            shown = counts[first : first + rows]
            left = first // rows * _COLUMN + _NAMES
            axes = figure.add_axes((left / width, 0, _BAR / width, 1))
            lengths = [max(count, shortest) if count else 0 for _, count in shown]
            bars = axes.barh(range(len(shown)), lengths, height=0.64, color=_COLOURS[0])
            axes.bar_label(bars, [_count_text(count, total) for _, count in shown], padding=7)
            axes.set_yticks(range(len(shown)), [_fitting(name) for name, _ in shown], va="center")
            axes.set_xticks([])
            axes.set(xlim=(0, max(longest, 1)), ylim=(rows - 0.5, -0.5))
        return figure_to_svg(figure, ", ".join(f"{short(name)} {count}" for name, count in counts))


def differences_svg(differences: Sequence[tuple[str, Difference]], *, width: int = 860) -> Svg:
    """Draw differences in percentage points with their intervals, a row for each, and a line at zero.

    Differences that are shown are blue, others are grey. A difference without a reliable interval is a dot.

    Args:
        differences: (name, difference) pairs, from the top to the bottom.
        width: in pixels.

    Returns:
        An inline SVG.
    """
    if not differences:
        return note_svg(width, "no differences", "no differences")
    height = _LINE_HEIGHT * (len(differences) + 2)
    with style.context(_STYLE):
        figure = pixel_figure(width, height)
        figure.set_layout_engine("constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color="black", alpha=0.5, linewidth=1)
        for row, (_, found) in enumerate(differences):
            colour = _COLOURS[0] if found.verdict.startswith("shown") else _COLOURS[-1]
            if found.reliable:
                axes.plot((found.low, found.high), (row, row), color=colour, linewidth=2)
            axes.plot((found.mean,) * 2, (row, row), color=colour, linewidth=8, solid_capstyle="round")
        axes.update_datalim([(-1e-9, 0), (1e-9, 0)])
        axes.set_yticks(range(len(differences)), [short(name, _LONGEST_ROW) for name, _ in differences])
        texts = [_interval_text(found) for _, found in differences]
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(differences)), texts)
        right.spines["right"].set_visible(False)
        axes.set_ylim(len(differences) - 0.5, -0.5)
        axes.grid(axis="x", color="black", alpha=0.18)
        axes.set_xlabel("difference in points, with its 95 % interval")
        names = "; ".join(f"{short(name)} {text}" for (name, _), text in zip(differences, texts, strict=True))
        return figure_to_svg(figure, f"Differences in points: {names}")


def _interval_text(found: Difference) -> str:
    interval = f" ({found.low:+.1f} to {found.high:+.1f})" if found.reliable else ""
    return f"{found.mean:+.1f}{interval}"


def _count_text(count: int, total: int) -> str:
    return f"{count:,}" + (f" · {100 * count / total:.1f} %" if total else "")


def _fitting(name: str) -> str:
    return short(name, _LONGEST_NAME)
