"""csv: a table with a row for each relationship, see `triplets.COLUMNS`. It opens in every spreadsheet.

The table holds relationships only: entities without one, and images without one, are lost.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from reldn_d2.utils.csv_files import check_end, csv_rows, read_header
from reldn_d2.utils.plain_text import from_csv, to_csv
from reldn_d2.utils.system_errors import explained

from ..graph import SceneGraph
from ..triplets import COLUMNS, check_header, checked_for_rows, graphs_of, rows_of
from .format import About, GrowingFormat

# What other programs write for a number that is missing.
_MISSING = ("", "nan", "na", "n/a", "<na>", "none", "null")
# An integer as pandas writes it from a column that lacks a number somewhere.
_WHOLE = re.compile(r"(-?[0-9]+)\.0*")


class CsvFile(GrowingFormat):
    """One row a relationship. Names that a spreadsheet would run have an apostrophe before them."""

    ending = ".csv"
    header = (",".join(COLUMNS) + "\n").encode()

    def write(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes the rows of all graphs, see `Format.write`."""
        super().write(checked_for_rows(graphs, path), path, about)

    def encode(self, graph: SceneGraph) -> bytes:
        """The rows of a graph."""
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in rows_of(graph):
            writer.writerow([to_csv(value) if isinstance(value, str) else value for value in row])
        return text.getvalue().encode()

    def read(self, path: Path) -> Iterator[SceneGraph]:
        """Reads all rows, then yields the graphs, see `triplets.graphs_of`."""
        return graphs_of(_rows(path), str(path))


def _rows(path: Path) -> Iterator[tuple[str, list[Any]]]:
    try:
        header = read_header(path)
        check_end(path, "Write it again")
        _check_separator(header, path)
        check_header(header, f"{path}, line 1")
        for line, fields in csv_rows(path, list(COLUMNS), {}):
            place = f"line {line}"
            values = zip(COLUMNS, fields, strict=True)
            yield place, [_value(name, text, f"{path}, {place}") for name, text in values]
    except OSError as error:
        raise explained(error, path) from error


def _check_separator(header: Sequence[str], path: Path) -> None:
    """Refuses what some spreadsheets write, where only the name of a column would be missed."""
    text = ",".join(header)
    if text.startswith("sep="):
        raise ValueError(f"{path}, line 1 is {text!r}, which only some spreadsheets read: remove it")
    found = [mark for mark in (";", "\t", "|") if mark in text]
    if len(header) == 1 and found:
        raise ValueError(
            f"{path}, line 1 has {found[0]!r} between the names of the columns: save the file with commas "
            "between columns, and points in numbers"
        )


def _value(name: str, text: str, place: str) -> Any:
    kind = COLUMNS[name]
    if kind is str:
        return from_csv(text)
    if text.lower() in _MISSING:
        return None
    whole = _WHOLE.fullmatch(text) if kind is int else None
    try:
        # Python takes 1_0 for ten.
        return kind(whole[1] if whole else text.replace("_", "?"))
    except ValueError as error:
        wanted = "an integer" if kind is int else "a number"
        raise ValueError(f"{place}: {name} is {text!r:.80}: give {wanted}") from error
