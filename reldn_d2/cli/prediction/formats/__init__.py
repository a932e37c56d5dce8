"""The formats of --format: drawings, and every format of `reldn_d2.scene_graphs`."""

from pathlib import Path
from typing import Any

from reldn_d2.scene_graphs import FORMATS
from reldn_d2.scene_graphs.formats import CollectionFormat, GraphFormat, GrowingFormat

from .collection import Collection, KeptGraphs
from .drawings import Drawings
from .graph_files import GraphFiles
from .growing_file import GrowingFile
from .shards import SHARDS, ShardParts
from .triplet_parts import TripletParts
from .writer import Collected, Output, Result, Writer

# Formats that are written in another way than their kind.
_SPECIAL: dict[str, type[Writer[Any]]] = {"drawings": Drawings, "parquet": TripletParts}
# Name of a format -> stem of the file of all images, if it is not the format's own name.
_STEMS = {"jsonl": "graphs", "csv": "triplets"}

__all__ = [
    "SHARDS",
    "Collected",
    "Output",
    "Result",
    "ShardParts",
    "Writer",
    "format_names",
    "make_output",
    "make_writer",
    "make_writers",
]


def format_names() -> list[str]:
    """All formats, in the order in which an image's results are written.

    The drawing comes before the graph, so that a graph always has its drawing.
    """
    return ["drawings", *FORMATS]


def make_output(name: str, folder: Path) -> Output:
    """What a format is called in the output folder. Nothing on the disk is touched.

    Args:
        name: one of `format_names`.
        folder: folder of the results.
    """
    return ShardParts(folder) if name == SHARDS else make_writer(name, folder)


def make_writer(name: str, folder: Path) -> Writer[Any]:
    """The writer of a format. Nothing on the disk is touched.

    Args:
        name: one of `format_names`, but shards, which their workers write.
        folder: folder of the results.
    """
    if name in _SPECIAL:
        return _SPECIAL[name](folder)
    kind, stem = FORMATS[name], _STEMS.get(name, name.replace("-", "_"))
    if isinstance(kind, GraphFormat):
        return GraphFiles(folder, kind)
    if isinstance(kind, GrowingFormat):
        return GrowingFile(folder, kind, f"{stem}{kind.ending}")
    if isinstance(kind, CollectionFormat):
        return Collection(folder, kind, stem)
    raise TypeError(f"the format {name} is of none of the three kinds in reldn_d2.scene_graphs.formats")


def make_writers(names: list[str], folder: Path) -> dict[str, Writer[Any]]:
    """The writers of some formats, by name, in the order of `format_names`; the last may be `KeptGraphs`.

    Args:
        names: names of formats.
        folder: folder of the results.

    Raises:
        ValueError: there is no such format, or a package that it needs is not installed.
    """
    known = format_names()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"--format {unknown[0]}: there is no such format; use some of {', '.join(known)}")
    writers = {name: make_writer(name, folder) for name in known if name in names}
    for name in writers.keys() & FORMATS.keys():
        FORMATS[name].check_installed()
    if any(isinstance(writer, Collection) for writer in writers.values()):
        writers["kept graphs"] = KeptGraphs(folder)
    return writers
