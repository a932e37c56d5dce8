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

#: Name of a format -> the format.
FORMATS: dict[str, Format] = {
    "json": JsonFile(),
    "jsonl": JsonLines(),
    "csv": CsvFile(),
    "parquet": Parquet(),
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
    """The format of a file. Where several have its ending, the one whose keys its content has most of."""
    found = _with_ending(path)
    if len(found) == 1:
        return found[0]
    check_readable(path)
    content = parse_json(path.read_bytes(), path)
    record = content[0] if isinstance(content, list) and content else content
    keys = set(record) if isinstance(record, dict) else set()
    best = max(found, key=lambda kind: len(kind.keys & keys))
    if not best.keys & keys:
        named = ", ".join(map(repr, sorted(keys)[:10]))
        known = {name: kind for name, kind in FORMATS.items() if kind in found}
        described = "; ".join(f"{name} has {', '.join(sorted(kind.keys))}" for name, kind in known.items())
        raise ValueError(
            f"{path} has {f'the keys {named}' if named else 'no object with keys'}, and no format has these: "
            f"{described}. Say which it is with file_format"
        )
    return best
