"""The file formats of scene graphs. Each is one file here and one line in `FORMATS`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from ..graph import SceneGraph
from .format import About, CollectionFormat, Format, GraphFormat, GrowingFormat
from .json_file import JsonFile
from .json_lines import JsonLines
from .label_studio import LabelStudio

#: Name of a format -> the format.
FORMATS: dict[str, Format] = {
    "json": JsonFile(),
    "jsonl": JsonLines(),
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

    Args:
        graphs: one graph or several.
        path: the file.
        file_format: a name in `FORMATS`; None: the ending of the file says it.
        about: what some formats say besides the graphs.

    Raises:
        ValueError: there is no such format, or it can't hold the graphs.
        OSError: the file can't be written.
    """
    # A TypedDict is a dict at run time.
    found = [cast("SceneGraph", graphs)] if isinstance(graphs, dict) else list(graphs)
    _format_of(Path(path), file_format).write(found, Path(path), about or About())


def read_graphs(path: str | os.PathLike[str], *, file_format: str | None = None) -> list[SceneGraph]:
    """Reads the scene graphs of a file.

    Args:
        path: the file.
        file_format: a name in `FORMATS`; None: the ending of the file says it.

    Raises:
        ValueError: there is no such format, or the file is damaged or has another one.
        OSError: the file can't be read.
    """
    return list(_format_of(Path(path), file_format).read(Path(path)))


def _format_of(path: Path, name: str | None) -> Format:
    if name is None:
        name = next((x for x, kind in FORMATS.items() if path.suffix.lower() == kind.ending), None)
        if name is None:
            raise ValueError(
                f"{path}: no format has the ending {path.suffix!r}: give file_format, one of "
                f"{', '.join(FORMATS)}"
            )
    if name not in FORMATS:
        raise ValueError(f"{path}: there is no format {name!r}: use one of {', '.join(FORMATS)}")
    return FORMATS[name]
