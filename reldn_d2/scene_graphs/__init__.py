"""Scene graphs as plain data, and the formats that they are written in and read from."""

from .checking import checked_graph
from .formats import FORMATS, About, read_graphs, write_graphs
from .graph import (
    COMPLETE_UP_TO,
    SceneGraph,
    build_scene_graph,
    check_share,
    ground_truth_to_dict,
    scene_graph_to_dict,
    top_relationships,
)
from .networkx_graph import from_networkx, to_networkx

__all__ = [
    "COMPLETE_UP_TO",
    "FORMATS",
    "About",
    "SceneGraph",
    "build_scene_graph",
    "check_share",
    "checked_graph",
    "from_networkx",
    "ground_truth_to_dict",
    "read_graphs",
    "scene_graph_to_dict",
    "to_networkx",
    "top_relationships",
    "write_graphs",
]
