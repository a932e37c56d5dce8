"""Graphs of networkx, ours and those of other people."""

from typing import Any

import networkx
import numpy as np
import pytest
from hypothesis import given

from reldn_d2.scene_graphs import SceneGraph, from_networkx, to_networkx
from tests.builders.scene_graphs import example_graph, hostile_names, scene_graphs


@given(graph=scene_graphs(hostile_names, hostile_names))
def test_a_graph_comes_back(graph: SceneGraph) -> None:
    assert from_networkx(to_networkx(graph)) == graph


def test_what_nodes_and_edges_say() -> None:
    made = to_networkx(example_graph())
    assert made.graph == {"version": 1, "file_name": "party/한국.jpg", "width": 64, "height": 48}
    assert made.nodes[1] == {"name": "cup", "score": 1 / 3, "box": [5.1, 7.7, 9.3, 12.9]}
    assert set(made[0][1]) == {"holds", ("holds", 2), "on"}
    assert made[0][1]["on"] == {"predicate": "on", "score": 0.0, "predicate_score": 1.0, "rank": 5}


def foreign(kind: type = networkx.DiGraph) -> Any:
    """A graph that somebody else made: names for nodes, no scores."""
    graph = kind(file_name="a.jpg", width=20, height=10)
    graph.add_node("the cup", name="cup", box=(1, 2, 3, 4), colour="red")
    graph.add_node("me", name="person", box=(0, 0, 9, 9))
    graph.add_edge("me", "the cup", predicate="holds", weight=3)
    return graph


def test_a_graph_of_other_people() -> None:
    found = from_networkx(foreign())
    assert [(x["id"], x["class"], x["score"]) for x in found["entities"]] == [
        (0, "cup", None),
        (1, "person", None),
    ]
    assert found["relationships"] == [{"subject": 1, "object": 0, "predicate": "holds", "score": None}]


def test_numbers_of_nodes_are_ids() -> None:
    graph = networkx.relabel_nodes(foreign(), {"the cup": 1, "me": 0})
    assert [x["class"] for x in from_networkx(graph)["entities"]] == ["person", "cup"]


def test_values_of_numpy() -> None:
    graph = example_graph()
    made = to_networkx(graph)
    made.graph.update(width=np.int64(64), version=np.float64(1))
    for _, values in made.nodes(data=True):
        values.update(box=np.array(values["box"]), score=np.float64(values["score"]))
    made.nodes[0]["box"] = tuple(made.nodes[0]["box"])
    for *_, values in made.edges(data=True):
        values.update(predicate=np.str_(values["predicate"]), rank=np.int64(values["rank"]))
    assert from_networkx(made) == graph
    made.nodes[1]["box"] = np.eye(2)
    with pytest.raises(ValueError, match=r"entities\[1\]\.box must contain at least 4 items"):
        from_networkx(made)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda g: g.nodes["me"].pop("name"), "node 'me' has no attribute 'name', only 'box'"),
        (lambda g: g.nodes["me"].pop("box"), "node 'me' has no attribute 'box'"),
        (
            lambda g: g.edges["me", "the cup"].pop("predicate"),
            "edge 'me' -> 'the cup' has no attribute 'predicate'",
        ),
        (lambda g: g.graph.pop("width"), "graph has no attribute 'width', only 'file_name', 'height'"),
        (
            lambda g: g.add_edge("me", "you", predicate="knows"),
            "node 'you' has no attribute 'name', only none",
        ),
        (lambda g: g.nodes["me"].update(box="0 0 9 9"), r"entities\[1\]\.box must be array"),
        (lambda g: g.nodes["me"].update(name=7), r"entities\[1\]\.class must be string"),
        (lambda g: g.graph.update(version=3), "version 3 of the format"),
    ],
    ids=["name", "box", "predicate", "width", "unknown node", "text as box", "number as name", "version"],
)
def test_what_a_graph_lacks_is_named(damage: Any, message: str) -> None:
    graph = foreign()
    damage(graph)
    with pytest.raises(ValueError, match=message):
        from_networkx(graph)


def test_undirected_graphs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"is undirected.*DiGraph"):
        from_networkx(foreign(networkx.Graph))
