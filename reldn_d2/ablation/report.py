"""A table of runs beside the paper's, as Markdown and JSON: means over seeds and differences from L0."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from reldn_d2.utils.plain_text import markdown_table, to_code, to_markdown

from .intervals import pooled_differences
from .runs import Run
from .tables import Challenge, Line, Table, value_of

BASE = "losses/L0"
# The challenge's weights of its two scores.
PUBLIC, PRIVATE = 0.3, 0.7
_DASH = "–"
# Line -> column -> text.
_Cells = dict[str, dict[str, str]]
_INTERVALS = (
    "95 % intervals of these differences (paired percentile bootstrap over images, the runs of all seeds "
    "pooled). They show how much of a difference may come from the choice of images, and say nothing about "
    "other seeds. Average precision has no interval:"
)


@dataclass(frozen=True)
class MeasuredLine:
    """A line and its finished runs.

    Attributes:
        line: the line of the paper.
        runs: seed -> run.
        values: column -> seed -> percent; seeds without a number are not included.
    """

    line: Line
    runs: dict[int, Run]
    values: dict[str, dict[int, float]]


def measure(table: Table, line: Line, runs: Sequence[Run]) -> MeasuredLine:
    """Read the numbers of a line's finished runs."""
    keys = {**table.columns, **table.beside}
    tasks = {key.split("/")[0] for key in keys.values()}
    values: dict[str, dict[int, float]] = {name: {} for name in keys}
    for run in runs:
        evaluations = {task: run.results(task) for task in tasks}
        for name, key in keys.items():
            value = value_of(key, evaluations)
            if not math.isnan(value):
                values[name][run.seed] = value
    return MeasuredLine(line, {run.seed: run for run in runs}, values)


def base_of(line: MeasuredLine, lines: Sequence[MeasuredLine]) -> MeasuredLine | None:
    """The L0 line with the same config; None if `line` is that line, or if there is none."""
    same = (x for x in lines if x.line.config == line.line.config and x.line.delta == BASE and x is not line)
    return next(same, None)


def paired(line: MeasuredLine, base: MeasuredLine, column: str) -> dict[int, float]:
    """Seed -> difference in points, for the seeds that both lines have."""
    ours, theirs = line.values[column], base.values[column]
    return {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}


def as_markdown(table: Table, lines: Sequence[MeasuredLine], data: Mapping[str, str]) -> str:
    """Our numbers, the paper's, and the differences from L0.

    Args:
        table: the table of the paper.
        lines: the lines in the paper's order.
        data: name of a config -> the data sets that its runs were trained and tested on.
    """
    keys = {**table.columns, **table.beside}
    columns = [name for name in keys if any(line.values[name] for line in lines)]
    measured: _Cells = {
        line.line.name: {"seeds": str(len(line.runs)), **_spreads(line.values)} for line in lines
    }
    paper = {line.line.name: {c: f"{x:.2f}" for c, x in line.line.paper.items()} for line in lines}
    differences: _Cells = {}
    intervals: _Cells = {}
    for line in lines:
        base = base_of(line, lines)
        if base is None:
            continue
        name = f"{line.line.name} − {base.line.name}"
        seeds = sorted(line.runs.keys() & base.runs.keys())
        points = {column: paired(line, base, column) for column in columns}
        differences[name] = {"seeds": str(len(seeds)), **_spreads(points, "+")}
        intervals[name] = _intervals(keys, *([x.runs[seed] for seed in seeds] for x in (line, base)))
    parts = [
        f"# Table {table.number}: {table.title}",
        "Percent, mean ± sample standard deviation over seeds. "
        + " ".join(f"Runs of {to_code(config)}: {to_markdown(text)}." for config, text in data.items())
        + f" The paper's numbers: {table.data}. Numbers from different data can't be compared.",
        _block(measured, ("seeds", *columns)),
        "The paper, one run each:",
        _block(paper, columns),
    ]
    if differences:
        heading = "Differences from L0 with the same seed, in points:"
        parts += [heading, _block(differences, ("seeds", *columns))]
    if any(intervals.values()):
        parts += [_INTERVALS, _block(intervals, columns)]
    absent = [name for name in keys if name not in columns]
    if absent:
        parts.append(f"No run has a number for: {', '.join(absent)}.")
    return "\n\n".join([*parts, table.note]).strip() + "\n"


def as_json(table: Table, lines: Sequence[MeasuredLine], data: Mapping[str, str]) -> str:
    """The numbers of every seed, their means and deviations, and the paper's."""
    content = {
        "table": table.number,
        "title": table.title,
        "data": dict(data),
        "paper's data": table.data,
        "lines": {
            line.line.name: {
                "measured": {name: _entry(seeds) for name, seeds in line.values.items() if seeds},
                "paper": line.line.paper,
            }
            for line in lines
        },
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def challenge_table(challenge: Challenge, scores: Mapping[str, tuple[float, float]]) -> str:
    """Scores of the test server, entered by hand, beside the paper's, as Markdown.

    Args:
        challenge: the paper's table, with the lines to show.
        scores: line -> (public, private), 0 to 1. Overall = 0.3 public + 0.7 private.
    """
    rows = []
    for name, paper in challenge.lines.items():
        public, private = scores[name]
        ours = (public, private, PUBLIC * public + PRIVATE * private)
        rows.append([name, *(f"{value:.3f}" for value in (*ours, *paper))])
    header = ["line", *challenge.columns, *(f"{name}, paper" for name in challenge.columns)]
    table = markdown_table(header, rows)
    return f"# {challenge.title}\n\nOverall = 0.3 Public + 0.7 Private.\n\n{table}\n"


def _block(cells: _Cells, columns: Sequence[str]) -> str:
    """A Markdown table. Columns that no line has are not shown."""
    shown = [name for name in columns if any(name in line for line in cells.values())]
    rows = [[name, *(line.get(column, _DASH) for column in shown)] for name, line in cells.items()]
    return markdown_table(["line", *shown], rows)


def _spreads(columns: Mapping[str, Mapping[int, float]], sign: str = "") -> dict[str, str]:
    return {name: _spread([*seeds.values()], sign) for name, seeds in columns.items() if seeds}


def _spread(values: Sequence[float], sign: str) -> str:
    deviation = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):{sign}.2f}{deviation}"


def _intervals(keys: Mapping[str, str], runs: Sequence[Run], base: Sequence[Run]) -> dict[str, str]:
    found = pooled_differences(keys, runs, base) if runs else {}
    return {name: f"{x.low:+.2f} to {x.high:+.2f}" for name, x in found.items()}


def _entry(seeds: Mapping[int, float]) -> dict[str, Any]:
    values = [*seeds.values()]
    deviation = stdev(values) if len(values) > 1 else None
    return {"mean": mean(values), "std": deviation, "seeds": dict(seeds)}
