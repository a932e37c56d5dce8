"""gexf: one graph for Gephi, as `networkx_graph.to_flat` describes it.

GEXF has no attributes of the whole graph. Its name is a JSON object with the version and the image.
"""

import json
from io import BytesIO

import networkx
from networkx.readwrite.gexf import GEXFWriter

from reldn_d2.utils.json_files import parse_json

from ..graph import SceneGraph
from ..networkx_graph import from_networkx, to_flat
from .format import GraphFormat, check_node_ids, damage_named, xml_node_ids


class Gexf(GraphFormat):
    """One graph as GEXF 1.2."""

    ending = ".gexf"

    def encode(self, graph: SceneGraph) -> bytes:
        """The graph as XML."""
        flat = to_flat(graph)
        flat.graph["name"] = json.dumps(flat.graph)
        writer = GEXFWriter(flat)
        # The same graph gives the same bytes on every day.
        del writer.xml.find("meta").attrib["lastmodifieddate"]
        file = BytesIO()
        writer.write(file)
        return file.getvalue()

    def decode(self, content: bytes, source: str) -> SceneGraph:
        """The graph, checked. Data of other programs are left out."""
        with damage_named(source, "GEXF"):
            found = networkx.read_gexf(BytesIO(content))
            ids = xml_node_ids(content)
        check_node_ids(ids, source)
        name = found.graph.get("name", "")
        if not name.startswith("{"):
            raise ValueError(
                f"{source}: the name of the graph is {name[:80]!r}, and it must be a JSON object with "
                "file_name, width and height of the image, which some programs leave out: add it, or read "
                "the file with networkx, and give from_networkx the graph with these attributes"
            )
        found.graph.update(parse_json(name.encode(), f"{source}: the name of the graph"))
        return from_networkx(found, source)
