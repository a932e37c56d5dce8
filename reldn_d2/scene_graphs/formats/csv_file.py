"""csv: a table with a row for each relationship, see `triplets.COLUMNS`. It opens in every spreadsheet.

The table holds relationships only: entities without one, and images without one, are lost.
"""

import csv
from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from reldn_d2.utils.csv_files import open_csv
from reldn_d2.utils.plain_text import from_csv, to_csv
from reldn_d2.utils.system_errors import explained

from ..graph import SceneGraph
from ..triplets import COLUMNS, check_header, distinct_images, graphs_of, rows_of
from .format import About, GrowingFormat


class CsvFile(GrowingFormat):
    """One row a relationship. Names that a spreadsheet would run have an apostrophe before them."""

    ending = ".csv"
    header = (",".join(COLUMNS) + "\n").encode()

    def write(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes the rows of all graphs, see `Format.write`."""
        super().write(distinct_images(graphs, path), path, about)

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
        _check_end(path)
        with open_csv(path) as reader:
            header = next(reader, [])
            check_header(header, f"{path}, line 1")
            places = [header.index(name) for name in COLUMNS]
            for fields in reader:
                place = f"line {reader.line_num}"
                if fields and len(fields) != len(header):
                    raise ValueError(
                        f"{path}, {place} has {len(fields)} fields, and the header has {len(header)}: "
                        "correct the line, or write the file again if it is cut off"
                    )
                if fields:
                    yield (
                        place,
                        [
                            _value(name, fields[column], f"{path}, {place}")
                            for name, column in zip(COLUMNS, places, strict=True)
                        ],
                    )
    except OSError as error:
        raise explained(error, path) from error


def _check_end(path: Path) -> None:
    # Half of a number would be read as another number.
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        if file.read() not in (b"\n", b"\r"):
            raise ValueError(
                f"{path}: the last line has no line break, so the file may be cut off: write it again, or "
                "add the line break if nothing is missing"
            )


def _value(name: str, text: str, place: str) -> Any:
    kind = COLUMNS[name]
    try:
        if kind is str:
            return from_csv(text)
        # Python takes 1_0 for ten.
        return None if text == "" else kind(text.replace("_", "?"))
    # OverflowError: an escape stands for no character
    except (ValueError, OverflowError) as error:
        wanted = {str: "a text as this format writes it", float: "a number", int: "an integer"}[kind]
        raise ValueError(f"{place}: {name} is {text!r}: give {wanted}") from error
