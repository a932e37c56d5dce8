"""dot: one graph for Graphviz, as `networkx_graph.to_flat` describes it.

All values are quoted. The label of a node is its class, and that of an edge its predicate; there are no
"name" and "predicate", because pydot reads no node with a "name".
"""

import re
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from html import unescape
from io import StringIO
from typing import Any

import networkx

from ..graph import SceneGraph
from ..networkx_graph import from_networkx, to_flat
from .format import GraphFormat, damage_named, import_extra

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
# The attributes that are read, and what makes their values of texts.
_OF_GRAPH: dict[str, Callable[[str], Any]] = {"file_name": str, "version": int, "width": int, "height": int}
_OF_NODE: dict[str, Callable[[str], Any]] = {
    "label": unescape,
    **dict.fromkeys(("score", "x0", "y0", "x1", "y1"), float),
}
_OF_EDGE: dict[str, Callable[[str], Any]] = {
    "label": unescape,
    "rank": int,
    **dict.fromkeys(("score", "predicate_score"), float),
}


class Dot(GraphFormat):
    """One graph in the language of Graphviz. Reading it needs the package pydot."""

    ending = ".dot"

    def encode(self, graph: SceneGraph) -> bytes:
        """The graph as text in UTF-8."""
        flat = to_flat(graph)
        lines = ["digraph {"]
        lines += [f"  {key}={_quoted(value)};" for key, value in flat.graph.items()]
        lines += [f"  {_quoted(node)}{_listed(values)};" for node, values in flat.nodes(data=True)]
        edges = sorted(flat.edges(data=True), key=lambda edge: edge[2]["rank"])
        lines += [
            f"  {_quoted(subject)} -> {_quoted(target)}{_listed(values)};"
            for subject, target, values in edges
        ]
        return "\n".join([*lines, "}\n"]).encode()

    def decode(self, content: bytes, source: str) -> SceneGraph:
        """The graph, checked. Attributes of other programs are left out."""
        pydot = import_extra("pydot", "dot", "to read a file of Graphviz")
        with damage_named(source, "DOT"):
            # pydot prints what is wrong with a file.
            with redirect_stdout(StringIO()):
                found = pydot.graph_from_dot_data(content.decode("utf-8-sig"))
            if not found:
                raise ValueError("it is cut off, or its syntax is wrong")
            graphs = list(found)
        if len(graphs) != 1 or graphs[0].get_subgraph_list():
            raise ValueError(f"{source} has several graphs: write each to a file of its own, or use jsonl")
        with damage_named(source, "DOT"):
            flat = _flat(graphs[0])
        return from_networkx(flat, source)


def _flat(parsed: Any) -> networkx.MultiDiGraph:
    directed = parsed.get_type() == "digraph"
    flat = networkx.MultiDiGraph() if directed else networkx.MultiGraph()
    # Graphviz writes what it has laid out with the attributes of the graph as defaults.
    for attributes in (*(parsed.get_graph_defaults() or []), parsed.get_attributes()):
        flat.graph.update(_values(attributes, _OF_GRAPH))
    for node in parsed.get_node_list():
        if node.get_name() not in ("node", "edge", "graph"):  # these hold defaults
            flat.add_node(_unquoted(node.get_name()), **_values(node.get_attributes(), _OF_NODE))
    for edge in parsed.get_edge_list():
        ends = _unquoted(edge.get_source()), _unquoted(edge.get_destination())
        flat.add_edge(*ends, **_values(edge.get_attributes(), _OF_EDGE))
    return flat


def _values(attributes: Mapping[str, Any], types: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    texts = {_unquoted(name): _unquoted(str(value)) for name, value in attributes.items()}
    return {name: types[name](text) for name, text in texts.items() if name in types}


def _listed(values: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in values.items() if key not in ("name", "predicate")}
    # Graphviz decodes entities of HTML in a label.
    shown["label"] = shown["label"].replace("&", "&amp;")
    return f" [{', '.join(f'{key}={_quoted(value)}' for key, value in shown.items())}]"


def _quoted(value: Any) -> str:
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _unquoted(text: str) -> str:
    if not (len(text) >= 2 and text[0] == text[-1] == '"'):
        return text
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], text[1:-1])
