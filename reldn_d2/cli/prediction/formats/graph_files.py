"""A file for each image, in a format of `reldn_d2.scene_graphs` with one graph a file."""

from pathlib import Path

from reldn_d2.scene_graphs.formats import GraphFormat

from .writer import FileWriter, Result


class GraphFiles(FileWriter):
    """One graph a file."""

    def __init__(self, folder: Path, kind: GraphFormat) -> None:
        super().__init__(folder)
        self._kind, self.ending = kind, kind.ending

    def encode(self, result: Result) -> bytes:
        """The content of the file."""
        return self._kind.encode(result.graph)
