"""A scene graph as a node-link drawing: entities are nodes, predicates label the arrows between them."""

from collections.abc import Sequence
from html import escape

import numpy as np

from .graph import SceneGraph
from .labels import Edge, edge_text, edges_to_draw, entities_of, entity_colours, entity_names
from .layout import Array, arc, best_place, curve_candidates, keep_inside
from .svg import Svg, polyline, svg, text

_COLOUR = {None: "currentColor", True: "var(--good,#1a7f45)", False: "var(--bad,#c02626)"}
_LETTER, _LINE = 7.6, 20.0


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
        top_n: draw the first `top_n` relationships, repeated ones counted once.
        correct: a flag for every relationship of the graph; right ones are written green, wrong ones red.
        width, height: in pixels.

    Returns:
        An inline SVG.

    Raises:
        ValueError: `correct` has the wrong length.
    """
    edges = edges_to_draw(graph, top_n, correct)
    entities = entities_of(edges)
    if not edges:
        return svg(width, _LINE * 2, "empty scene graph", [text(width / 2, _LINE * 1.2, "no relationship")])
    names, colours = entity_names(graph, entities), entity_colours(entities)
    position = dict(zip(entities, _node_positions(entities, edges, width, height), strict=True))
    plates = {e: _plate(position[e], names[e]) for e in entities}
    body = _edge_markup(edges, position, plates, colours, width, height)
    for entity, (x0, y0, x1, y1) in plates.items():
        body.append(
            f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" rx="6" '
            f'fill="{colours[entity]}" stroke="#101418"/>'
            f'<text x="{(x0 + x1) / 2:.1f}" y="{(y0 + y1) / 2 + 4.5:.1f}" text-anchor="middle" '
            f'fill="#101418" font-weight="600">{escape(names[entity])}</text>'
        )
    return svg(width, height, "scene graph", body)


def _plate(centre: Array, name: str) -> Array:
    half = np.array([len(name) * _LETTER + 18, 26]) / 2
    return np.concatenate([centre - half, centre + half])


def _edge_markup(
    edges: Sequence[Edge],
    position: dict[int, Array],
    plates: dict[int, Array],
    colours: dict[int, str],
    width: float,
    height: float,
) -> list[str]:
    lines, labels = [], []
    taken = list(plates.values())
    pairs = dict.fromkeys((edge.subject, edge.object) for edge in edges)
    curves = {(s, o): arc(position[s], position[o], 0.1, 12, samples=65) for s, o in pairs}
    for (subject, object), curve in curves.items():
        x0, y0, x1, y1 = plates[object] + [-3, -3, 3, 3]
        inside = (curve[:, 0] > x0) & (curve[:, 0] < x1) & (curve[:, 1] > y0) & (curve[:, 1] < y1)
        # The arrow ends where it first meets the object's plate; a loop, which begins there, is drawn whole.
        end = len(curve) if subject == object or not inside.any() else max(int(inside.argmax()), 2)
        points = [(float(x), float(y)) for x, y in curve[:end]]
        lines.append(polyline(points, colours[subject], 2.5))
        lines.append(_arrow_head(curve[end - 2], curve[end - 1], colours[subject]))
    for edge in edges:
        content = edge_text(edge)
        places = curve_candidates(curves[edge.subject, edge.object], len(content) * 7.0, _LINE)
        place = best_place(keep_inside(places, width, height), taken)
        taken.append(place)
        middle = (float(place[0] + place[2]) / 2, float(place[3]) - 5.5)
        labels.append(text(*middle, content, style=f"fill:{_COLOUR[edge.correct]}"))
    return lines + labels


def _arrow_head(before: Array, tip: Array, colour: str) -> str:
    along = (tip - before) / max(float(np.hypot(*(tip - before))), 1e-6)
    side = np.array([-along[1], along[0]])
    corners = [tip + 3 * along, tip - 8 * along + 5 * side, tip - 8 * along - 5 * side]
    return '<polygon points="{}" fill="{}"/>'.format(" ".join(f"{x:.1f},{y:.1f}" for x, y in corners), colour)


def _node_positions(entities: Sequence[int], edges: Sequence[Edge], width: float, height: float) -> Array:
    """Positions whose distances follow the number of arrows between nodes (stress majorisation, SMACOF)."""
    count = len(entities)
    row = {entity: i for i, entity in enumerate(entities)}
    steps = np.full((count, count), np.inf)
    for edge in edges:
        steps[row[edge.subject], row[edge.object]] = steps[row[edge.object], row[edge.subject]] = 1
    np.fill_diagonal(steps, 0)
    for middle in range(count):
        steps = np.minimum(steps, steps[:, middle, None] + steps[None, middle, :])
    # Parts that no arrow joins are kept a little further apart than the widest part is wide.
    steps[np.isinf(steps)] = steps[np.isfinite(steps)].max() + 0.5
    weight = np.where(steps > 0, 1 / np.maximum(steps, 1) ** 2, 0)
    laplacian = np.diag(weight.sum(axis=1)) - weight
    inverse = np.linalg.pinv(laplacian)
    angle = 2 * np.pi * np.arange(count) / count
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * count / 3
    for _ in range(200):
        gap = np.linalg.norm(points[:, None] - points[None], axis=-1)
        pull = np.where(gap > 1e-9, weight * steps / np.maximum(gap, 1e-9), 0)
        points = np.asarray(inverse @ ((np.diag(pull.sum(axis=1)) - pull) @ points))
    low, high = points.min(axis=0), points.max(axis=0)
    share = np.where(high - low > 1e-6, (points - low) / np.maximum(high - low, 1e-6), 0.5)
    margin = np.array([70, 30])
    return np.asarray(margin + share * (np.array([width, height]) - 2 * margin))
