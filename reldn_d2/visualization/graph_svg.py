"""A scene graph as a node-link drawing: entities are nodes, predicates label the arrows between them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil

import networkx as nx
import numpy as np

from reldn_d2.scene_graphs import SceneGraph
from reldn_d2.utils.plain_text import short

from .edges import draw_edges
from .labels import INK, Edge, edges_to_draw, entities_of, entity_looks, name_text, nothing, text_colour
from .layout import (
    Array,
    arrow_curves,
    head_corners,
    is_inside,
    part_outside,
    push_apart,
    spread_points,
)
from .panel import Panel
from .places import Places, meets
from .sheet import HEAD, Sheet
from .svg import Svg, note_svg

# Wanted distance between nodes in pixels. Vertical distances count double, because labels are wide.
_NODE_DISTANCE, _VERTICAL = 120, 2
# How an arrow may bend, the best first, to go around nodes that lie on its way.
_BENDS = (0.1, -0.1, 0.22, -0.22, 0.36, -0.36, 0.5, -0.5)
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
    score_threshold: float = 0.0,
    entity_threshold: float = 0.0,
    scores: bool = True,
    beside: SceneGraph | None = None,
) -> Svg:
    """Draw the best relationships of a graph as nodes and arrows, in the colours of `draw_scene_graph`.

    Args:
        graph: the scene graph.
        top_n: draw the first `top_n` relationships; repeated ones count once.
        correct: a flag for every relationship of the graph; right ones are drawn green, wrong ones red.
        width, height: size in pixels; a list of triplets makes the drawing higher.
        score_threshold, entity_threshold, scores, beside: see `draw_scene_graph`.

    Returns:
        An inline SVG.

    Raises:
        ValueError: `correct` has the wrong length, a threshold is not in [0, 1], or there are 500 entities
            or more to draw.

    Example:
        >>> from reldn_d2.visualization import build_scene_graph, scene_graph_svg
        >>> image = {"file_name": "kitchen.jpg", "width": 80, "height": 90}
        >>> boxes = [[0, 0, 50, 90], [40, 30, 50, 40]]
        >>> graph = build_scene_graph(image, ["person", "cup"], boxes, [(0, 1, "holds")])
        >>> drawing = scene_graph_svg(graph, width=200, height=120)
        >>> drawing.startswith("<svg"), "scene graph: person holds cup" in drawing
        (True, True)
    """
    edges = edges_to_draw(
        graph, top_n, correct, score_threshold=score_threshold, entity_threshold=entity_threshold
    )
    if not edges:
        return note_svg(width, "empty scene graph", nothing("relationship", score_threshold))
    entities = entities_of(edges)
    if len(entities) >= _TOO_MANY:
        raise ValueError(f"{len(entities)} entities are too many for one drawing; lower top_n ({top_n})")
    looks = entity_looks(graph, beside)
    names = {
        entity: name_text(looks.names[entity], graph["entities"][entity]["score"] if scores else None)
        for entity in entities
    }
    texts = [*names.values(), *(edge.predicate for edge in edges)]
    sheet = Sheet(width, height, 680 / max(width, height), texts)
    half_sizes = np.array([sheet.label_size(names[entity]) for entity in entities]) / 2
    # Many nodes get a higher drawing: at most a third of it are plates.
    height = max(height, ceil(3 * float(4 * half_sizes.prod(axis=1).sum()) / width))
    sheet.resize(width, height)
    centres = _node_positions(entities, edges, half_sizes, np.array([width, height]))
    boxes = np.concatenate([centres - half_sizes, centres + half_sizes], axis=1)
    plates = dict(zip(entities, push_apart(boxes, width, height, 6), strict=True))
    ways = {edge.pair: _curve(edge, plates, np.array([width, height]), HEAD * sheet.unit) for edge in edges}
    curves = {pair: curve for pair, curve in ways.items() if curve is not None}
    heads = [head_corners(curve, HEAD * sheet.unit) for curve in curves.values()]
    dots = np.array([np.concatenate([x.min(axis=0), x.max(axis=0)]) for x in heads]).reshape(-1, 4)
    nodes, none = np.array(list(plates.values())), np.zeros((0, 4))
    places = Places(width, height, none, dots, nodes, curves, sheet.unit)
    panel = Panel()
    draw_edges(sheet, places, edges, looks, panel, scores=scores)
    for entity, plate in plates.items():
        colour = looks.colours[entity]
        sheet.label(plate, names[entity], colour, text_colour(colour), INK)
    panel.draw(sheet)
    return sheet.svg(
        "scene graph: "
        + ", ".join(f"{looks.names[e.subject]} {short(e.predicate)} {looks.names[e.object]}" for e in edges)
    )


def _curve(edge: Edge, plates: Mapping[int, Array], size: Array, head: float) -> Array | None:
    """The arrow (n, 2) between two nodes, which goes around the others; None: it can't.

    Args:
        edge: a relationship of the pair.
        plates: boxes (4,) of the nodes, by id.
        size: (2,) width and height of the picture, in which the arrow stays.
        head: length of its head.
    """
    others = np.array([plate for entity, plate in plates.items() if entity not in edge.pair]).reshape(-1, 4)
    mine = np.array([plates[entity] for entity in edge.pair])
    start, end = (mine[:, :2] + mine[:, 2:]) / 2
    # Half the width of the arrow's head.
    room = np.array([-4, -4, 4, 4])
    for curve in arrow_curves(start, end, _BENDS, 8, samples=65):
        if edge.subject != edge.object:
            curve = part_outside(curve[::-1], plates[edge.subject])[::-1]
        curve = part_outside(curve, plates[edge.object] + room)
        hidden = meets(head_corners(curve, head), mine).any()
        if is_inside(curve, size, head, 2) and not hidden and not meets(curve, others + room).any():
            return curve
    return None


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
