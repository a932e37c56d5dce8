"""What a format is: how it encodes the results of an image, and how its files go on after a kill."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, Generic, TypeVar

from reldn_d2.scene_graphs import About, SceneGraph
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.system_errors import explained

Content = TypeVar("Content")


@dataclass(frozen=True)
class Result:
    """The result of one image.

    Attributes:
        path: the image file.
        name: name of the image's own files, without ending.
        graph: its scene graph.
        top_k: largest number of relationships of the graph.
        score_threshold: lowest score of its relationships.
    """

    path: Path
    name: str
    graph: SceneGraph
    top_k: int
    score_threshold: float = 0.0


@dataclass(frozen=True)
class Collected:
    """A file that says something of all images at once, after it was written.

    Attributes:
        path: the file.
        image_root: folder that the names of images in it are relative to.
        left_out: absolute path of an image that is not in it -> why.
        advice: what to do with it, in lines for the screen; may be empty.
    """

    path: Path
    image_root: Path
    left_out: Mapping[str, str]
    advice: str


class Output:
    """What the results in one format are called in the output folder. Making one touches no file.

    Attributes:
        ending: ending of the file that each image gets; empty if images have no files of their own.
        shared: the file or folder that all images share and that grows, relative to the output folder; empty
            if there is none.
        at_end: names of the files that are written at the end of a run.
    """

    ending: str = ""
    shared: str = ""
    at_end: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        """Takes the output folder. Nothing is written yet."""
        self.folder = folder

    def delete(self) -> None:
        """Removes what all images share and what grows."""


class Writer(Output, ABC, Generic[Content]):
    """Writes results in one format.

    The results of an image are first encoded in all formats, then written in all. So whatever is wrong with
    one image leaves nothing behind. What `commit` returns is a position: a run that goes on after a kill
    gives it to `open`, which removes everything that was written after it.

    Attributes:
        period: seconds between two commits.
    """

    period: ClassVar[float] = 1.0

    def check(self, about: About) -> None:
        """Checks that `finish` can say what it has to say besides the graphs.

        Args:
            about: see `finish`.

        Raises:
            ValueError: the format can't hold it.
        """

    @property
    def full(self) -> bool:
        """Whether so much waits that it should be committed now."""
        return False

    @abstractmethod
    def encode(self, result: Result) -> Content:
        """Converts the result of one image to this format.

        Raises:
            Exception: it can't be expressed in this format, or the image can't be read any more.
        """

    @abstractmethod
    def write(self, result: Result, content: Content) -> None:
        """Writes, or keeps for the next commit, what `encode` returned.

        Raises:
            OSError: it can't be written.
        """

    def open(self, position: int) -> None:
        """Starts after a position; 0 is the beginning.

        Raises:
            ValueError: the files do not reach as far.
            OSError: they can't be written.
        """

    def commit(self) -> int:
        """Brings everything to the disk, and returns the position.

        Raises:
            OSError: it can't be written.
        """
        return 0

    def finish(self, images: Sequence[str], about: About) -> Collected | None:
        """Writes the files of `at_end`, each in one step, after the last commit.

        Args:
            images: absolute paths of all images that have results, at least one.
            about: what the files say besides the graphs.

        Returns:
            What was written; None if the format has no such file.

        Raises:
            ValueError: the results can't be expressed in this format.
            OSError: they can't be written.
        """
        return None

    def close(self) -> None:
        """Closes the files."""


class FileWriter(Writer[bytes]):
    """A format with one file for each image."""

    def write(self, result: Result, content: bytes) -> None:
        """Writes the file in one step."""
        with atomic_write(self.folder / f"{result.name}{self.ending}") as file:
            file.write(content)


class AppendingWriter(Writer[bytes]):
    """A format with one file that grows. The position is its length in bytes.

    Attributes:
        header: how the file begins.
    """

    header: bytes = b""
    _file: IO[bytes] | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / self.shared

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explained(error, self.path, "written") from error

    @property
    def _stream(self) -> IO[bytes]:
        if self._file is None:
            raise RuntimeError(f"{self.path} is not open")
        return self._file

    def open(self, position: int) -> None:
        """Opens the file, and cuts it off at the position."""
        length = self.path.stat().st_size if self.path.exists() else 0
        if length < position:
            raise ValueError(
                f"{self.path} has {length} bytes, and the record of the run says {position}: it was changed "
                "or removed. Run without --resume, which writes everything again"
            )
        with self._explaining():
            self._file = self.path.open("r+b" if self.path.exists() else "wb")
            self._file.truncate(position)
            self._file.seek(position)
            if not position:
                self._file.write(self.header)

    def write(self, result: Result, content: bytes) -> None:
        """Appends the content."""
        with self._explaining():
            self._stream.write(content)

    def commit(self) -> int:
        """Brings the file to the disk."""
        with self._explaining():
            self._stream.flush()
            # Some disks report only here that they are full.
            os.fsync(self._stream.fileno())
            return self._stream.tell()

    def close(self) -> None:
        """Closes the file. What was not committed does not count, so it need not be complete."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def delete(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)
