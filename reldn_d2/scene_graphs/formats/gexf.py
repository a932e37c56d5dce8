"""gexf: one graph for Gephi, as `networkx_graph.to_flat` describes it.

GEXF has no attributes of the whole graph. Its name is a JSON object with the version and the image.
"""

import json
from io import BytesIO

from reldn_d2.utils.extras import damage_named
from reldn_d2.utils.json_files import parse_json

from ..graph import SceneGraph
from ..networkx_graph import from_networkx, to_flat
from .format import GraphFormat
from .xml_file import as_file, complete, named, parsed, prepare


class Gexf(GraphFormat):
    """One graph as GEXF 1.2."""

    ending = ".gexf"

    def encode(self, graph: SceneGraph) -> bytes:
        """The graph as XML."""
        from networkx.readwrite.gexf import GEXFWriter

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
        import networkx
        from networkx.readwrite.gexf import GEXFReader

        with damage_named(source, "GEXF"):
            root = parsed(content, "gexf", GEXFReader.versions["1.3"]["NS_GEXF"])
        for graph in named(root, "graph"):
            prepare(graph, source, "defaultedgetype", "type")
        for attribute in named(root, "attribute"):
            # networkx itself writes "long" for a column that begins with a whole number.
            if attribute.get("type") in ("integer", "long"):
                attribute.set("type", "double")
            # networkx would take these for the key of an edge, which a copied edge has, too.
            if attribute.get("title") in ("networkx_key", "key"):
                attribute.set("title", "other_key")
        with damage_named(source, "GEXF"):
            found = networkx.read_gexf(as_file(root))
        complete(found)
        name = found.graph.get("name", "")
        if not name.startswith("{"):
            raise ValueError(
                f"{source}: the name of the graph is {name[:80]!r}, and it must be a JSON object with "
                "file_name, width and height of the image, which some programs leave out: add it, or read "
                "the file with networkx, and give from_networkx the graph with these attributes"
            )
        found.graph.update(parse_json(name.encode(), f"{source}: the name of the graph"))
        return from_networkx(found, source)
