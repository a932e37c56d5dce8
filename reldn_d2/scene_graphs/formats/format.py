"""What a format of scene graphs is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from reldn_d2.structures.vocabulary import Vocabulary
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.system_errors import explained

from ..graph import SceneGraph


@dataclass(frozen=True)
class About:
    """What some formats say besides the graphs.

    Attributes:
        vocabulary: all classes and predicates, in the order of their numbers; None: those that occur in the
            graphs, sorted.
        model: name of the model that made the graphs; empty if people made them.
        image_prefix: what stands before an image's name in its address for an annotation tool.
    """

    vocabulary: Vocabulary | None = None
    model: str = ""
    image_prefix: str = "/data/local-files/?d="


class Format(ABC):
    """A file format of scene graphs.

    Every format is a subclass of `GraphFormat`, `GrowingFormat` or `CollectionFormat` below.

    Attributes:
        ending: ending of its files, with the dot.
    """

    ending: ClassVar[str]

    @abstractmethod
    def write(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes graphs to a file, in one step.

        Args:
            graphs: the graphs; they may be gone through several times.
            path: the file.
            about: what else the file says.

        Raises:
            ValueError: the format can't hold a graph, or not this number of graphs.
            OSError: the file can't be written.
        """

    @abstractmethod
    def read(self, path: Path) -> Iterator[SceneGraph]:
        """Reads the graphs of a file, in their order.

        Raises:
            ValueError: the file is damaged, or is none of this format. The message names the record.
            OSError: the file can't be read.
        """


class GraphFormat(Format):
    """A format with one graph a file."""

    def write(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes the graph, see `Format.write`."""
        found = list(graphs)
        if len(found) != 1:
            raise ValueError(f"{path}: a file of this format has one graph, not {len(found)}: use jsonl")
        content = _named(path, self.encode, found[0])
        with atomic_write(path) as file:
            file.write(content)

    def read(self, path: Path) -> Iterator[SceneGraph]:
        """Reads the graph, see `Format.read`."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise explained(error, path) from error
        yield self.decode(content, str(path))

    @abstractmethod
    def encode(self, graph: SceneGraph) -> bytes:
        """The content of the file of a graph.

        Raises:
            ValueError: the format can't hold the graph.
        """

    @abstractmethod
    def decode(self, content: bytes, source: str) -> SceneGraph:
        """The graph of a file's content.

        Args:
            content: content of the file.
            source: name of the file, for messages.

        Raises:
            ValueError: the content is damaged, or is none of this format.
        """


class GrowingFormat(Format):
    """A format with a file that grows by some bytes for each graph.

    Attributes:
        header: how the file begins.
    """

    header: ClassVar[bytes] = b""

    def write(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes the graphs one after the other, see `Format.write`."""
        with atomic_write(path) as file:
            file.write(self.header)
            for graph in graphs:
                file.write(_named(path, self.encode, graph))

    @abstractmethod
    def encode(self, graph: SceneGraph) -> bytes:
        """The bytes that a graph adds to the file.

        Raises:
            ValueError: the format can't hold the graph.
        """


class CollectionFormat(Format):
    """A format whose file says something of all graphs at once, so that it can't grow.

    Attributes:
        more_endings: endings of files that `write` writes beside the file, with its name.
    """

    more_endings: ClassVar[tuple[str, ...]] = ()

    def advice(self, path: Path, image_root: Path) -> str:
        """What to do with a file that was written, in lines for the screen; empty if nothing is special.

        Args:
            path: the file.
            image_root: folder that the names of its images are relative to.
        """
        return ""


def _named(path: Path, encode: Callable[[SceneGraph], bytes], graph: SceneGraph) -> bytes:
    try:
        return encode(graph)
    except ValueError as error:
        raise ValueError(
            f"{path}: not written, the graph of {graph['image']['file_name']!r}: {error}"
        ) from error
