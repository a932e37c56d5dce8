"""parquet: the rows of csv, with types. It opens in pandas, Polars, DuckDB and others.

The table holds relationships only: entities without one, and images without one, are lost. It is a file, or
a folder of files as `reldn predict` writes it.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

from reldn_d2.utils.extras import arrow_source, damage_named, import_extra
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import is_unicode

from ..graph import SceneGraph
from ..triplets import COLUMNS, Value, check_header, checked_for_rows, graphs_of, rows_of
from .format import About, Format, check_readable, graph_named

# Rows of a group, which is written at once.
_MOST_ROWS = 50_000


class Parquet(Format):
    """One row a relationship. Needs the package pyarrow."""

    ending = ".parquet"
    needs: ClassVar[dict[str, str]] = {"pyarrow": "parquet"}

    def write(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes the rows of all graphs, see `Format.write`."""
        self.check_installed()
        with atomic_write(path) as file, RowWriter(file) as writer:
            rows: list[list[Value]] = []
            for graph in checked_for_rows(graphs, path):
                rows += graph_named(path, _storable_rows, graph)
                if len(rows) >= _MOST_ROWS:
                    writer.write(rows)
                    rows = []
            writer.write(rows)

    def read(self, path: Path) -> Iterator[SceneGraph]:
        """Reads all rows, then yields the graphs, see `triplets.graphs_of`."""
        self.check_installed()
        parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        below = next(path.glob("*/**/*.parquet"), None) if path.is_dir() else None
        if below is not None:
            raise ValueError(
                f"{path} has files in folders below it, as {below.relative_to(path)}, which are not read: "
                "write the table without partitions"
            )
        if not parts:
            raise ValueError(f"{path} is a folder without a file that ends in .parquet: check the path")
        return graphs_of((row for part in parts for row in _rows(part)), str(path))


class RowWriter:
    """Writes rows into a Parquet file with the columns of `triplets.COLUMNS`.

    Every page has a checksum, so that a reader that asks for it finds damage.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """Takes a binary file; `close` leaves it open.

        Raises:
            ValueError: pyarrow is not installed.
        """
        self._arrow, parquet = _arrow()
        self._schema = _schema(self._arrow)
        self._writer = parquet.ParquetWriter(file, self._schema, write_page_checksum=True)

    def write(self, rows: Sequence[Sequence[Value]]) -> None:
        """Writes rows of `triplets.rows_of`.

        Raises:
            UnicodeEncodeError: a text holds half of a UTF-16 pair, which UTF-8 does not have.
        """
        columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
        arrays = [
            self._arrow.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Writes the end of the table."""
        self._writer.close()

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _storable_rows(graph: SceneGraph) -> list[list[Value]]:
    rows = list(rows_of(graph))
    for text in (value for row in rows for value in row if isinstance(value, str)):
        if not is_unicode(text):
            raise ValueError(
                f"the text {text[:80]!r} holds half of a UTF-16 pair, which Parquet can't hold: use json"
            )
    return rows


def _arrow() -> tuple[Any, Any]:
    purpose = "for tables in Parquet"
    return import_extra("pyarrow", "parquet", purpose), import_extra("pyarrow.parquet", "parquet", purpose)


def _schema(arrow: Any) -> Any:
    types = {str: arrow.string(), float: arrow.float64(), int: arrow.int32()}
    return arrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])


def _rows(path: Path) -> Iterator[tuple[str, list[Any]]]:
    arrow, parquet = _arrow()
    check_readable(path)
    with (
        damage_named(str(path), "Parquet"),
        parquet.ParquetFile(arrow_source(path), page_checksum_verification=True) as file,
    ):
        schema = file.schema_arrow
    check_header(schema.names, str(path))
    for name, kind in COLUMNS.items():
        _check_type(name, kind, schema.field(name).type, path)
    with damage_named(str(path), "Parquet with the types of these columns"):
        with parquet.ParquetFile(arrow_source(path), page_checksum_verification=True) as file:
            table = file.read(columns=list(COLUMNS)).select(list(COLUMNS)).cast(_schema(arrow))
        columns = [table.column(name).to_pylist() for name in COLUMNS]
    for number, row in enumerate(zip(*columns, strict=True), start=1):
        yield f"row {number} of {path.name}", list(row)


def _check_type(name: str, kind: type, found: Any, path: Path) -> None:
    """Refuses a column whose values Arrow would turn into texts or numbers that nobody wrote."""
    types = _arrow()[0].types
    values = found.value_type if types.is_dictionary(found) else found
    # There are four such types, one of them only in later releases of Arrow.
    if types.is_boolean(values) or types.is_temporal(values) or "binary" in str(values):
        raise ValueError(
            f"{path}: the column {name} has the type {found}: write {'texts' if kind is str else 'numbers'}"
        )
