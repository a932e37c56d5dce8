"""Checks scene graphs of files: against `scene_graph.schema.json`, and for what no schema can say."""

import json
import math
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, cast

import fastjsonschema

from .graph import FORMAT_VERSION, SceneGraph


def checked_graph(content: Any, source: str) -> SceneGraph:
    """A scene graph, checked.

    Args:
        content: what JSON holds.
        source: the file and the place in it, for messages.

    Raises:
        ValueError: it is no scene graph, or one of another version of the format; an id is not the position
            of its entity, a relationship names an entity that is not there, or a box is not finite or has its
            corners exchanged. The message names the record.
    """
    if not isinstance(content, dict) or "entities" not in content:
        raise ValueError(f"{source} is no scene graph: write it with reldn predict, or with write_graphs")
    version = content.get("version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ValueError(
            f"{source} has version {version!r} of the format of scene graphs, and this release reads version "
            f"{FORMAT_VERSION}: write it again with this release"
        )
    try:
        _validator()(content)
    except fastjsonschema.JsonSchemaValueException as error:
        raise ValueError(
            f"{source}: {error.message.replace('data.', '', 1)}; {_short(error.value)} stands there. "
            "docs/formats.md describes the format"
        ) from error
    graph = cast("SceneGraph", content)
    for position, entity in enumerate(graph["entities"]):
        if entity["id"] != position:
            raise ValueError(
                f"{source}: entities[{position}] has the id {entity['id']}: the id of an entity is its "
                "position in the list, from 0"
            )
        x0, y0, x1, y1 = entity["box"]
        if not all(map(math.isfinite, entity["box"])) or x1 < x0 or y1 < y0:
            raise ValueError(
                f"{source}: entities[{position}] has the box {entity['box']}: write [x0, y0, x1, y1] in "
                "pixels, with x0 <= x1 and y0 <= y1"
            )
    for position, relationship in enumerate(graph["relationships"]):
        for role in ("subject", "object"):
            if relationship[role] >= len(graph["entities"]):
                raise ValueError(
                    f"{source}: relationships[{position}] has the {role} {relationship[role]}, and there are "
                    f"{len(graph['entities'])} entities, numbered from 0"
                )
    return graph


@cache
def _validator() -> Callable[[Any], Any]:
    schema = resources.files(__package__).joinpath("scene_graph.schema.json").read_text(encoding="utf-8")
    return cast("Callable[[Any], Any]", fastjsonschema.compile(json.loads(schema)))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
