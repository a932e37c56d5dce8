"""The file formats of scene graphs. Each is one file here and one line in `FORMATS`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from reldn_d2.utils.json_files import parse_json

from ..checking import checked_graph
from ..graph import SceneGraph
from .coco_relations import CocoRelationsFile
from .csv_file import CsvFile
from .cytoscape import Cytoscape
from .dot import Dot
from .format import About, CollectionFormat, Format, GraphFormat, GrowingFormat, check_readable
from .gexf import Gexf
from .graphml import GraphMl
from .json_file import JsonFile
from .json_lines import JsonLines
from .label_studio import LabelStudio
from .parquet import Parquet
from .shards import Shards, is_shard

#: Name of a format -> the format.
FORMATS: dict[str, Format] = {
    "json": JsonFile(),
    "jsonl": JsonLines(),
    "csv": CsvFile(),
    "parquet": Parquet(),
    "shards": Shards(),
    "graphml": GraphMl(),
    "gexf": Gexf(),
    "cytoscape": Cytoscape(),
    "dot": Dot(),
    "coco-relations": CocoRelationsFile(),
    "label-studio": LabelStudio(),
}

__all__ = [
    "FORMATS",
    "About",
    "CollectionFormat",
    "Format",
    "GraphFormat",
    "GrowingFormat",
    "read_graphs",
    "write_graphs",
]


def write_graphs(
    graphs: SceneGraph | Iterable[SceneGraph],
    path: str | os.PathLike[str],
    *,
    file_format: str | None = None,
    about: About | None = None,
) -> None:
    """Writes scene graphs to a file, in one step; missing folders are created.

    label-studio writes a second file beside it, the labelling config with the ending .xml.

    Args:
        graphs: one graph or several.
        path: the file.
        file_format: a name in `FORMATS`; None: the ending of the file says it, and .json stands for the
            format json.
        about: what some formats say besides the graphs.

    Raises:
        ValueError: there is no such format, it can't hold the graphs, one of them is no scene graph, or the
            second file would replace one of another kind.
        OSError: the file can't be written.
    """
    place = Path(path)
    kind = _named(file_format, place) if file_format else _with_ending(place)[0]
    # A TypedDict is a dict at run time.
    given = [cast("SceneGraph", graphs)] if isinstance(graphs, dict) else graphs
    if isinstance(kind, CollectionFormat):
        kind.check_replaced(place)
    found = [checked_graph(x, f"{place}: not written: graph {i}") for i, x in enumerate(given, start=1)]
    kind.write(found, place, about or About())


def read_graphs(path: str | os.PathLike[str], *, file_format: str | None = None) -> list[SceneGraph]:
    """Reads the scene graphs of a file.

    Args:
        path: the file.
        file_format: a name in `FORMATS`; None: the ending of the file says it, and for .json the content.

    Raises:
        ValueError: there is no such format, or the file is damaged or has another one.
        OSError: the file can't be read.
    """
    place = Path(path)
    return list((_named(file_format, place) if file_format else _of_file(place)).read(place))


def _named(name: str, path: Path) -> Format:
    if name not in FORMATS:
        raise ValueError(f"{path}: there is no format {name!r}: use one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _with_ending(path: Path) -> list[Format]:
    found = [kind for kind in FORMATS.values() if path.suffix.lower() == kind.ending]
    if not found:
        raise ValueError(
            f"{path}: no format has the ending {path.suffix!r}: give file_format, one of {', '.join(FORMATS)}"
        )
    return found


def _of_file(path: Path) -> Format:
    """The format of a file; where several have its ending, that of its content."""
    found = {name: kind for name, kind in FORMATS.items() if kind in _with_ending(path)}
    if len(found) == 1:
        return next(iter(found.values()))
    if "shards" in found:
        found["parquet"].check_installed()
        return found["shards"] if path.is_file() and is_shard(path) else found["parquet"]
    check_readable(path)
    content = parse_json(path.read_bytes(), path)
    if content == []:
        raise ValueError(f"{path} holds an empty list, which says no format: say it with file_format")
    in_list = isinstance(content, list)
    record = content[0] if in_list else content
    keys = set(record) if isinstance(record, dict) else set()
    if in_list and FORMATS["json"].keys <= keys:
        raise ValueError(f"{path} is a list of graphs: write them one a line, with the ending .jsonl")
    for kind in found.values():
        if keys and bool(kind.keys) != in_list and kind.keys <= keys:
            return kind
    described = "; ".join(
        f"{name} needs {', '.join(sorted(x.keys)) or 'a list'}" for name, x in found.items()
    )
    named = f"the keys {', '.join(map(repr, sorted(keys)[:10]))}" if keys else "no object with keys"
    raise ValueError(
        f"{path} has {named}, which fits no format: {described}. Say which it is with file_format"
    )
