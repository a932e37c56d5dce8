"""parquet: a row for each relationship, as a folder of Parquet files, which pandas reads as one table."""

import re
from pathlib import Path

from reldn_d2.scene_graphs.formats.parquet import RowWriter
from reldn_d2.scene_graphs.triplets import Value, rows_of
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import is_unicode, visible

from .writer import Result, Writer

_PART = re.compile(r"part-\d{5,}\.parquet", re.ASCII)
# Rows that wait in memory for the next part, at most about so many.
_MOST_ROWS = 50_000


class TripletParts(Writer[list[list[Value]]]):
    """One row a relationship. Each commit writes a part; the position is the number of parts."""

    shared = "triplets.parquet"
    period = 20.0  # a second would make thousands of small parts

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._rows: list[list[Value]] = []
        self._parts = 0

    @property
    def full(self) -> bool:
        """Whether enough rows for a part wait."""
        return len(self._rows) >= _MOST_ROWS

    def open(self, position: int) -> None:
        """Removes the parts after a position."""
        found = _found(self.folder)
        kept = [self._part(number) for number in range(min(position, len(found) + 1))]
        missing = sorted(set(kept).difference(found))
        if missing:
            raise ValueError(
                f"{missing[0]} is gone, and the record of the run says that it was written. Run without "
                "--resume, which writes everything again"
            )
        for path in set(found).difference(kept):
            path.unlink()
        self._parts = position

    def encode(self, result: Result) -> list[list[Value]]:
        """The rows of an image. Parquet holds no text that UTF-8 does not have, such as half of a pair."""
        return [[_storable(value) for value in row] for row in rows_of(result.graph)]

    def write(self, result: Result, content: list[list[Value]]) -> None:
        """Keeps the rows."""
        self._rows += content

    def commit(self) -> int:
        """Writes the rows as a part. The first part may be empty, so that there always is a table."""
        if self._rows or not self._parts:
            with atomic_write(self._part(self._parts)) as file, RowWriter(file) as writer:
                writer.write(self._rows)
            self._rows, self._parts = [], self._parts + 1
        return self._parts

    def delete(self) -> None:
        """Removes the parts, and the folder if nothing else is in it."""
        for path in _found(self.folder):
            path.unlink()
        place = self.folder / self.shared
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()

    def _part(self, number: int) -> Path:
        return self.folder / self.shared / f"part-{number:05}.parquet"


def _found(folder: Path) -> list[Path]:
    paths = sorted((folder / TripletParts.shared).glob("part-*.parquet"))
    return [path for path in paths if _PART.fullmatch(path.name)]


def _storable(value: Value) -> Value:
    if isinstance(value, str) and not is_unicode(value):
        return visible(value)
    return value
