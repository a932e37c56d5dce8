"""The formats of --format. Each is one file here and one line in `FORMATS`."""

from pathlib import Path
from typing import Any

from .drawings import Drawings
from .graph_files import GraphFiles
from .graph_lines import GraphLines
from .triplet_parts import TripletParts
from .triplet_table import TripletTable
from .writer import Result, Writer

#: Name of a format -> its writer, in the order in which an image's results are written. The drawing comes
#: before the graph, so that a graph always has its drawing.
FORMATS: dict[str, type[Writer[Any]]] = {
    "drawings": Drawings,
    "json": GraphFiles,
    "jsonl": GraphLines,
    "csv": TripletTable,
    "parquet": TripletParts,
}

__all__ = ["FORMATS", "Result", "Writer", "make_writers"]


def make_writers(names: list[str], folder: Path) -> dict[str, Writer[Any]]:
    """The writers of some formats, by name, in the order of `FORMATS`.

    Args:
        names: names of formats.
        folder: folder of the results.

    Raises:
        ValueError: there is no such format, or a package that it needs is not installed.
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise ValueError(f"--format {unknown[0]}: there is no such format; use some of {', '.join(FORMATS)}")
    return {name: kind(folder) for name, kind in FORMATS.items() if name in names}
