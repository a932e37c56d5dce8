"""json: one graph, as `reldn_d2.scene_graphs.graph` describes it."""

import json

from reldn_d2.utils.json_files import parse_json

from ..checking import checked_graph
from ..graph import SceneGraph
from .format import GraphFormat


class JsonFile(GraphFormat):
    """One graph as indented JSON."""

    ending = ".json"
    keys = frozenset({"image", "entities"})

    def encode(self, graph: SceneGraph) -> bytes:
        """The graph as JSON."""
        return dumped(graph, indent=1)

    def decode(self, content: bytes, source: str) -> SceneGraph:
        """The graph, checked."""
        return checked_graph(parse_json(content, source, unique_keys=True), source)


def dumped(graph: SceneGraph, indent: int | None = None) -> bytes:
    """A graph as JSON with a line feed at the end.

    Raises:
        ValueError: the graph holds a number that JSON does not have (NaN or infinity).
    """
    try:
        return (json.dumps(graph, indent=indent, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise ValueError("it holds NaN or infinity, which JSON does not have") from error
