"""Reading CSV files that have a header line. Errors name the line."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _csv import Reader

# The csv module refuses fields longer than 131,072 characters, but a field may hold a whole list of triplets.
_LONGEST_FIELD = 2**31 - 1


def read_header(path: str | os.PathLike[str]) -> list[str]:
    """The names of the columns; an empty list if the file is empty.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not UTF-8.
    """
    with _csv_reader(path) as reader:
        return next(reader, [])


def csv_rows(
    path: str | os.PathLike[str], columns: Sequence[str], other_names: Mapping[str, str]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Read the lines below the header: number of the line, and its wanted fields. Blank lines are skipped.

    Args:
        path: file in UTF-8.
        columns: two or more wanted columns; the first holds the image ids. The file may have them in any
            order, and it may have other columns.
        other_names: other name of a column that a file may use -> its name in `columns`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column is missing or named twice, if a line and the header have different numbers of
            fields, or if the file is not UTF-8.
    """
    with _csv_reader(path) as reader:
        header = [other_names.get(name, name) for name in next(reader, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise ValueError(
                f"{path}: line 1 has no column {missing[0]}; it must name the columns {','.join(columns)}, "
                "in any order"
            )
        if len(set(header)) < len(header):
            raise ValueError(f"{path}: line 1 names a column twice: {','.join(header)}; remove one of them")
        pick = itemgetter(*map(header.index, columns))
        image = header.index(columns[0])
        for row in reader:
            if len(row) == len(header):
                yield reader.line_num, pick(row)
            elif row:
                name = row[image] if image < len(row) else "unknown"
                raise ValueError(
                    f"{path}: line {reader.line_num}, image {name}: {len(row)} fields, but the header has "
                    f"{len(header)}; correct the line, or write the file again if it is cut off"
                )


@contextmanager
def _csv_reader(path: str | os.PathLike[str]) -> Iterator["Reader"]:
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        # "-sig" drops the byte order mark that some spreadsheets write before the first name.
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            try:
                yield reader
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: not UTF-8 after line {reader.line_num}; save it as CSV in UTF-8"
                ) from error
    finally:
        csv.field_size_limit(limit)
