"""Drawings, graph exports and reports."""

from .curves import curves_svg, loss_curves, read_metrics
from .draw import draw_scene_graph, side_by_side
from .feature_maps import feature_map_overlay
from .graph import SceneGraph, ground_truth_to_dict, scene_graph_to_dict, top_relationships, write_scene_graph
from .graph_svg import scene_graph_svg
from .report import Report

__all__ = [
    "Report",
    "SceneGraph",
    "curves_svg",
    "draw_scene_graph",
    "feature_map_overlay",
    "ground_truth_to_dict",
    "loss_curves",
    "read_metrics",
    "scene_graph_svg",
    "scene_graph_to_dict",
    "side_by_side",
    "top_relationships",
    "write_scene_graph",
]
