"""What a format of scene graphs is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from reldn_d2.structures.vocabulary import Vocabulary
from reldn_d2.utils.extras import import_extra
from reldn_d2.utils.inner_paths import names_outside
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.system_errors import explained

from ..graph import SceneGraph

Content = TypeVar("Content")


@dataclass(frozen=True)
class About:
    """What some formats say besides the graphs.

    Attributes:
        vocabulary: all classes and predicates, in the order of their numbers; None: those that occur in the
            graphs, sorted.
        model: name of the model that made the graphs; empty if people made them.
        image_prefix: what stands before an image's name in its address; only label-studio writes addresses.
    """

    vocabulary: Vocabulary | None = None
    model: str = ""
    image_prefix: str = "/data/local-files/?d="


class Format(ABC):
    """A file format of scene graphs.

    Every format but `Parquet` is a subclass of `GraphFormat`, `GrowingFormat` or `CollectionFormat` below.

    Attributes:
        ending: ending of its files, with the dot.
        keys: keys that the object in a file must have, where several formats have the ending .json; empty if
            the file holds a list.
        needs: module of a package that `write` needs and that is not always installed -> the extra that
            installs it.
    """

    ending: ClassVar[str]
    keys: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[dict[str, str]] = {}

    def check_installed(self) -> None:
        """Checks that the packages that `write` needs are installed.

        Raises:
            ValueError: one is missing. The message says how to install it.
        """
        for module, extra in self.needs.items():
            import_extra(module, extra, f"for files that end in {self.ending}")

    @abstractmethod
    def write(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes graphs to a file, in one step.

        Args:
            graphs: the graphs.
            path: the file. Some formats write others beside it, see `CollectionFormat.more_endings`.
            about: what else the file says.

        Raises:
            ValueError: the format can't hold a graph, or not this number of graphs.
            OSError: the file can't be written.
        """

    @abstractmethod
    def read(self, path: Path) -> Iterator[SceneGraph]:
        """Reads the graphs of a file, in their order.

        Raises:
            ValueError: the file is damaged, or has another format. The message names the record.
            OSError: the file can't be read.
        """


class GraphFormat(Format):
    """A format with one graph a file."""

    def write(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes the graph, see `Format.write`."""
        found = list(graphs)
        if len(found) != 1:
            raise ValueError(f"{path}: a file of this format has one graph, not {len(found)}: use jsonl")
        content = graph_named(path, self.encode, found[0])
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
            ValueError: the content is damaged, or has another format.
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
                file.write(graph_named(path, self.encode, graph))

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

    def check(self, about: About) -> None:
        """Checks that the format can hold what the file says besides the graphs.

        Raises:
            ValueError: it can't. The message says why, and what to do.
        """

    def check_replaced(self, path: Path) -> None:
        """Checks that what is written beside a file replaces no file of another kind.

        Args:
            path: the file.

        Raises:
            ValueError: it would.
            OSError: the file beside it can't be read.
        """

    def write(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes the graphs, see `Format.write`."""
        self.write_all(list(graphs) if isinstance(graphs, Iterator) else graphs, path, about)

    @abstractmethod
    def write_all(self, graphs: Iterable[SceneGraph], path: Path, about: About) -> None:
        """Writes graphs that can be gone through several times. For the rest see `Format.write`."""


def check_readable(path: Path) -> None:
    """Checks that a file can be opened, because readers of other packages say less about it.

    Raises:
        OSError: it can't. The message names the file, the cause and the remedy.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise explained(error, path) from error


def check_node_ids(ids: Iterable[str], source: str) -> None:
    """Checks that no two nodes of a graph have the same id. Readers of other packages would merge them.

    Args:
        ids: the ids.
        source: the file, for messages.

    Raises:
        ValueError: an id occurs twice.
    """
    seen: set[str] = set()
    for identity in ids:
        if identity in seen:
            raise ValueError(
                f"{source} has two nodes with the id {identity[:80]!r}: give one of them another id"
            )
        seen.add(identity)


def check_image_name(name: str) -> None:
    """Checks that a name of an image is one below a folder of images.

    Raises:
        ValueError: it is empty, or leads out of the folder.
    """
    if not name or names_outside([name]):
        raise ValueError(
            "this format needs the name of each image, relative to the folder of images, with '/' and "
            "without '..': write such a file_name into the graph, or use jsonl"
        )


def graph_named(path: Path, encode: Callable[[SceneGraph], Content], graph: SceneGraph) -> Content:
    """What `encode` makes of a graph. A ValueError then names the file and the image."""
    try:
        return encode(graph)
    except ValueError as error:
        raise ValueError(
            f"{path}: not written, the graph of {graph['image']['file_name']!r}: {error}"
        ) from error
