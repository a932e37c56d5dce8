"""The schema of scene graphs, and what `checked_graph` refuses."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from reldn_d2.scene_graphs import SceneGraph, checked_graph, read_graphs
from tests.builders.scene_graphs import example_graph, hostile_names, scene_graphs

SCHEMA = json.loads(
    resources.files("reldn_d2.scene_graphs").joinpath("scene_graph.schema.json").read_text(encoding="utf-8")
)


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@settings(max_examples=50)
@given(graph=scene_graphs(hostile_names))
def test_graphs_are_valid_for_another_validator(graph: SceneGraph) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(json.loads(json.dumps(graph)))


def set_at(*path: str | int, value: Any) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        for key in path[:-1]:
            graph = graph[key]
        graph[path[-1]] = value

    return change


def without(*path: str | int) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        for key in path[:-1]:
            graph = graph[key]
        del graph[path[-1]]

    return change


BY_THE_SCHEMA: dict[str, tuple[Callable[[Any], None], str]] = {
    "old version": (set_at("version", value=0), "version 0 of the format.*reads version 1: write it again"),
    "new version": (set_at("version", value=2), "version 2 of the format.*: update reldn_d2 to read it"),
    "version as text": (set_at("version", value="1"), "version '1' of the format"),
    "version as float": (set_at("version", value=2.5), r"version 2\.5 of the format.*: write it again"),
    "no version": (without("version"), "version None of the format"),
    "no entities": (without("entities"), "is no scene graph"),
    "no class": (without("entities", 1, "class"), r"entities\[1\].* must contain"),
    "class": (
        set_at("entities", 1, "class", value=3),
        r"entities\[1\]\.class must be string, and it is 3",
    ),
    "score": (set_at("entities", 1, "score", value=1.5), r"entities\[1\]\.score.*, and it is 1\.5"),
    "no score": (without("relationships", 0, "score"), r"relationships\[0\]"),
    "predicate score": (set_at("relationships", 0, "predicate_score", value=None), r"relationships\[0\]"),
    "three corners": (set_at("entities", 0, "box", value=[1, 2, 3]), r"entities\[0\]\.box"),
    "corner": (set_at("entities", 0, "box", value=[1, 2, 3, "4"]), r"entities\[0\]\.box\[3\]"),
    "width": (set_at("image", "width", value=0), r"image\.width"),
    "large width": (set_at("image", "width", value=2**31), r"image\.width"),
    "negative id": (set_at("relationships", 0, "subject", value=-1), r"relationships\[0\]\.subject"),
    "list": (set_at("relationships", value={}), "relationships must be array"),
}
BY_MORE: dict[str, tuple[Callable[[Any], None], str]] = {
    "version 1.0": (set_at("version", value=1.0), r"version 1\.0 of the format"),
    "id": (set_at("entities", 1, "id", value=0), r"entities\[1\] has the id 0: .*position"),
    "id as a float": (
        set_at("entities", 1, "id", value=1.0),
        r"entities\[1\]\.id is 1\.0: write the integer 1",
    ),
    "object": (
        set_at("relationships", 1, "object", value=4),
        r"relationships\[1\] has the object 4, and there are 4",
    ),
    "corners exchanged": (
        set_at("entities", 0, "box", value=[5, 0, 4, 1]),
        r"entities\[0\] has the box \[5, 0, 4",
    ),
    "infinite": (set_at("entities", 0, "box", value=[0, 0, 1, float("inf")]), r"entities\[0\] has the box"),
    "NaN": (set_at("entities", 0, "box", value=[0, 0, 1, float("nan")]), r"entities\[0\] has the box"),
    "too large": (set_at("entities", 0, "box", value=[0, 0, 1, 10**400]), r"entities\[0\] has the box"),
    "no float": (set_at("entities", 0, "box", value=[0, 0, 1, 2**60 + 1]), r"entities\[0\] has the box"),
    "score NaN": (
        set_at("relationships", 0, "score", value=float("nan")),
        r"relationships\[0\] has a score.*NaN",
    ),
    "halves": (set_at("entities", 0, "class", value="\ud83d\ude00"), r"entities\[0\] .*UTF-16"),
}


@pytest.mark.parametrize("case", [*BY_THE_SCHEMA, *BY_MORE])
def test_damage_is_named(case: str, tmp_path: Path) -> None:
    change, message = {**BY_THE_SCHEMA, **BY_MORE}[case]
    graph = json.loads(json.dumps(example_graph()))
    change(graph)
    with pytest.raises(ValueError, match=rf"^my file\b.*{message}"):
        checked_graph(graph, "my file")
    if case in BY_THE_SCHEMA:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft7Validator(SCHEMA).validate(graph)


def test_a_record_of_lines_is_named(tmp_path: Path) -> None:
    lines = [example_graph(), {**example_graph(), "version": 2}]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2 has version 2"):
        read_graphs(tmp_path / "a.jsonl")
