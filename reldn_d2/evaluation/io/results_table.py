"""A protocol's numbers as Markdown tables, which also read well in a log."""

import math
import re
from collections.abc import Iterator, Sequence

import tabulate

from ..protocols.protocol import ProtocolResult

# Recall in many lists, "macro_rel_k3_R@50": one table an average, a row for every k.
_RECALL_BY_K = re.compile(r"(macro_|micro_|)(rel|phr)_k(\d+)_(z?R)@(\d+)")
_RECALL = re.compile(r"(.+)@(\d+)")
_STARRED = "_starred"
# Columns of a table of predicates that say how much there was to find.
_COUNTS = ("annotated", "instance cases", "proximity cases")
_SHOWN_IN_LOG = 50


def results_table(result: ProtocolResult, predicate_classes: Sequence[str], *, complete: bool = False) -> str:
    """The numbers of one protocol: a few tables, a table of the predicates, and the notes.

    Numbers are percent with two decimals, "-" where undefined (NaN). Predicates are ordered by how often they are
    annotated, then by name; those that aren't are only counted.

    Args:
        result: numbers of a split.
        predicate_classes: P names.
        complete: show every column of predicates; else, of recalls at several K, those at 50.
    """
    return "\n\n".join(
        [*_metric_tables(result), *_predicate_table(result, predicate_classes, complete), *result.notes]
    )


def _metric_tables(result: ProtocolResult) -> Iterator[str]:
    tables: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for name, value in result.metrics.items():
        column_name, of_predicate, _ = name.partition("/")
        # "AP_rel/on" is in the table of predicates, if that has a column "AP_rel".
        if not (of_predicate and column_name in result.per_predicate):
            corner, group, row, column = _place(name)
            tables.setdefault((corner, group), {}).setdefault(row, {})[column] = _text(value)
    for (corner, _), rows in tables.items():
        columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
        cells = [[row, *(found.get(column, "") for column in columns)] for row, found in rows.items()]
        yield _markdown([corner, *columns], cells)


def _place(metric: str) -> tuple[str, str, str, str]:
    """Where a metric stands: corner and group of its table, row, column."""
    if found := _RECALL_BY_K.fullmatch(metric):
        average, kind, k, recall, at = found.groups()
        return "k", f"{average}{recall}", k, f"{average}{kind}_k_{recall}@{at}"
    if found := _RECALL.fullmatch(metric):
        name, at = found.groups()
        return "", "recall", f"{name}@K", f"K={at}"
    if metric.endswith(_STARRED):
        return "", "other", metric.removesuffix(_STARRED), "% starred"
    return "", "other", metric, "%"


def _predicate_table(
    result: ProtocolResult, predicate_classes: Sequence[str], complete: bool
) -> Iterator[str]:
    columns = {
        name: values.tolist()
        for name, values in result.per_predicate.items()
        if complete or "@" not in name or name.endswith(f"@{_SHOWN_IN_LOG}")
    }
    if not columns:
        return
    counts = [name for name in _COUNTS if name in columns]
    totals = [sum(columns[name][i] for name in counts) for i in range(len(predicate_classes))]
    by_count = sorted(range(len(totals)), key=lambda i: (-totals[i], predicate_classes[i]))
    listed = [i for i in by_count if totals[i] or not counts]
    if listed:
        rows = [[predicate_classes[i], *(_text(values[i]) for values in columns.values())] for i in listed]
        yield _markdown(["predicate", *columns], rows)
    if len(listed) < len(totals):
        yield f"Predicates not listed ({', '.join(counts)}: 0): {len(totals) - len(listed)}."


def _text(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.2f}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    header, *rows = ([cell.replace("|", "\\|") for cell in row] for row in (header, *rows))
    align = ("left", *("right" for _ in header[1:]))
    # Names that look like numbers are names.
    return tabulate.tabulate(rows, header, "pipe", disable_numparse=True, colalign=align)
