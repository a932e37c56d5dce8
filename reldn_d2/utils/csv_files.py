"""Reads CSV files with a header line, as a table or row by row. Errors name the file, line and remedy.

`read_table` is fast for files of many numbers, and keeps all columns in memory. `csv_rows` needs hardly any
memory, and its fields may have any length.
"""

import csv
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from .refusals import Refusal, refuse, refuse_one

if TYPE_CHECKING:
    from _csv import Reader

    import pandas as pd

# The csv module refuses fields longer than 131,072 characters, but a submission may have all triplets of an
# image in one.
_LONGEST_FIELD = 2**31 - 1

_DOWNLOAD = "Download the file again; in a file of your own, correct the line."


def read_header(path: str | os.PathLike[str]) -> list[str]:
    """Reads the names of the columns; an empty list for an empty file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not UTF-8.
    """
    with open_csv(path) as reader:
        return next(reader, [])


@contextmanager
def open_csv(path: str | os.PathLike[str]) -> Iterator["Reader"]:
    """Opens a CSV file with fields of any length, and gives the reader of the csv module.

    Raises:
        OSError: the file can't be opened.
        ValueError: the block meets what is not UTF-8 or no CSV.
    """
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        # some spreadsheets write a byte order mark, which is not part of the first name
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            try:
                yield reader
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: not UTF-8 after line {reader.line_num}; save it as CSV in UTF-8"
                ) from error
            except csv.Error as error:
                raise ValueError(
                    f"{path}: line {reader.line_num} is no CSV ({error}). {_DOWNLOAD}"
                ) from error
    finally:
        csv.field_size_limit(limit)


def csv_rows(
    path: str | os.PathLike[str], columns: Sequence[str], other_names: Mapping[str, str]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yields the line number and the wanted fields of every line below the header.

    Skips lines without a text: blank ones, and lines of commas, as spreadsheets write them. Columns without a
    name are left out.

    Args:
        path: file in UTF-8.
        columns: two or more wanted columns; the first has the image ids, for messages. The file may have
            more columns, in any order.
        other_names: name that a file may use for a column -> name in `columns`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: a column is missing or occurs twice, a line has more or fewer fields than the header, or
            the file is not UTF-8.
    """
    with open_csv(path) as reader:
        header = [other_names.get(name, name) for name in next(reader, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise ValueError(
                f"{path}: line 1 has no column {missing[0]}; it must name the columns {','.join(columns)}, "
                "in any order"
            )
        given = [name for name in header if name]
        if len(set(given)) < len(given):
            raise ValueError(f"{path}: line 1 names a column twice: {','.join(header)}; remove one of them")
        pick = itemgetter(*map(header.index, columns))
        image = header.index(columns[0])
        for row in reader:
            if not any(row):
                continue
            if len(row) == len(header):
                yield reader.line_num, pick(row)
            else:
                name = row[image] if image < len(row) else "unknown"
                where, problem = (
                    f"line {reader.line_num}, image {name}",
                    f"{len(row)} fields, but the header has ",
                )
                remedy = "Correct the line, or write the file again if it is cut off."
                refuse_one(path, "line of another length", where, f"{problem}{len(header)}", remedy)


def check_end(path: Path, remedy: str) -> None:
    """Checks that a file is not empty and ends with a line break.

    Args:
        path: the file.
        remedy: what the user should do, for the message: a sentence without its full stop.

    Raises:
        ValueError: it is empty, or may be cut off.
        OSError: it can't be read.
    """
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            _fail(str(path), "the file is empty", f"{remedy}.")
        stream.seek(-1, os.SEEK_END)
        # half of a number would be read as a shorter number
        if stream.read(1) not in b"\r\n":
            problem = "the last line has no line break, so that the file may be cut off"
            _fail(str(path), problem, f"{remedy}, or add the line break if nothing is missing.")


def read_table(
    path: Path,
    texts: Sequence[str],
    numbers: Sequence[str] = (),
    other_names: Mapping[str, str] | None = None,
    *,
    exact: bool = False,
) -> "pd.DataFrame":
    """Reads the named columns of a CSV file. The file may have more columns, in any order.

    Args:
        path: file in UTF-8.
        texts: columns to return as categories, sorted.
        numbers: columns to return as float64.
        other_names: name that a file may use for a column -> name in `texts` or `numbers`.
        exact: whether numbers are read to the last bit, which takes longer; else the last bit may differ.

    Returns:
        The columns; the index holds the line numbers of the file. Blank lines are skipped.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is empty, cut off, or no CSV file in UTF-8; a column is missing or occurs twice;
            a field is missing or not a number.
    """
    import pandas as pd

    aliases = other_names or {}
    _check_file(path)
    _check_header(path, aliases)
    long_lines: list[int] = []
    try:
        table = _parse(path, [*texts, *aliases], exact=exact)
    except ValueError as error:
        long_lines = _refuse_long_lines(path, error)
        table = _parse(path, [*texts, *aliases], long_lines, exact=exact)
    table = table.rename(columns=dict(aliases))
    missing = [name for name in (*texts, *numbers) if name not in table]
    if missing:
        raise ValueError(
            f"{path}: line 1: no column {', '.join(missing)}, only {', '.join(map(str, table.columns))}. Use "
            "the official file, with its header line."
        )
    # the first line after the header is line 2
    lines = np.setdiff1d(np.arange(2, len(table) + len(long_lines) + 2), long_lines)
    table = table.set_axis(lines).dropna(how="all")
    # categories are made here: while reading, pandas would turn texts like 001 into numbers
    categories = {name: table[name].astype("category") for name in texts}
    values = {name: pd.to_numeric(table[name], errors="coerce").astype(np.float64) for name in numbers}
    table = pd.DataFrame({**categories, **values})
    right = np.ones(len(table), dtype=bool)
    for name in (*texts, *numbers):
        wanted = "a number" if name in numbers else "a name"
        unusable = table[name].isna().to_numpy()
        problem = f"{name} is missing or not {wanted}"
        right &= ~refuse_rows(path, table, unusable, problem, problem, _DOWNLOAD)
    table = table if right.all() else table[right]
    if table.empty:
        raise ValueError(f"{path} has no line but its header. {_DOWNLOAD}")
    return table


def refuse_rows(
    path: Path, table: "pd.DataFrame", bad: NDArray[np.bool_], kind: str, problem: str, remedy: str
) -> NDArray[np.bool_]:
    """Refuses the bad rows, see `reldn_d2.utils.refusals`.

    Args:
        path: the file, for the message.
        table: the result of `read_table`.
        bad: (N,) whether a row is bad.
        kind: the check that they fail, in a few words.
        problem: what is wrong; "{X}" stands for the field X of the row.
        remedy: what the user should do, a sentence.

    Returns:
        `bad`.

    Raises:
        ValueError: there is a bad row.
    """
    rows = np.flatnonzero(bad)

    def record(k: int) -> Refusal:
        row = rows[k]
        fields = {str(name): value for name, value in table.iloc[row].items()}
        # the image id itself may be missing
        image = f", image {fields['ImageID']}" if isinstance(fields.get("ImageID"), str) else ""
        return Refusal(f"line {table.index[row]}{image}", problem.format(**fields), remedy)

    refuse(path, kind, len(rows), record)
    return bad


def codes_of(column: "pd.Series[Any]", numbers: Mapping[str, int]) -> NDArray[np.int64]:
    """Looks up the number of each field of a column of categories.

    Args:
        column: N fields.
        numbers: field -> number.

    Returns:
        (N,) int64; -1 for a field that is not in `numbers`.
    """
    of_category = np.array([numbers.get(name, -1) for name in column.cat.categories], dtype=np.int64)
    return of_category[column.cat.codes.to_numpy()]


def _check_file(path: Path) -> None:
    """Checks that the file exists, is text and ends with a line break."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Check DETECTRON2_DATASETS and put OpenImages there as "
            "datasets/README.md shows."
        )
    with path.open("rb") as stream:
        # UTF-16 can begin like UTF-8, but then has zeros between the letters
        if stream.read(2).startswith((b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b")) or b"\0" in stream.read(64):
            _fail(str(path), "it is not text in UTF-8", "Unpack it if it is compressed, or save it as UTF-8.")
    check_end(path, "Download it again")


def _check_header(path: Path, other_names: Mapping[str, str]) -> None:
    """Checks that no column occurs twice, because pandas would rename the second."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        given = next(csv.reader([stream.readline(100_000)]))
    names = [other_names.get(name, name) for name in given if name]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        again = ", ".join(name for name in given if other_names.get(name, name) == repeated[0])
        _fail(f"{path}: line 1", f"column {repeated[0]} is there twice ({again})", "Remove the wrong one.")


def _refuse_long_lines(path: Path, error: ValueError) -> list[int]:
    """Refuses the lines with more fields than the header. Returns their numbers.

    Raises:
        ValueError: `error`, if nobody collects refused records, or if there are no such lines.
    """
    found, columns = [], 0
    # What is no CSV at all has no such lines.
    with suppress(ValueError), open_csv(path) as reader:
        columns = len(next(reader, []))
        found = [(reader.line_num, row) for row in reader if len(row) > columns]
    if not found:
        raise error

    def record(k: int) -> Refusal:
        line, row = found[k]
        return Refusal(f"line {line}, image {row[0]}", f"it has {len(row)} fields, not {columns}", _DOWNLOAD)

    refuse(path, "line with too many fields", len(found), record, error)
    return [line for line, _ in found]


def _parse(path: Path, texts: Sequence[str], skipped: Sequence[int] = (), *, exact: bool) -> "pd.DataFrame":
    """Reads all lines after the header, including blank ones, without skipped ones."""
    import pandas as pd

    # pandas 3.1 and later always read numbers to the last bit, and have given up the option
    earlier = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)
    precision: dict[str, Any] = {"float_precision": "round_trip"} if exact and earlier else {}
    try:
        with warnings.catch_warnings():
            # without the error, pandas would drop the surplus fields of a line
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table: pd.DataFrame = pd.read_csv(
                path,
                dtype=dict.fromkeys(texts, str),
                index_col=False,
                skip_blank_lines=False,
                skiprows=[line - 1 for line in skipped],
                # "NA" and "null" are texts
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
                **precision,
            )
            return table
    except (
        pd.errors.EmptyDataError,
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        UnicodeDecodeError,
    ) as error:
        problem = f"it is not the table that its header line says ({str(error).strip()})"
        raise ValueError(f"{path}: {problem}. {_DOWNLOAD}") from error


def _fail(where: str, problem: str, remedy: str) -> NoReturn:
    raise ValueError(f"{where}: {problem}. {remedy}")
