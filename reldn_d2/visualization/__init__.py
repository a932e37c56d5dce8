"""Drawings, plots and reports."""

from reldn_d2.scene_graphs import (
    SceneGraph,
    build_scene_graph,
    check_share,
    ground_truth_to_dict,
    scene_graph_to_dict,
    top_relationships,
)

from .draw import draw_scene_graph, side_by_side
from .feature_maps import feature_map_colours, feature_map_overlay
from .graph_svg import scene_graph_svg
from .images import write_png
from .plots import bars_svg, curves_svg, loss_curves, read_metrics
from .report import Report, prediction_html

__all__ = [
    "Report",
    "SceneGraph",
    "bars_svg",
    "build_scene_graph",
    "check_share",
    "curves_svg",
    "draw_scene_graph",
    "feature_map_colours",
    "feature_map_overlay",
    "ground_truth_to_dict",
    "loss_curves",
    "prediction_html",
    "read_metrics",
    "scene_graph_svg",
    "scene_graph_to_dict",
    "side_by_side",
    "top_relationships",
    "write_png",
]
