"""jsonl: all graphs in one file, one a line, in the format that `reldn_d2.scene_graphs.graph` describes."""

from reldn_d2.scene_graphs.formats.json_file import dumped

from .writer import AppendingWriter, Result


class GraphLines(AppendingWriter):
    """One line an image."""

    shared = "graphs.jsonl"

    def encode(self, result: Result) -> bytes:
        """The graph as JSON without a line feed, and a line feed."""
        return dumped(result.graph)
