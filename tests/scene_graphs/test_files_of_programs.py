"""Files as graph programs write them after they have read ours."""

import json
import re
from pathlib import Path
from typing import Any

import networkx
import pytest

from reldn_d2.scene_graphs import from_networkx, read_graphs, write_graphs
from tests.builders.scene_graphs import example_graph


def test_cytoscape_numbers_nodes_anew(tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "a.cyjs")
    content = json.loads((tmp_path / "a.cyjs").read_text())
    for node in content["elements"]["nodes"]:
        node["data"] = {**node["data"], "id": str(62 + int(node["data"]["id"])), "SUID": 1, "selected": False}
        node["position"] = {"x": 0.5, "y": 1}
    for edge in content["elements"]["edges"]:
        ends = {role: str(62 + int(edge["data"][role])) for role in ("source", "target")}
        edge["data"] = {**edge["data"], **ends, "id": "90", "interaction": "x", "shared_name": "y"}
    del content["multigraph"], content["directed"]
    (tmp_path / "b.cyjs").write_text(json.dumps({"format_version": "1.0", **content}))
    assert read_graphs(tmp_path / "b.cyjs") == [example_graph()]


def test_graphml_with_floats_labels_and_other_names(tmp_path: Path) -> None:
    """As igraph (all numbers are floats, nodes have ids of its own) and Gephi (labels, no order) do it."""
    write_graphs(example_graph(), tmp_path / "a.graphml")
    text = (tmp_path / "a.graphml").read_text()
    text = text.replace('attr.type="long"', 'attr.type="double"').replace('id="', 'id="n')
    text = re.sub('(source|target)="', r'\1="n', text).replace('key="', 'key="n')
    text = text.replace('attr.name="name"', 'attr.name="other"')
    (tmp_path / "b.graphml").write_text(text)
    assert read_graphs(tmp_path / "b.graphml") == [example_graph()]


DOT = r"""digraph {
	graph [bb="0,0,54,36",
		file_name="a b.jpg",
		height=48,
		version=1,
		width=64
	];
	node [label="\N"];
	0	[height=0.5, label=cup, pos="27,18", width=0.75, x0="0.5", x1=2, y0=-1, y1=1e1];
	0 -> 0	[label="next to", lp="63,25", rank=1, score=0.25];
}
"""


def test_a_layout_of_graphviz(tmp_path: Path) -> None:
    (tmp_path / "a.dot").write_text(DOT.replace("1e1", '"1e1"'))
    (found,) = read_graphs(tmp_path / "a.dot")
    assert found["image"] == {"file_name": "a b.jpg", "width": 64, "height": 48}
    assert found["entities"] == [{"id": 0, "class": "cup", "score": None, "box": [0.5, -1, 2, 10]}]
    assert found["relationships"] == [{"subject": 0, "object": 0, "predicate": "next to", "score": 0.25}]


def test_gexf_without_the_image_says_what_helps(tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "a.gexf")
    text = re.sub(r'(<graph .*?) name="[^"]*"', r"\1", (tmp_path / "a.gexf").read_text())
    (tmp_path / "b.gexf").write_text(text)
    with pytest.raises(ValueError, match=r"b\.gexf: the name of the graph is '', .*from_networkx"):
        read_graphs(tmp_path / "b.gexf")
    graph: Any = networkx.read_gexf(tmp_path / "b.gexf")
    graph.graph.update(example_graph()["image"])
    assert from_networkx(graph) == example_graph()


def test_a_corner_that_is_missing_is_named(tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "a.cyjs")
    content = json.loads((tmp_path / "a.cyjs").read_text())
    del content["elements"]["nodes"][2]["data"]["y1"]
    (tmp_path / "a.cyjs").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.cyjs: node '2' has no attribute 'y1', only"):
        read_graphs(tmp_path / "a.cyjs")
