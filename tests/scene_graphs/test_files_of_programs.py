"""Files as graph programs write them after they have read ours."""

import json
import re
from pathlib import Path
from typing import Any

import networkx
import pytest

from reldn_d2.scene_graphs import FORMATS, from_networkx, read_graphs, write_graphs
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


def test_null_and_other_names_beside_labels(tmp_path: Path) -> None:
    """A predicate that is null is missing, and Gephi calls the label of an edge "Edge Label" in GraphML."""
    write_graphs(example_graph(), tmp_path / "a.cyjs")
    content = json.loads((tmp_path / "a.cyjs").read_text())
    for edge in content["elements"]["edges"]:
        edge["data"]["predicate"] = None
    (tmp_path / "a.cyjs").write_text(json.dumps(content))
    write_graphs(example_graph(), tmp_path / "a.graphml")
    text = (tmp_path / "a.graphml").read_text().replace('attr.name="predicate"', 'attr.name="Edge Label"')
    text = re.sub(
        r'<key id="(\w+)" for="edge" attr.name="label"', r'<key id="\1" for="edge" attr.name="x"', text
    )
    assert 'for="edge" attr.name="x"' in text
    (tmp_path / "a.graphml").write_text(text)
    assert read_graphs(tmp_path / "a.cyjs") == read_graphs(tmp_path / "a.graphml") == [example_graph()]


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


@pytest.mark.parametrize("name", ["graphml", "gexf", "cytoscape"])
def test_nodes_with_the_same_id_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[name].ending}"
    write_graphs(example_graph(), path)
    path.write_text(
        path.read_text().replace('<node id="1"', '<node id="0"').replace('"id": "1"', '"id": "0"')
    )
    with pytest.raises(ValueError, match=rf"a\{FORMATS[name].ending} has two nodes with the id '0'"):
        read_graphs(path)


def test_cytoscape_with_one_list_of_elements(tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "a.cyjs")
    content = json.loads((tmp_path / "a.cyjs").read_text())
    content["elements"] = [*content["elements"]["edges"], *content["elements"]["nodes"]]
    (tmp_path / "a.cyjs").write_text(json.dumps(content))
    assert read_graphs(tmp_path / "a.cyjs") == [example_graph()]
    (tmp_path / "b.cyjs").write_text(json.dumps(content["elements"]))
    with pytest.raises(
        ValueError, match=r"b\.cyjs is a list of elements, .*: write an object with this list"
    ):
        read_graphs(tmp_path / "b.cyjs")
    del content["data"]
    (tmp_path / "a.cyjs").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.cyjs has no attribute 'file_name', only none: add it"):
        read_graphs(tmp_path / "a.cyjs")


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_a_key_that_occurs_twice_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    path.write_text(json.dumps(example_graph())[:-1] + ', "entities": []}\n')
    with pytest.raises(ValueError, match=rf"a\{ending}.*'entities' occurs twice"):
        read_graphs(path)


BY_HAND = r"""digraph {{
    file_name="a.jpg"; width=20; height=10;
    a [label="cup", x0=0, y0=0, x1=5, y1=9];
    b [label="dog", x0=1, y0=1, x1=5, y1=9];
    {}
}}
"""


def read_by_hand(line: str, folder: Path) -> Any:
    (folder / "a.dot").write_text(BY_HAND.format(line))
    return read_graphs(folder / "a.dot")[0]


@pytest.mark.parametrize(
    ("line", "predicates"),
    [
        (r'a:n -> "b":s [label="next\lto\l"];', ["next\nto"]),
        (r'a -> b [label="on\n"]; b -> a [label="a\\l"];', ["on\n", r"a\l"]),
        ("a -> b -> a [label=on, dir=forward];", ["on", "on"]),
        ('a [score=0.5]; a [label="cup"]; node [label="\\N"]; a -> b [label="on"];', ["on"]),
    ],
    ids=["ports and line ends", "our line ends", "chain", "statements"],
)
def test_dot_by_hand(line: str, predicates: list[str], tmp_path: Path) -> None:
    graph = read_by_hand(line, tmp_path)
    assert [entity["class"] for entity in graph["entities"]] == ["cup", "dog"]
    assert [relationship["predicate"] for relationship in graph["relationships"]] == predicates


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a [label=mug];", "node 'a' has the label 'cup' and 'mug': remove one"),
        ("c [label=<<b>cup</b>>];", "node 'c' has HTML as label"),
        (r'c [label="\N"];', r"node 'c' has the label .* with \\N"),
        ("node [score=0.5];", r"gives score to several at once with node \[\.\.\.\]"),
        ("edge [label=on]; a -> b;", r"gives label to several at once with edge \[\.\.\.\]"),
        ("subgraph cluster_0 { c [label=x]; }", "has subgraphs, which are not read"),
        ("a -> {b a} [label=on];", "has an edge to or from a group of nodes"),
        ("a -> b [label=on, score=high];", "edge 'a' -> 'b' has the score high: write a number"),
        ("a -> c [label=on];", "node 'c' has no label: write"),
        ("a -> b;", "edge 'a' -> 'b' has no label: write"),
        ("a -> b [label=on, dir=back];", "edge 'a' -> 'b' has a dir, .*: write the edge from subject"),
        ('a -> b [label=on, dir="both"];', "edge 'a' -> 'b' has a dir"),
    ],
    ids=[
        *("contradiction", "html", "escape", "nodes", "edges", "subgraph", "group", "number", "unknown node"),
        *("no predicate", "arrow back", "two arrows"),
    ],
)
def test_what_dot_says_otherwise_is_named(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"a\.dot:? {message}"):
        read_by_hand(line, tmp_path)


@pytest.mark.parametrize("name", ["graphml", "gexf"])
def test_edges_of_a_pair_with_the_same_id_stay(name: str, tmp_path: Path) -> None:
    graph = example_graph()
    graph["relationships"] = [{**graph["relationships"][0], "predicate": x} for x in ("holds", "looks at")]
    path = tmp_path / f"a{FORMATS[name].ending}"
    write_graphs(graph, path)
    text = re.sub('<edge (.*?)id="1"', r'<edge \1id="0"', path.read_text())
    path.write_text(text.replace('value="1"', 'value="0"'))
    assert [edge["predicate"] for edge in read_graphs(path)[0]["relationships"]] == ["holds", "looks at"]


def xml_graph(name: str, *, graph: str = "", edge: str = "", score: str = "") -> str:
    """A small file with one edge; the box of node 1 and the size of the image are declared defaults."""
    if name == "gexf":
        image = "{&quot;file_name&quot;: &quot;a.jpg&quot;, &quot;width&quot;: 9, &quot;height&quot;: 8}"
        columns = "".join(
            f'<attribute id="{key}" title="{key}" type="long"><default>{value}</default></attribute>'
            for key, value in zip(("x0", "y0", "x1", "y1"), "1234", strict=True)
        )
        box = '<attvalues><attvalue for="x0" value="0.5"/></attvalues>'
        return (
            f'<gexf xmlns="http://gexf.net/1.3" version="1.3"><graph name="{image}" {graph}>'
            f'<attributes class="node">{columns}</attributes>'
            '<attributes class="edge"><attribute id="p" title="predicate" type="string"><default>on</default>'
            '</attribute><attribute id="s" title="score" type="double"/></attributes>'
            f'<nodes><node id="0" label="cup">{box}</node><node id="1" label="dog"/></nodes><edges>'
            f'<edge id="e" source="0" target="1" {edge}>{score}</edge></edges></graph></gexf>'
        )
    columns = "".join(
        f'<key id="{key}" for="node" attr.name="{key}" attr.type="double"><default>{value}</default></key>'
        for key, value in zip(("x0", "y0", "x1", "y1"), "1234", strict=True)
    )
    return (
        f'<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{columns}'
        '<key id="l" for="node" attr.name="label" attr.type="string"/>'
        '<key id="f" for="graph" attr.name="file_name" attr.type="string"><default>a.jpg</default></key>'
        '<key id="w" for="graph" attr.name="width" attr.type="int"><default>9</default></key>'
        '<key id="h" for="all" attr.name="height" attr.type="int"><default>8</default></key>'
        '<key id="p" for="edge" attr.name="predicate" attr.type="string"><default>on</default></key>'
        f'<key id="s" for="edge" attr.name="score" attr.type="double"/><graph {graph}>'
        '<node id="0"><data key="x0">0.5</data><data key="l">cup</data></node>'
        f'<node id="1"><data key="l">dog</data></node><edge source="0" target="1" {edge}>{score}</edge>'
        "</graph></graphml>"
    )


DIRECTED = {"graphml": 'edgedefault="directed"', "gexf": 'defaultedgetype="directed"'}
EDGE_DIRECTED = {"graphml": 'directed="true"', "gexf": 'type="directed"'}
EDGE_UNDIRECTED = {"graphml": 'directed="false"', "gexf": 'type="undirected"'}
NAN = {
    "graphml": '<data key="s">NaN</data>',
    "gexf": '<attvalues><attvalue for="s" value="NaN"/></attvalues>',
}


@pytest.mark.parametrize("name", ["graphml", "gexf"])
@pytest.mark.parametrize("case", ["graph", "edge", "NaN", "no namespace"])
def test_xml_with_defaults(name: str, case: str, tmp_path: Path) -> None:
    """Declared defaults count, edges may say that they are directed, and NaN is a score that is missing."""
    text = xml_graph(
        name,
        graph="" if case == "edge" else DIRECTED[name],
        edge=EDGE_DIRECTED[name] if case == "edge" else "",
        score=NAN[name] if case == "NaN" else "",
    )
    path = tmp_path / f"a{FORMATS[name].ending}"
    path.write_text(re.sub(' xmlns=".*?"', "", text, count=1) if case == "no namespace" else text)
    (found,) = read_graphs(path)
    assert found["image"] == {"file_name": "a.jpg", "width": 9, "height": 8}
    assert [entity["box"] for entity in found["entities"]] == [[0.5, 2, 3, 4], [1, 2, 3, 4]]
    assert found["relationships"] == [{"subject": 0, "object": 1, "predicate": "on", "score": None}]


@pytest.mark.parametrize("name", ["graphml", "gexf"])
def test_undirected_edges_are_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[name].ending}"
    for text in (xml_graph(name), xml_graph(name, graph=DIRECTED[name], edge=EDGE_UNDIRECTED[name])):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"a\{path.suffix}: edge '0' -> '1' is undirected"):
            read_graphs(path)
