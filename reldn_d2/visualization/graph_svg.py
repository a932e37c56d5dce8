"""A scene graph as a node-link drawing: entities are nodes, predicates label the arrows between them."""

from collections.abc import Sequence
from itertools import pairwise

import networkx as nx
import numpy as np

from reldn_d2.scene_graphs import SceneGraph
from reldn_d2.utils.plain_text import short

from .draw import draw_edges
from .labels import Edge, edges_to_draw, entities_of, entity_colours, entity_names
from .layout import Array, arc, part_outside, spread_points
from .sheet import INK, Sheet
from .svg import Svg, note_svg

# Wanted distance between nodes in pixels. Vertical distances count double, because labels are wide.
_NODE_DISTANCE, _VERTICAL = 120, 2
# Pixels between a node's middle and the upper edge, with room for an arrow from the node to itself.
_TOP = 44
# With this number of nodes or more, networkx needs SciPy, and the drawing would be illegible.
_TOO_MANY = 500


def scene_graph_svg(
    graph: SceneGraph,
    *,
    top_n: int = 10,
    correct: Sequence[bool] | None = None,
    width: int = 520,
    height: int = 380,
) -> Svg:
    """Draw the best relationships of a graph as nodes and arrows, in the colours of `draw_scene_graph`.

    Args:
        graph: the scene graph.
        top_n: draw the first `top_n` relationships; repeated ones count once.
        correct: a flag for every relationship of the graph; right ones are drawn green, wrong ones red.
        width, height: size in pixels.

    Returns:
        An inline SVG.

    Raises:
        ValueError: `correct` has the wrong length, or there are 500 entities or more to draw.

    Example:
        >>> from reldn_d2.visualization import build_scene_graph, scene_graph_svg
        >>> image = {"file_name": "kitchen.jpg", "width": 80, "height": 90}
        >>> boxes = [[0, 0, 50, 90], [40, 30, 50, 40]]
        >>> graph = build_scene_graph(image, ["person", "cup"], boxes, [(0, 1, "holds")])
        >>> drawing = scene_graph_svg(graph, width=200, height=120)
        >>> drawing.startswith("<svg"), "scene graph: person holds cup" in drawing
        (True, True)
    """
    edges = edges_to_draw(graph, top_n, correct)
    if not edges:
        return note_svg(width, "empty scene graph", "no relationship")
    entities = entities_of(edges)
    if len(entities) >= _TOO_MANY:
        raise ValueError(f"{len(entities)} entities are too many for one drawing; lower top_n ({top_n})")
    names, colours = entity_names(graph, entities), entity_colours(entities)
    sheet = Sheet(width, height, text_scale=680 / max(width, height))
    half_sizes = np.array([sheet.label_size(names[entity]) for entity in entities]) / 2
    centres = _node_positions(entities, edges, half_sizes, np.array([width, height]))
    position = dict(zip(entities, centres, strict=True))
    plates = dict(
        zip(entities, np.concatenate([centres - half_sizes, centres + half_sizes], axis=1), strict=True)
    )
    for entity, plate in plates.items():
        sheet.label(plate, names[entity], colours[entity], INK, INK)
    curves = {}
    for edge in edges:
        curve = arc(position[edge.subject], position[edge.object], 0.1, 8, samples=65)
        curves[edge.subject, edge.object] = part_outside(curve, plates[edge.object])
    draw_edges(sheet, edges, curves, colours, list(plates.values()))
    return sheet.svg(
        "scene graph: "
        + ", ".join(f"{names[e.subject]} {short(e.predicate)} {names[e.object]}" for e in edges)
    )


def _node_positions(entities: Sequence[int], edges: Sequence[Edge], half_sizes: Array, size: Array) -> Array:
    """Positions that bring related entities together, fill the picture and keep nodes apart.

    Args:
        entities: n ids.
        edges: relationships between them.
        half_sizes: (n, 2) half width and half height of each node, pixels.
        size: (2,) width and height of the picture, pixels.

    Returns:
        (n, 2) centres of the nodes.
    """
    network = nx.Graph()
    network.add_nodes_from(entities)
    network.add_edges_from((edge.subject, edge.object) for edge in edges)
    # Springs between parts that no arrow joins. Without them, these parts drift far apart.
    parts = [min(part) for part in nx.connected_components(network)]
    network.add_edges_from(pairwise(parts), weight=0.5)
    # The result depends only on the start. With a seed, networkx does not use NumPy's global generator.
    start = nx.circular_layout(network)
    found = nx.spring_layout(network, pos=start, iterations=200, threshold=1e-6, seed=0)
    points = np.array([found[entity] for entity in entities], dtype=np.float64)
    low = half_sizes + 4
    high = np.maximum(size - low, low)
    low[:, 1] = np.minimum(np.maximum(low[:, 1], _TOP), high[:, 1])
    extent = points.max(axis=0) - points.min(axis=0)
    share = np.where(extent > 1e-6, (points - points.min(axis=0)) / np.maximum(extent, 1e-6), 0.5)
    stretch = np.array([1, _VERTICAL])
    points = low + share * (high - low)
    points = spread_points(points * stretch, low * stretch, high * stretch, _NODE_DISTANCE)
    return np.asarray(points / stretch)
