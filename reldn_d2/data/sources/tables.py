"""Tables of images in Parquet: a column has their paths, addresses or bytes.

A column may also hold structs with "bytes" and "path", as Hugging Face's data sets write images.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from reldn_d2.utils.extras import arrow_source, damage_named, import_extra

from .remote import (
    MissingPackageError,
    asked,
    folder_of,
    is_address,
    named_image,
    place,
    reason,
    resolved,
    with_content,
)
from .units import InputRow, Unit

#: Columns that are looked for if none is named.
IMAGE_COLUMNS = ("path", "url", "image", "bytes")
# Footers that are read at the same time: each may be a request to a server.
_FOOTERS = 16
# Rows that are decoded at once. Bytes may be those of large pictures.
_TEXTS, _PICTURES = 1024, 16
# So many columns are named.
_NAMED = 50
# Bytes of a column that are read at once, instead of all of a row group.
_BUFFER = 2**20


@dataclass(frozen=True)
class Table:
    """A Parquet file.

    Attributes:
        path: its absolute path or address.
        groups: number of rows of each row group.
    """

    path: str
    groups: tuple[int, ...]

    def units(self, size: int) -> Iterator[Unit]:
        """Units of at most `size` rows. None has rows of two row groups, which are read one by one."""
        start = 0
        for rows in self.groups:
            for first in range(start, start + rows, size):
                yield Unit(self.path, first, min(first + size, start + rows))
            start += rows


def read_tables(paths: Sequence[str], image_column: str | None, id_column: str | None) -> list[Table]:
    """Reads the footers of Parquet files, and checks their columns. No row is read.

    Args:
        paths: absolute paths or addresses.
        image_column: column with the images; None: the one of `IMAGE_COLUMNS`.
        id_column: column with their ids; None: there is none.

    Raises:
        OSError: a file can't be read.
        ValueError: pyarrow is not installed, a file is damaged, or it lacks a column.
    """
    _parquet()

    def read(path: str) -> Table:
        schema, groups = _footer(path)
        _Columns.of(schema, path, image_column, id_column)
        return Table(path, groups)

    with ThreadPoolExecutor(_FOOTERS) as pool:
        try:
            return list(pool.map(read, paths))
        finally:
            # After an error nobody waits for the others.
            pool.shutdown(wait=False, cancel_futures=True)


class TableReader:
    """Reads the rows of Parquet files. It can be pickled, and used by several threads.

    A row group can only be read from its start. So the reader keeps the group that it has read last, and goes
    on there if the next unit is one of the same group.
    """

    def __init__(self, image_column: str | None, id_column: str | None) -> None:
        """Takes the names of the columns, see `read_tables`."""
        self.image_column, self.id_column = image_column, id_column
        self._last: deque[_RowGroup] = deque(maxlen=1)

    def __reduce__(self) -> tuple[Any, ...]:
        # An open file stays where it is.
        return TableReader, (self.image_column, self.id_column)

    def rows(self, unit: Unit) -> Iterator[InputRow]:
        """The images of a unit. What can't be read of a file or an image are errors of rows.

        Raises:
            MissingPackageError: the package that reads an address is not installed.
        """
        return with_content(self._rows(unit))

    def _rows(self, unit: Unit) -> Iterator[InputRow]:
        """The rows of a unit, with an address instead of its content."""
        done, stop = unit.first, unit.stop or unit.first
        try:
            group = self._group(unit)
            while done < stop:
                for row in group.take(stop - done):
                    yield row
                    done += 1
        except MissingPackageError:
            raise
        # A damaged file may make the decoder raise any error.
        except Exception as error:
            said = f"cannot be read ({reason(error)}): the file may be damaged or changed; write it again"
            for number in range(done, stop):
                yield InputRow(unit.input, number, f"{unit.input}#{number}", error=said)
            return
        if group.position < group.stop:
            self._last.append(group)

    def _group(self, unit: Unit) -> "_RowGroup":
        """The row group of a unit, at the first row of the unit."""
        try:
            group = self._last.pop()
        except IndexError:
            group = None
        if group is None or group.path != unit.input or not group.position <= unit.first < group.stop:
            group = _RowGroup(unit, self.image_column, self.id_column)
        group.skip_to(unit.first)
        return group


class _RowGroup:
    """The rows of a row group, from start to end.

    Attributes:
        path: the file.
        position: number of the next row in the file.
        stop: number behind the last row.
    """

    def __init__(self, unit: Unit, image_column: str | None, id_column: str | None) -> None:
        """Opens the row group of a unit.

        Raises:
            ValueError: the file has changed since its footer was read.
            Exception: the file can't be read.
        """
        file = _open(unit.input)
        ends = list(accumulate(_group_sizes(file)))
        number = bisect_right(ends, unit.first)
        if number == len(ends) or unit.stop is None or unit.stop > ends[number]:
            raise ValueError("its row groups have changed since the run began")
        self.path, self.stop = unit.input, ends[number]
        self.position = ends[number - 1] if number else 0
        self._columns = _Columns.of(file.schema_arrow, unit.input, image_column, id_column)
        self._batches = file.iter_batches(
            self._columns.batch_size, row_groups=[number], columns=self._columns.names
        )
        self._batch: Any = None
        self._taken = 0

    def skip_to(self, position: int) -> None:
        """Leaves out the rows before a position."""
        while self.position < position:
            self._step(position - self.position)

    def take(self, number: int) -> Iterator[InputRow]:
        """The next rows, one or more, and at most a number of them."""
        first = self.position
        batch = self._step(number)
        columns = [batch.column(name) for name in self._columns.names]
        for number_of_row, cells in enumerate(zip(*columns, strict=True), first):
            yield self._columns.row(number_of_row, *cells)

    def _step(self, number: int) -> Any:
        """The next rows of one batch of Arrow, at most a number of them."""
        if self._batch is None or self._taken == len(self._batch):
            self._batch, self._taken = next(self._batches), 0
        part = self._batch.slice(self._taken, number)
        self._taken += len(part)
        self.position += len(part)
        return part


@dataclass(frozen=True)
class _Columns:
    """The columns of a table that are read.

    Attributes:
        path: the file.
        image: column with the images.
        identity: column with their ids; None: there is none.
        batch_size: how many rows are decoded at once.
    """

    path: str
    image: str
    identity: str | None
    batch_size: int

    @classmethod
    def of(cls, schema: Any, path: str, image_column: str | None, id_column: str | None) -> "_Columns":
        """Finds the columns in the schema of a file.

        Raises:
            ValueError: there is none, it is not clear which, or it has another type.
        """
        more = f" and {len(schema.names) - _NAMED} more" if len(schema.names) > _NAMED else ""
        there = f"its columns are {', '.join(schema.names[:_NAMED])}{more}"
        known = [name for name in IMAGE_COLUMNS if name in schema.names]
        for column, option in ((image_column, "--image-column"), (id_column, "--id-column")):
            if column is not None and column not in schema.names:
                raise ValueError(
                    f"--input {path} has no column {column!r}: {there}; name another as {option}"
                )
        if image_column is None and len(known) != 1:
            found = "several" if known else "none"
            raise ValueError(
                f"--input {path} has {found} of the columns {', '.join(IMAGE_COLUMNS)}: {there}; name the "
                "one with the images as --image-column"
            )
        image = known[0] if image_column is None else image_column
        for column in (image, id_column):
            if schema.names.count(column) > 1:
                raise ValueError(f"--input {path} has several columns {column!r}: {there}; rename them")
        kind = schema.field(image).type
        if not _is_text(kind) and not _is_bytes(kind) and not _is_image(kind):
            raise ValueError(
                f"--input {path}: the column {image} has the type {kind}; images are texts (paths or "
                "addresses), bytes, or structs of bytes and path: name another column as --image-column"
            )
        return cls(path, image, id_column, _TEXTS if _is_text(kind) else _PICTURES)

    @property
    def names(self) -> list[str]:
        """All columns."""
        return [self.image] if self.identity is None else [self.image, self.identity]

    def row(self, number: int, image: Any, identity: Any = None) -> InputRow:
        """A row of the input.

        Args:
            number: its number in the file.
            image, identity: Arrow's scalars.
        """
        here = f"{self.path}#{number}"
        try:
            value, name = image.as_py(), None if identity is None else identity.as_py()
        except UnicodeDecodeError:
            return InputRow(self.path, number, here, error="has a text that is not UTF-8: write it again")
        # Such as a date that Python does not have.
        except Exception as error:
            said = f"has a cell that can't be read ({reason(error)}): write it again"
            return InputRow(self.path, number, here, error=said)
        image_id = None if name is None else str(name)
        if isinstance(value, dict):
            value = value.get("path") if value.get("bytes") is None else value["bytes"]
        if isinstance(value, bytes):
            return InputRow(self.path, number, here, image_id, value)
        if not value:
            missing = f"has no image: the cell of the column {self.image} is empty"
            return InputRow(self.path, number, here, image_id, error=missing)
        found = resolved(value, folder_of(self.path))
        return named_image(self.path, number, found, image_id)


def _is_text(kind: Any) -> bool:
    types, value = _arrow().types, _value_type(kind)
    return bool(types.is_string(value) or types.is_large_string(value) or str(value) == "string_view")


def _is_bytes(kind: Any) -> bool:
    types, value = _arrow().types, _value_type(kind)
    is_plain = types.is_binary(value) or types.is_large_binary(value) or types.is_fixed_size_binary(value)
    return bool(is_plain or str(value) == "binary_view")


def _value_type(kind: Any) -> Any:
    """The type of the values, also if they are numbered."""
    return kind.value_type if _arrow().types.is_dictionary(kind) else kind


def _is_image(kind: Any) -> bool:
    """Whether a type is that of structs with bytes or a path."""
    if not _arrow().types.is_struct(kind):
        return False
    fields = {field.name: field.type for field in kind}
    known = {"bytes": _is_bytes, "path": _is_text}
    # A field that is empty in all rows may have no type.
    given = [name for name in known if name in fields and not _arrow().types.is_null(fields[name])]
    return bool(given) and all(known[name](fields[name]) for name in given)


def _footer(path: str) -> tuple[Any, tuple[int, ...]]:
    """Schema and sizes of the row groups of a file."""

    def read() -> tuple[Any, tuple[int, ...]]:
        file = _open(path)
        return file.schema_arrow, _group_sizes(file)

    if is_address(path):
        return asked(path, read)
    with damage_named(path, "Parquet"):
        return read()


def _open(path: str) -> Any:
    """Pyarrow's ParquetFile, which closes the file when nobody holds it any more."""
    if is_address(path):
        files, inner = place(path)
        source = files.open(inner, "rb")
    else:
        source = arrow_source(path)
    return _parquet().ParquetFile(source, page_checksum_verification=True, buffer_size=_BUFFER)


def _group_sizes(file: Any) -> tuple[int, ...]:
    about = file.metadata
    return tuple(about.row_group(number).num_rows for number in range(about.num_row_groups))


def _arrow() -> Any:
    return import_extra("pyarrow", "parquet", "to read tables of images in Parquet")


def _parquet() -> Any:
    return import_extra("pyarrow.parquet", "parquet", "to read tables of images in Parquet")
