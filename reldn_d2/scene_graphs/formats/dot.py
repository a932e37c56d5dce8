"""dot: one graph for Graphviz, as `networkx_graph.to_flat` describes it.

All values are quoted. The label of a node is its class, and that of an edge its predicate; there are no
"name" and "predicate", because pydot reads no node with a "name".
"""

import re
from collections.abc import Mapping
from contextlib import redirect_stdout
from html import unescape
from io import StringIO
from typing import TYPE_CHECKING, Any

from reldn_d2.utils.extras import damage_named, import_extra

from ..graph import SceneGraph
from ..networkx_graph import from_networkx, to_flat
from .format import GraphFormat

if TYPE_CHECKING:
    import networkx

# The parts of a quoted text: an escape, or what stands between two.
_PART = re.compile(r"\\.|[^\\]+|\\", re.DOTALL)
# An end of an edge with a port: the side of the node where the edge is drawn.
_WITH_PORT = re.compile(r'("(?:[^"\\]|\\.)*"|[^:"]*):.*', re.DOTALL)
_LINE_ENDS = (r"\n", r"\l", r"\r")
# What a label says of the object that it belongs to.
_OF_OBJECT = (r"\N", r"\G", r"\E", r"\T", r"\H", r"\L")
# The attributes that are read, and the types of their values.
_OF_GRAPH: dict[str, type] = {"file_name": str, "version": int, "width": int, "height": int}
_OF_NODE: dict[str, type] = {"label": str, **dict.fromkeys(("score", "x0", "y0", "x1", "y1"), float)}
_OF_EDGE: dict[str, type] = {
    **dict.fromkeys(("label", "dir"), str),
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
        if len(graphs) != 1:
            raise ValueError(
                f"{source} has {len(graphs)} graphs, and a file of this format has one: write each to a file "
                "of its own, or use jsonl"
            )
        return from_networkx(_flat(graphs[0], source), source)


def _flat(parsed: Any, source: str) -> "networkx.MultiDiGraph":
    import networkx

    if parsed.get_subgraph_list():
        raise ValueError(
            f"{source} has subgraphs, which are not read: write their nodes into the graph itself"
        )
    directed = parsed.get_type() == "digraph"
    flat = networkx.MultiDiGraph() if directed else networkx.MultiGraph()
    # Graphviz writes what it has laid out with the attributes of the graph as defaults.
    for attributes in (*(parsed.get_graph_defaults() or []), parsed.get_attributes()):
        flat.graph.update(_values(attributes, _OF_GRAPH, source))
    for node in parsed.get_node_list():
        name, attributes = node.get_name(), node.get_attributes()
        if name in ("node", "edge"):
            _check_defaults(name, attributes, source)
        elif name != "graph":
            place = f"{source}: node {_unquoted(name)!r}"
            _add_node(flat, _unquoted(name), _values(attributes, _OF_NODE, place), place)
    for edge in parsed.get_edge_list():
        ends = edge.get_source(), edge.get_destination()
        if not all(isinstance(end, str) for end in ends):
            raise ValueError(
                f"{source} has an edge to or from a group of nodes: write an edge for each of them"
            )
        subject, target = (_unquoted(_WITH_PORT.sub(r"\1", end)) for end in ends)
        place = f"{source}: edge {subject!r} -> {target!r}"
        values = _values(edge.get_attributes(), _OF_EDGE, place)
        if values.pop("dir", "forward") != "forward":
            raise ValueError(
                f"{place} has a dir, which draws its arrow otherwise than from subject to object: write the "
                "edge from subject to object, one for each arrow, without dir"
            )
        _check_label(values, place)
        flat.add_edge(subject, target, **values)
    for name, values in flat.nodes(data=True):
        _check_label(values, f"{source}: node {name!r}")
    return flat


def _check_label(values: Mapping[str, Any], place: str) -> None:
    if "label" not in values:
        raise ValueError(
            f"{place} has no label: write the class of a node and the predicate of an edge there"
        )


def _check_defaults(kind: str, attributes: Mapping[str, Any], source: str) -> None:
    """Refuses what `node [...]` and `edge [...]` say about all that follow."""
    # A layout has the label "\N" there.
    known = _OF_NODE if kind == "node" else _OF_EDGE
    given = [
        _unquoted(key)
        for key, value in attributes.items()
        if _unquoted(key) in known and value not in (r'"\N"', '""')
    ]
    if given:
        raise ValueError(
            f"{source} gives {', '.join(given)} to several at once with {kind} [...], which is not read: "
            f"write it to each {kind}"
        )


def _add_node(flat: "networkx.MultiDiGraph", name: str, values: Mapping[str, Any], place: str) -> None:
    """Adds what a statement says about a node. Several statements may say different things."""
    known = flat.nodes[name] if name in flat else {}
    for key, value in values.items():
        if key in known and known[key] != value:
            raise ValueError(
                f"{place} has the {key} {known[key]!r} and {value!r}: remove one, or give one of two nodes "
                "another name"
            )
    flat.add_node(name, **values)


def _values(attributes: Mapping[str, Any], types: Mapping[str, type], place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in attributes.items():
        name, text = _unquoted(key), str(value)
        if name in types:
            if text.startswith("<"):
                raise ValueError(f"{place} has HTML as {name}, which is not read: write a text in quotes")
            if name == "label":
                found[name] = _label(text, place)
                continue
            try:
                found[name] = types[name](_unquoted(text))
            except (ValueError, OverflowError) as error:
                raise ValueError(f"{place} has the {name} {text[:80]}: write a number") from error
    return found


def _listed(values: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in values.items() if key not in ("name", "predicate")}
    # Graphviz decodes entities of HTML in a label.
    shown["label"] = shown["label"].replace("&", "&amp;")
    return f" [{', '.join(f'{key}={_quoted(value)}' for key, value in shown.items())}]"


def _quoted(value: Any) -> str:
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _unquoted(text: str) -> str:
    return "".join("\n" if part == r"\n" else part[-1] if part[0] == "\\" else part for part in _parts(text))


def _label(text: str, place: str) -> str:
    """A label, in which lines end in an escape, and Graphviz decodes entities of HTML.

    Raises:
        ValueError: it holds an escape that stands for the name of its object.
    """
    parts = _parts(text)
    # The last line may have an end, too; we write none but "\n".
    if parts and parts[-1] in (r"\l", r"\r"):
        parts.pop()
    named = [part for part in parts if part in _OF_OBJECT]
    if named:
        raise ValueError(
            f"{place} has the label {text[:80]} with {named[0]}, which is not read: write a name"
        )
    lines = ("\n" if part in _LINE_ENDS else part[-1] if part[0] == "\\" else part for part in parts)
    return unescape("".join(lines))


def _parts(text: str) -> list[str]:
    quoted = len(text) >= 2 and text[0] == text[-1] == '"'
    return _PART.findall(text[1:-1]) if quoted else list(text)
