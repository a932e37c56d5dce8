"""Reads the paper's tables from paper_results.yaml, and our numbers for their columns."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from reldn_d2.evaluation.io.results import RESULTS_FILE, read_results
from reldn_d2.model_zoo import find_config

_PAPER_RESULTS = Path(__file__).parent / "paper_results.yaml"

# The numbers of one evaluation: protocol -> metric -> percent.
Metrics = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        name: name in the paper.
        config: the config that the delta changes.
        delta: file of configs/ablations without its suffix, such as "losses/L0".
        paper: column -> the paper's number.
    """

    name: str
    config: Path
    delta: str
    paper: dict[str, float]


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        number: number of the table in the paper.
        title: our title of the table.
        data: the data that the paper's numbers were measured on.
        columns: name -> "task/protocol/metric" of an evaluation; a * in the metric takes the
            greatest of several.
        beside: our columns that the paper does not have, in the same form.
        lines: the lines in the paper's order.
        note: text to read with the numbers; may be empty.
    """

    number: int
    title: str
    data: str
    columns: dict[str, str]
    beside: dict[str, str]
    lines: list[Line]
    note: str

    @property
    def needs(self) -> dict[str, set[str]]:
        """Task -> the protocols that an evaluation must have reported."""
        found: dict[str, set[str]] = {}
        for key in self.columns.values():
            task, protocol, _ = key.split("/", 2)
            found.setdefault(task, set()).add(protocol)
        return found


@dataclass(frozen=True)
class Challenge:
    """The table of the challenge's test server.

    Attributes:
        title: title of the table.
        columns: "Public", "Private" and "Overall".
        lines: line -> the paper's scores in these columns, 0 to 1.
    """

    title: str
    columns: list[str]
    lines: dict[str, list[float]]


def read_table(number: int, config: Path | None, lines: list[str] | None) -> Table:
    """A table of runs.

    Args:
        number: 1 to 8.
        config: the config to change, instead of the table's own; None takes the table's own.
        lines: names of the lines to keep; None keeps all.

    Raises:
        ValueError: the table has no line of such a name.
    """
    content = yaml.safe_load(_PAPER_RESULTS.read_text())["tables"][number]
    chosen = _chosen(content["lines"], lines, number)
    columns = content["columns"]
    return Table(
        number=number,
        title=content["title"],
        data=content["data"],
        columns=columns,
        beside=content["beside"],
        lines=[
            Line(
                name,
                config or find_config(line.get("config", content.get("config"))),
                line["run"],
                dict(zip(columns, line["paper"], strict=True)),
            )
            for name, line in chosen.items()
        ],
        note=content.get("note", ""),
    )


def read_challenge(number: int, lines: list[str]) -> Challenge:
    """The table of the test server.

    Args:
        number: 9.
        lines: names of the lines to keep.

    Raises:
        ValueError: the table has no line of such a name.
    """
    content = yaml.safe_load(_PAPER_RESULTS.read_text())["challenge"][number]
    return Challenge(content["title"], content["columns"], _chosen(content["lines"], lines, number))


def read_metrics(folder: Path) -> Metrics:
    """The numbers that an evaluation wrote to a folder.

    Returns:
        Protocol -> metric -> percent, without undefined numbers; empty if the evaluation did not finish.
    """
    path = folder / RESULTS_FILE
    if not path.is_file():
        return {}
    return {
        protocol: {name: value for name, value in metrics.items() if not math.isnan(value)}
        for protocol, metrics in read_results(path).items()
    }


def value_of(key: str, evaluations: Mapping[str, Metrics]) -> float:
    """The number of a column.

    Args:
        key: "task/protocol/metric".
        evaluations: task -> the numbers of its evaluation.

    Returns:
        Percent; NaN if there is no such number.
    """
    task, protocol, metric = key.split("/", 2)
    metrics = evaluations.get(task, {}).get(protocol, {})
    return max((x for name, x in metrics.items() if fnmatchcase(name, metric)), default=math.nan)


def _chosen(known: dict[str, Any], names: list[str] | None, number: int) -> dict[str, Any]:
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"table {number} has no line {unknown[0]}: choose --lines from {', '.join(known)}")
    return {name: line for name, line in known.items() if names is None or name in names}
