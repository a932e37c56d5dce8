"""Scene graphs as graphs of networkx, and back.

There are two forms. `to_networkx` is for work in Python: numbers name the entities, and a box is a list. The
flat form is for files of graph programs: texts name the entities, every value is a number or a text, and what
a graph does not say is left out.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from reldn_d2.utils.plain_text import not_in_xml

from .checking import checked_graph
from .graph import CORNERS, FORMAT_VERSION, SceneGraph

if TYPE_CHECKING:
    import networkx


def to_networkx(graph: SceneGraph) -> "networkx.MultiDiGraph":
    """A scene graph with entities as nodes 0, 1, ... and relationships as edges.

    A node has "name", "score" and "box". An edge has "predicate", "score", "predicate_score" if the graph
    says it, and "rank", its place in the list of relationships, from 1. Its key is the predicate; where a
    pair has the same predicate again, the key is (predicate, 2), (predicate, 3) and so on. The graph has
    "version", "file_name", "width" and "height".

    Example:
        >>> from reldn_d2.scene_graphs import build_scene_graph, from_networkx, to_networkx
        >>> image = {"file_name": "kitchen.jpg", "width": 80, "height": 90}
        >>> boxes = [[0, 0, 50, 90], [40, 30, 50, 40]]
        >>> graph = build_scene_graph(image, ["person", "cup"], boxes, [(0, 1, "holds")])
        >>> made = to_networkx(graph)
        >>> made.nodes[1]["name"], list(made.edges(keys=True))
        ('cup', [(0, 1, 'holds')])
        >>> from_networkx(made) == graph
        True
    """
    made = _empty(graph)
    for entity in graph["entities"]:
        made.add_node(entity["id"], name=entity["class"], score=entity["score"], box=entity["box"])
    seen: dict[tuple[int, int, str], int] = {}
    for rank, edge in enumerate(graph["relationships"], start=1):
        triplet = edge["subject"], edge["object"], edge["predicate"]
        seen[triplet] = seen.get(triplet, 0) + 1
        key = edge["predicate"] if seen[triplet] == 1 else (edge["predicate"], seen[triplet])
        made.add_edge(
            *(edge["subject"], edge["object"], key),
            **{name: edge[name] for name in ("predicate", "score", "predicate_score") if name in edge},
            rank=rank,
        )
    return made


def from_networkx(graph: "networkx.DiGraph", source: str = "the networkx graph") -> SceneGraph:
    """The scene graph of a directed graph with the attributes of `to_networkx` or `to_flat`.

    Nodes that are called 0 to n - 1 (as numbers or texts) keep their number; others are numbered in the order
    of the graph. Relationships are sorted by "rank" if all edges have it. A missing "score" is null. What
    lacks "name" or "predicate" is called by its "label" or "Edge Label". Other attributes are left
    out.

    Args:
        graph: a DiGraph or MultiDiGraph.
        source: what it is, for messages.

    Raises:
        ValueError: the graph is undirected, or it, a node or an edge lacks an attribute or has an impossible
            one. The message names them.
    """
    if not graph.is_directed():
        raise ValueError(
            f"{source} is undirected, and a relationship has a subject and an object: use a DiGraph"
        )
    nodes = list(graph.nodes)
    numbers = {str(number): number for number in range(len(nodes))}
    if {str(node) for node in nodes} == set(numbers):
        nodes.sort(key=lambda node: numbers[str(node)])
    position = {node: number for number, node in enumerate(nodes)}
    values = _plain(graph.graph)
    image = {"file_name": _taken(values, "file_name", source)}
    return checked_graph(
        {
            "version": _whole(values.get("version", FORMAT_VERSION)),
            "image": image | {key: _whole(_taken(values, key, source)) for key in ("width", "height")},
            "entities": [_entity(graph, node, position, source) for node in nodes],
            "relationships": _relationships(graph, position, source),
        },
        source,
    )


def to_flat(graph: SceneGraph, *, any_text: bool = False) -> "networkx.MultiDiGraph":
    """A graph whose attributes are numbers and texts, which files of graph programs can hold.

    Nodes are called "0", "1", ... and have "label" (which programs show) and "name", both the class, "x0",
    "y0", "x1", "y1" and, if it is known, "score". Edges have "label" and "predicate", both the predicate, and
    are otherwise those of `to_networkx`. Their keys are 0, 1, ...

    Args:
        graph: the graph.
        any_text: whether the file can hold every character.

    Raises:
        ValueError: a text holds a character that XML and DOT can't hold, and `any_text` is False.
    """
    made = _empty(graph)
    if not any_text:
        _check_texts(graph)
    for entity in graph["entities"]:
        name = entity["class"]
        box = dict(zip(CORNERS, map(float, entity["box"]), strict=True))
        made.add_node(str(entity["id"]), label=name, name=name, **_known(score=entity["score"]), **box)
    for number, edge in enumerate(graph["relationships"]):
        name = edge["predicate"]
        scores = _known(score=edge["score"], predicate_score=edge.get("predicate_score"))
        ends = str(edge["subject"]), str(edge["object"])
        made.add_edge(*ends, key=number, label=name, predicate=name, **scores, rank=number + 1)
    return made


def _entity(graph: "networkx.DiGraph", node: Any, position: Mapping[Any, int], source: str) -> dict[str, Any]:
    """The entity of a node; `position` has the ids of all nodes."""
    values, place = _plain(graph.nodes[node]), f"{source}: node {node!r}"
    return {
        "id": position[node],
        "class": _name(values, "name", place),
        "score": values.get("score"),
        "box": _box(values, place),
    }


def _relationships(
    graph: "networkx.DiGraph", position: Mapping[Any, int], source: str
) -> list[dict[str, Any]]:
    """The relationships of all edges, by "rank" if all have it; `position` has the ids of all nodes."""
    edges = [(subject, target, _plain(values)) for subject, target, values in graph.edges(data=True)]
    if all(type(values.get("rank")) in (int, float) for *_, values in edges):
        edges.sort(key=lambda edge: edge[2]["rank"])
    relationships = []
    for subject, target, values in edges:
        place = f"{source}: edge {subject!r} -> {target!r}"
        record = {
            "subject": position[subject],
            "object": position[target],
            "predicate": _name(values, "predicate", place),
            "score": values.get("score"),
        }
        if values.get("predicate_score") is not None:
            record["predicate_score"] = values["predicate_score"]
        relationships.append(record)
    return relationships


def _empty(graph: SceneGraph) -> "networkx.MultiDiGraph":
    import networkx

    image = graph["image"]
    return networkx.MultiDiGraph(
        version=graph["version"],
        file_name=image["file_name"],
        width=image["width"],
        height=image["height"],
    )


def _check_texts(graph: SceneGraph) -> None:
    classes = (entity["class"] for entity in graph["entities"])
    predicates = (relationship["predicate"] for relationship in graph["relationships"])
    for text in (graph["image"]["file_name"], *classes, *predicates):
        found = not_in_xml(text)
        if found:
            raise ValueError(
                f"the text {text[:80]!r} holds {found!r}, which no file of this format can hold: use json"
            )


def _known(**values: float | None) -> dict[str, float]:
    return {key: float(value) for key, value in values.items() if value is not None}


def _name(values: Mapping[str, Any], key: str, place: str) -> Any:
    # Gephi calls the label of an edge so in GraphML.
    for name in (key, "label", "Edge Label"):
        if values.get(name) is not None:
            return values[name]
    return _taken(values, key, place)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes, in which values of numpy and tuples are numbers and lists as JSON has them."""
    return {key: _plain_value(value) for key, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain_value(item) for item in value] if isinstance(value, tuple | list) else value


def _box(values: Mapping[str, Any], place: str) -> Any:
    if any(corner in values for corner in CORNERS):
        return [_taken(values, corner, place) for corner in CORNERS]
    return _taken(values, "box", place)


def _whole(value: Any) -> Any:
    # Some programs have no integers.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _taken(values: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in values:
        raise ValueError(
            f"{place} has no attribute {key!r}, only {', '.join(map(repr, values)) or 'none'}: add it"
        )
    return values[key]
