"""What GraphML and GEXF have in common: XML that networkx reads, but not as people mean it.

networkx takes the id of an edge as its key, so that two edges of a pair with one id become one. It does not
apply declared defaults, and reads no graph whose edges say themselves that they are directed.
"""

import math
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from .format import check_node_ids

if TYPE_CHECKING:
    import networkx


def parsed(content: bytes, root_name: str, namespace: str) -> Element:
    """The root of a file. Where it has no namespace, names without one get this one.

    Args:
        content: content of the file.
        root_name: name of the root of such files.
        namespace: the namespace.

    Raises:
        xml.etree.ElementTree.ParseError: the content is no XML.
    """
    root = ElementTree.fromstring(content)
    if root.tag == root_name:
        for element in root.iter():
            if not element.tag.startswith("{"):
                element.tag = f"{{{namespace}}}{element.tag}"
    return root


def named(root: Element, name: str) -> Iterator[Element]:
    """The elements with a name, in the order of the file."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def prepare(graph: Element, source: str, of_graph: str, of_edge: str) -> None:
    """Checks a graph, and changes it so that networkx reads all its edges.

    Args:
        graph: the element of the graph.
        source: the file, for messages.
        of_graph: attribute of the graph that says whether edges are directed.
        of_edge: attribute of an edge that says it otherwise.

    Raises:
        ValueError: two nodes have the same id, or an edge is undirected.
    """
    check_node_ids((str(node.get("id")) for node in named(graph, "node")), source)
    for number, edge in enumerate(named(graph, "edge")):
        if edge.get(of_edge, graph.get(of_graph)) in ("undirected", "false", None):
            raise ValueError(
                f"{source}: edge {edge.get('source')!r} -> {edge.get('target')!r} is undirected, and a "
                "relationship has a subject and an object: make it directed"
            )
        edge.set("id", str(number))
    graph.set(of_graph, "directed")


def as_file(root: Element) -> BytesIO:
    """The XML as a file, for readers of networkx."""
    return BytesIO(ElementTree.tostring(root))


def complete(graph: "networkx.DiGraph") -> None:
    """Gives nodes and edges the defaults that the file declares, and leaves out scores that are NaN.

    Some programs, such as igraph, write NaN for a number that is missing.

    Args:
        graph: what networkx has read.
    """
    edges = (values for *_, values in graph.edges(data=True))
    for kind, records in (("node", (values for _, values in graph.nodes(data=True))), ("edge", edges)):
        defaults = graph.graph.pop(f"{kind}_default", {})
        for values in records:
            values.update({key: value for key, value in defaults.items() if key not in values})
            for key in ("score", "predicate_score"):
                if isinstance(values.get(key), float) and math.isnan(values[key]):
                    del values[key]
