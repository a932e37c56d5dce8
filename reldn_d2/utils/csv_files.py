"""Reading the CSV files of OpenImages: columns by name, and errors that name file, line and remedy."""

import csv
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_DOWNLOAD = "Download the file again; in a file of your own, correct the line."


def read_table(
    path: Path,
    texts: Sequence[str],
    numbers: Sequence[str] = (),
    other_names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read the named columns of a CSV file with a header line. Columns may be in any order, and there may be more.

    Args:
        path: file in UTF-8.
        texts: columns that come out as categories, sorted.
        numbers: columns that come out as float64.
        other_names: names that a column may have instead -> its name.

    Returns:
        The columns; the index holds the line numbers of the file. Blank lines are left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is empty, no CSV file in UTF-8 or cut off; a column that is missing or there twice; a field
            that is missing or no number.
    """
    aliases = other_names or {}
    _check_end(path)
    _check_header(path, aliases)
    table = _parse(path, [*texts, *aliases]).rename(columns=dict(aliases))
    missing = [name for name in (*texts, *numbers) if name not in table]
    if missing:
        raise ValueError(
            f"{path}: line 1: no column {', '.join(missing)}, only {', '.join(map(str, table.columns))}. Use the "
            "official file, with its header line."
        )
    # the first line after the header is line 2
    table = table.set_axis(np.arange(2, len(table) + 2)).dropna(how="all")
    # pandas would make numbers of texts like 001 if it made the categories while reading
    categories = {name: table[name].astype("category") for name in texts}
    values = {name: pd.to_numeric(table[name], errors="coerce").astype(np.float64) for name in numbers}
    table = pd.DataFrame({**categories, **values})
    for name in (*texts, *numbers):
        unusable = table[name].isna().to_numpy()
        wanted = "a number" if name in numbers else "a name"
        refuse_rows(path, table, unusable, f"{name} is missing or not {wanted}", _DOWNLOAD)
    if table.empty:
        raise ValueError(f"{path} has no line but its header. {_DOWNLOAD}")
    return table


def refuse_rows(path: Path, table: pd.DataFrame, bad: NDArray[np.bool_], problem: str, remedy: str) -> None:
    """Raise ValueError for the first bad row, if there is one.

    Args:
        table: of `read_table`.
        bad: (N,), a flag a row.
        problem: what is wrong; "{X}" stands for the field X of the row.
        remedy: what to do, a sentence.
    """
    if bad.any():
        row = int(bad.argmax())
        fields = {str(name): value for name, value in table.iloc[row].items()}
        # of a column that is told to be missing, nothing can be said
        image = f", image {fields['ImageID']}" if isinstance(fields.get("ImageID"), str) else ""
        _fail(f"{path}: line {table.index[row]}{image}", problem.format(**fields), remedy)


def codes_of(column: "pd.Series[Any]", numbers: Mapping[str, int]) -> NDArray[np.int64]:
    """(N,) number of each field of a column of categories, -1 where `numbers` has none."""
    of_category = np.array([numbers.get(name, -1) for name in column.cat.categories], dtype=np.int64)
    return of_category[column.cat.codes.to_numpy()]


def find_file(folder: str | os.PathLike[str], patterns: Sequence[str], what: str) -> Path | None:
    """The one file of a folder that matches a pattern, None if there is none.

    Raises:
        ValueError: several match.
    """
    found = sorted(path for pattern in patterns for path in Path(folder).glob(pattern))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        _fail(
            str(folder), f"several files could be {what}: {names}", "Keep one there and move the others away."
        )
    return found[0] if found else None


def _parse(path: Path, texts: Sequence[str]) -> pd.DataFrame:
    """Every line after the header, blank ones too."""
    try:
        with warnings.catch_warnings():
            # pandas would drop what a line has too many, with this warning
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                dtype=dict.fromkeys(texts, str),
                index_col=False,
                skip_blank_lines=False,
                # of texts, "NA" and "null" are some
                keep_default_na=False,
                na_values=[""],
                low_memory=False,
            )
    except (
        pd.errors.EmptyDataError,
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        UnicodeDecodeError,
    ) as error:
        problem = f"it is not the table that its header line says ({str(error).strip()})"
        raise ValueError(f"{path}: {problem}. {_DOWNLOAD}") from error


def _check_end(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Check DETECTRON2_DATASETS and put OpenImages there as datasets/README.md shows."
        )
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            _fail(str(path), "the file is empty", "Download it again.")
        stream.seek(0)
        # UTF-16 can begin like UTF-8, but then has zeros among the letters
        if stream.read(2).startswith((b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b")) or b"\0" in stream.read(64):
            _fail(str(path), "it is not text in UTF-8", "Unpack it if it is compressed, or save it as UTF-8.")
        stream.seek(-1, os.SEEK_END)
        # Half a number would be read as a shorter one.
        if stream.read(1) not in b"\r\n":
            problem = "the last line has no line break, so that the file may be cut off"
            _fail(str(path), problem, "Download it again, or add the line break if nothing is missing.")


def _check_header(path: Path, other_names: Mapping[str, str]) -> None:
    """No column occurs twice; pandas would rename the second."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        given = next(csv.reader([stream.readline(100_000)]))
    names = [other_names.get(name, name) for name in given if name]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        again = ", ".join(name for name in given if other_names.get(name, name) == repeated[0])
        _fail(f"{path}: line 1", f"column {repeated[0]} is there twice ({again})", "Remove the wrong one.")


def _fail(where: str, problem: str, remedy: str) -> NoReturn:
    raise ValueError(f"{where}: {problem}. {remedy}")
