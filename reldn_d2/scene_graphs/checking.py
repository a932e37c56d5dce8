"""Checks scene graphs of files: against `scene_graph.schema.json`, and for what no schema can say."""

import json
import math
import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, cast

from .graph import FORMAT_VERSION, SceneGraph

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def checked_graph(content: Any, source: str) -> SceneGraph:
    """A scene graph, checked.

    Args:
        content: what JSON holds.
        source: the file and the place in it, for messages.

    Raises:
        ValueError: it is no scene graph, or one of another version of the format; an id is not the position
            of its entity, a relationship names an entity that is not there, a score is NaN, a box is not
            finite or has its corners exchanged, or a name has both halves of a UTF-16 pair. The message names
            the record.
    """
    from fastjsonschema import JsonSchemaValueException

    if not isinstance(content, dict) or "entities" not in content:
        raise ValueError(f"{source} is no scene graph: write it with reldn predict, or with write_graphs")
    version = content.get("version")
    if type(version) is not int or version != FORMAT_VERSION:
        newer = type(version) is int and version > FORMAT_VERSION
        remedy = "update reldn_d2 to read it" if newer else "write it again with this release"
        raise ValueError(
            f"{source} has version {_short(version)} of the format of scene graphs, and this release reads "
            f"version {FORMAT_VERSION}: {remedy}"
        )
    try:
        _validator()(content)
    except JsonSchemaValueException as error:
        raise ValueError(
            f"{source}: {error.message.replace('data.', '', 1)}, and it is {_short(error.value)}. "
            "docs/formats.md describes the format"
        ) from error
    graph = cast("SceneGraph", content)
    _check_name(graph["image"]["file_name"], f"{source}: the image")
    for key, side in (("width", graph["image"]["width"]), ("height", graph["image"]["height"])):
        _check_integer(side, f"{source}: image.{key}")
    for position, entity in enumerate(graph["entities"]):
        _check_integer(entity["id"], f"{source}: entities[{position}].id")
        if entity["id"] != position:
            raise ValueError(
                f"{source}: entities[{position}] has the id {entity['id']}: the id of an entity is its "
                "position in the list, from 0"
            )
        _check_name(entity["class"], f"{source}: entities[{position}]")
        _check_score(entity["score"], f"{source}: entities[{position}]")
        x0, y0, x1, y1 = entity["box"]
        if not all(map(_is_coordinate, entity["box"])) or x1 < x0 or y1 < y0:
            raise ValueError(
                f"{source}: entities[{position}] has the box {entity['box']}: write [x0, y0, x1, y1] in "
                "pixels, with x0 <= x1 and y0 <= y1"
            )
    for position, relationship in enumerate(graph["relationships"]):
        _check_name(relationship["predicate"], f"{source}: relationships[{position}]")
        for score in (relationship["score"], relationship.get("predicate_score")):
            _check_score(score, f"{source}: relationships[{position}]")
        for role in ("subject", "object"):
            _check_integer(relationship[role], f"{source}: relationships[{position}].{role}")
            if relationship[role] >= len(graph["entities"]):
                raise ValueError(
                    f"{source}: relationships[{position}] has the {role} {relationship[role]}, and there are "
                    f"{len(graph['entities'])} entities, numbered from 0"
                )
    return graph


def _check_integer(value: float, place: str) -> None:
    # JSON Schema takes 1.0 for an integer, and a list of Python does not.
    if not isinstance(value, int):
        raise ValueError(f"{place} is {value!r}: write the integer {int(value)}")


def _check_name(name: str, place: str) -> None:
    # JSON writes both halves as escapes, and reads them as one character.
    if _PAIR.search(name):
        raise ValueError(
            f"{place} has the name {_short(name)} with both halves of a UTF-16 pair: write one character"
        )


def _check_score(score: float | None, place: str) -> None:
    if score is not None and math.isnan(score):
        raise ValueError(f"{place} has a score that is NaN: use a number from 0 to 1, or null")


def _is_coordinate(value: float) -> bool:
    """Whether a number is finite, and a float that holds it exactly exists."""
    try:
        return math.isfinite(value) and float(value) == value
    except OverflowError:
        return False


@cache
def _validator() -> Callable[[Any], Any]:
    import fastjsonschema

    schema = resources.files(__package__).joinpath("scene_graph.schema.json").read_text(encoding="utf-8")
    return cast("Callable[[Any], Any]", fastjsonschema.compile(json.loads(schema)))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
