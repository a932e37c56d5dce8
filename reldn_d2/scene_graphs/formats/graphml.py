"""graphml: one graph for Cytoscape, Gephi, yEd, igraph and others, see `networkx_graph.to_flat`."""

from io import BytesIO
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from reldn_d2.utils.extras import damage_named

from ..graph import SceneGraph
from ..networkx_graph import from_networkx, to_flat
from .format import GraphFormat
from .xml_file import as_file, complete, named, parsed, prepare


class GraphMl(GraphFormat):
    """One graph as GraphML."""

    ending = ".graphml"

    def encode(self, graph: SceneGraph) -> bytes:
        """The graph as XML."""
        import networkx

        file = BytesIO()
        # `write_graphml` chooses another writer, with other bytes, where lxml is installed.
        networkx.write_graphml_xml(to_flat(graph), file)
        return file.getvalue()

    def decode(self, content: bytes, source: str) -> SceneGraph:
        """The graph, checked. Data of other programs are left out."""
        from networkx.readwrite.graphml import GraphMLReader

        with damage_named(source, "GraphML"):
            root = parsed(content, "graphml", GraphMLReader.NS_GRAPHML)
        namespace = f"{{{GraphMLReader.NS_GRAPHML}}}"
        graphs = root.findall(f"{namespace}graph")
        if len(graphs) != 1:
            raise ValueError(
                f"{source} has {len(graphs)} graphs, and a file of this format has one: write each to a file "
                "of its own, or use jsonl"
            )
        prepare(graphs[0], source, "edgedefault", "directed")
        _apply_defaults(root, namespace)
        with damage_named(source, "GraphML"):
            (found,) = GraphMLReader(force_multigraph=True)(path=as_file(root))
        complete(found)
        return from_networkx(found, source)


def _apply_defaults(root: Element, namespace: str) -> None:
    """Writes what keys declare for all into each graph, node and edge that does not say it."""
    for key in root.findall(f"{namespace}key"):
        default, identity = key.find(f"{namespace}default"), str(key.get("id"))
        if default is None:
            continue
        kinds = ("graph", "node", "edge") if key.get("for", "all") == "all" else (str(key.get("for")),)
        for element in [element for kind in kinds for element in named(root, kind)]:
            if all(data.get("key") != identity for data in element.findall(f"{namespace}data")):
                ElementTree.SubElement(element, f"{namespace}data", key=identity).text = default.text
        key.remove(default)
