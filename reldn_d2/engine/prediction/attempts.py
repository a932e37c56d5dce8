"""Attempts: how often a part of the input was begun, in files that outlive the process.

A picture may end the process that reads it: a decoder crashes, or the system kills what takes too much
memory. No `except` sees that. So a worker writes a file before it begins a chunk of images, and removes it
when the results are on the disk. A file that is there at the next try says that a worker died, and how often.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.system_errors import explained

#: A chunk, or an image alone, is given up after so many attempts that ended with the death of the worker.
DEATHS = 2


class Attempts:
    """The attempts at one chunk of images.

    Attributes:
        whole: attempts at all its images together.
        rows: row of an image -> attempts at this image alone.
    """

    def __init__(self, path: Path) -> None:
        """Reads what earlier attempts have left.

        Args:
            path: the file of this chunk.

        Raises:
            OSError: the file can't be read.
            ValueError: it was not written by this class.
        """
        self._path = path
        self.whole = 0
        self.rows: dict[int, int] = {}
        try:
            content = json.loads(path.read_bytes())
            self.whole = int(content["whole"])
            self.rows = {int(row): int(count) for row, count in content["rows"].items()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise explained(error, path) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it") from error

    @contextmanager
    def at_all(self) -> Iterator[None]:
        """Counts an attempt at all images together. An error that is raised is no death."""
        self.whole += 1
        self._write()
        try:
            yield
        except BaseException:
            self.whole -= 1
            self._write_if_possible()
            raise

    @contextmanager
    def at(self, row: int) -> Iterator[None]:
        """Counts an attempt at one image, until the block ends in any way but the death of the process."""
        self.rows[row] = self.rows.get(row, 0) + 1
        self._write()
        try:
            yield
        except BaseException:
            self.rows[row] -= 1
            self._write_if_possible()
            raise
        self.rows[row] -= 1
        if self.rows[row]:
            self._write()
        # Else it is on the disk with the next attempt.

    def end(self) -> None:
        """Removes the file, after the results of the chunk were written."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        rows = {str(row): count for row, count in self.rows.items() if count}
        with atomic_write(self._path) as file:
            file.write(json.dumps({"whole": self.whole, "rows": rows}).encode())

    def _write_if_possible(self) -> None:
        with suppress(OSError):  # on a full disk, for example, the error that is raised says more
            self._write()
