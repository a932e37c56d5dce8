"""cytoscape: one graph for Cytoscape and Cytoscape.js, as `networkx_graph.to_flat` describes it."""

import json
from typing import TYPE_CHECKING, Any

from reldn_d2.utils.extras import damage_named
from reldn_d2.utils.json_files import parse_json

from ..graph import SceneGraph
from ..networkx_graph import from_networkx, to_flat
from .format import GraphFormat, check_node_ids

if TYPE_CHECKING:
    import networkx


class Cytoscape(GraphFormat):
    """One graph as Cytoscape JSON."""

    ending = ".cyjs"

    def encode(self, graph: SceneGraph) -> bytes:
        """The graph as JSON."""
        import networkx

        flat = to_flat(graph, any_text=True)
        data = networkx.cytoscape_data(flat)
        # networkx writes a list of pairs, which Cytoscape does not read, and another name for an empty one.
        data["data"] = dict(flat.graph)
        for node in data["elements"]["nodes"]:
            node["data"]["name"] = flat.nodes[node["data"]["value"]]["name"]
        for edge in data["elements"]["edges"]:
            edge["data"]["id"] = f"e{edge['data']['key']}"
        return (json.dumps(data, indent=1) + "\n").encode()

    def decode(self, content: bytes, source: str) -> SceneGraph:
        """The graph, checked. Data of other programs are left out."""
        data = parse_json(content, source, unique_keys=True)
        if isinstance(data, list):
            raise ValueError(
                f"{source} is a list of elements, which has no place for the image: write an object with "
                'this list as "elements", and file_name, width and height of the image as "data"'
            )
        with damage_named(source, "Cytoscape JSON"):
            nodes, edges = _elements(data["elements"])
            ids = [str(node["data"]["id"]) for node in nodes]
            found = _graph(data.get("data", {}), nodes, edges)
        check_node_ids(ids, source)
        return from_networkx(found, source)


def _elements(elements: Any) -> tuple[list[Any], list[Any]]:
    """Nodes and edges, which Cytoscape.js may have in one list."""
    if isinstance(elements, dict):
        return elements["nodes"], elements.get("edges", [])
    edges = [element for element in elements if "source" in element["data"]]
    return [element for element in elements if "source" not in element["data"]], edges


def _graph(image: Any, nodes: list[Any], edges: list[Any]) -> "networkx.MultiDiGraph":
    """The graph. networkx itself reads no file of Cytoscape, which numbers the nodes anew."""
    import networkx

    found = networkx.MultiDiGraph()
    found.graph.update(image)
    for node in nodes:
        found.add_node(str(node["data"]["id"]))
        found.nodes[str(node["data"]["id"])].update(node["data"])
    for edge in edges:
        ends = str(edge["data"]["source"]), str(edge["data"]["target"])
        key = found.add_edge(*ends)
        found.edges[*ends, key].update(edge["data"])
    return found
