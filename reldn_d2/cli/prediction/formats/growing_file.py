"""One file for all images, in a format of `reldn_d2.scene_graphs` whose files grow."""

from pathlib import Path

from reldn_d2.scene_graphs.formats import GrowingFormat

from .writer import AppendingWriter, Result


class GrowingFile(AppendingWriter):
    """A file that grows by some bytes for each image."""

    def __init__(self, folder: Path, kind: GrowingFormat, name: str) -> None:
        """Takes the output folder, the format and the name of the file."""
        super().__init__(folder)
        self._kind, self.shared, self.header = kind, name, kind.header

    def encode(self, result: Result) -> bytes:
        """What the image adds."""
        return self._kind.encode(result.graph)
