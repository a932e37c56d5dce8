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

__all__ = [
    "COMPLETE_UP_TO",
    "FORMATS",
    "About",
    "SceneGraph",
    "build_scene_graph",
    "check_share",
    "checked_graph",
    "ground_truth_to_dict",
    "read_graphs",
    "scene_graph_to_dict",
    "top_relationships",
    "write_graphs",
]
