"""graphml: one graph for Cytoscape, Gephi, yEd, igraph and others, see `networkx_graph.to_flat`."""

from io import BytesIO

import networkx
from networkx.readwrite.graphml import GraphMLReader

from ..graph import SceneGraph
from ..networkx_graph import from_networkx, to_flat
from .format import GraphFormat, check_node_ids, damage_named, xml_node_ids


class GraphMl(GraphFormat):
    """One graph as GraphML."""

    ending = ".graphml"

    def encode(self, graph: SceneGraph) -> bytes:
        """The graph as XML."""
        file = BytesIO()
        # `write_graphml` chooses another writer, with other bytes, where lxml is installed.
        networkx.write_graphml_xml(to_flat(graph), file)
        return file.getvalue()

    def decode(self, content: bytes, source: str) -> SceneGraph:
        """The graph, checked. Data of other programs are left out."""
        with damage_named(source, "GraphML"):
            found = list(GraphMLReader(force_multigraph=True)(path=BytesIO(content)))
            ids = xml_node_ids(content)
        if len(found) != 1:
            raise ValueError(
                f"{source} has {len(found)} graphs, and a file of this format has one: write each to a file "
                "of its own, or use jsonl"
            )
        check_node_ids(ids, source)
        return from_networkx(found[0], source)
