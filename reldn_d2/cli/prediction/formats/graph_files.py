"""json: a file for each image, in the format that `reldn_d2.scene_graphs.graph` describes."""

from reldn_d2.scene_graphs.formats.json_file import dumped

from .writer import FileWriter, Result


class GraphFiles(FileWriter):
    """One JSON file an image."""

    ending = ".json"

    def encode(self, result: Result) -> bytes:
        """The graph as indented JSON."""
        return dumped(result.graph, indent=1)
