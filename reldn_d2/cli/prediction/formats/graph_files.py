"""json: a file for each image, in the format that `reldn_d2.visualization.graph` describes."""

from reldn_d2.visualization.exports import to_json

from .writer import FileWriter, Result


class GraphFiles(FileWriter):
    """One JSON file an image."""

    ending = ".json"

    def encode(self, result: Result) -> bytes:
        """The graph as indented JSON."""
        return to_json(result.graph).encode()
