"""File formats that scene graphs are written in."""

import json
import os
from collections.abc import Callable

from reldn_d2.utils.io import atomic_write

from .graph import SceneGraph


def to_json(graph: SceneGraph) -> str:
    """The graph as JSON, in the format that `reldn_d2.visualization.graph` describes.

    Raises:
        ValueError: the graph holds a number that JSON does not have (NaN or infinity).
    """
    return _dumped(graph, indent=1)


def to_json_line(graph: SceneGraph) -> str:
    """The same in one line, for a file of JSON lines.

    Raises:
        ValueError: see `to_json`.
    """
    return _dumped(graph, indent=None)


def _dumped(graph: SceneGraph, indent: int | None) -> str:
    try:
        return json.dumps(graph, indent=indent, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError("the graph holds NaN or infinity, which JSON does not have") from error


#: Name of a format -> the function that writes a graph in it.
EXPORTERS: dict[str, Callable[[SceneGraph], str]] = {"json": to_json}


def write_scene_graph(graph: SceneGraph, path: str | os.PathLike[str], *, file_format: str = "json") -> None:
    """Write a graph to a file, in one step; missing folders are created.

    Args:
        graph: the graph.
        path: file to write.
        file_format: a name in `EXPORTERS`.

    Raises:
        ValueError: the format is unknown, or it can't express the graph.
    """
    if file_format not in EXPORTERS:
        raise ValueError(f"{path}: no format {file_format!r}; use one of {sorted(EXPORTERS)}")
    try:
        text = EXPORTERS[file_format](graph)
    except ValueError as error:
        raise ValueError(f"{path}: not written, {error}") from error
    with atomic_write(path) as file:
        file.write(text.encode())
