"""jsonl: any number of graphs, one a line, as `reldn_d2.scene_graphs.graph` describes them."""

from collections.abc import Iterator
from pathlib import Path

from reldn_d2.utils.json_files import parse_json
from reldn_d2.utils.system_errors import explained

from ..checking import checked_graph
from ..graph import SceneGraph
from .format import GrowingFormat
from .json_file import dumped


class JsonLines(GrowingFormat):
    """One line a graph."""

    ending = ".jsonl"

    def encode(self, graph: SceneGraph) -> bytes:
        """The graph as JSON without a line feed, and a line feed."""
        return dumped(graph)

    def read(self, path: Path) -> Iterator[SceneGraph]:
        """Reads line by line."""
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        source = f"{path}, line {number}"
                        yield checked_graph(parse_json(line, source, unique_keys=True), source)
        except OSError as error:
            raise explained(error, path) from error
