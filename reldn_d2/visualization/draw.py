"""Draws scene graphs on their images."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.path import Path

from reldn_d2.scene_graphs import SceneGraph
from reldn_d2.utils.plain_text import short

from .images import Image, check_image
from .labels import Edge, edge_text, edges_to_draw, entities_of, entity_colours, entity_names
from .layout import Array, arc, best_place, corner_candidates, curve_candidates, keep_inside, spread_points
from .sheet import INK, Sheet

_FILL = {None: (0.06, 0.08, 0.1, 0.88), True: (0.05, 0.45, 0.2, 0.94), False: (0.7, 0.12, 0.12, 0.94)}


def upscale_small(image: Image, min_side: int) -> Image:
    """The image, enlarged if its longer side is shorter than `min_side` pixels."""
    height, width = image.shape[:2]
    scale = min_side / max(height, width)
    if scale <= 1:
        return image
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def draw_scene_graph(
    image: Image,
    graph: SceneGraph,
    *,
    top_n: int = 10,
    correct: Sequence[bool] | None = None,
    also: Sequence[int] = (),
    min_side: int = 800,
    text_scale: float = 1.0,
) -> Image:
    """Draw the best relationships of a graph: boxes, and an arrow from each subject to its object.

    Entities without a drawn relationship are left out, except those in `also`. Several predicates of a pair
    share one arrow.

    Args:
        image: (H, W, 3) uint8 RGB, the graph's image in any size.
        graph: scene graph, with boxes in pixels of `graph["image"]`.
        top_n: draw the first `top_n` relationships; repeated ones count once.
        correct: a flag for every relationship of the graph; right ones are drawn green, wrong ones red.
        also: ids of entities that are drawn even without a relationship.
        min_side: length in pixels to which the longer side of a smaller image is enlarged, so that the text
            is legible.
        text_scale: factor of the text size, above 1 for a picture that will be shown small.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, or `correct` has the wrong length.

    Example:
        A grey photo, drawn at twice its size:

        >>> import numpy as np
        >>> from reldn_d2.visualization import build_scene_graph, draw_scene_graph
        >>> photo = np.full((90, 80, 3), 128, dtype=np.uint8)
        >>> image = {"file_name": "kitchen.jpg", "width": 80, "height": 90}
        >>> boxes = [[0, 0, 50, 90], [40, 30, 50, 40]]
        >>> graph = build_scene_graph(image, ["person", "cup"], boxes, [(0, 1, "holds")])
        >>> drawing = draw_scene_graph(photo, graph, min_side=180)
        >>> drawing.shape, bool((drawing != 128).any())
        ((180, 160, 3), True)
    """
    check_image(image)
    edges = edges_to_draw(graph, top_n, correct)
    entities = sorted({*entities_of(edges), *also})
    image = upscale_small(image, min_side)
    if not entities:
        return image.copy()
    height, width = image.shape[:2]
    sheet = Sheet(width, height, text_scale)
    scale = np.array([width / graph["image"]["width"], height / graph["image"]["height"]] * 2)
    boxes = np.array([graph["entities"][entity]["box"] for entity in entities], dtype=np.float64) * scale
    boxes = np.clip(boxes, 0, np.array([width, height] * 2))
    colours = entity_colours(entities)
    anchors = dict(zip(entities, _anchors(boxes, sheet.unit), strict=True))
    names = entity_names(graph, entities)
    taken = _draw_entities(sheet, dict(zip(entities, boxes, strict=True)), names, colours, anchors)
    curves = {
        (e.subject, e.object): arc(anchors[e.subject], anchors[e.object], 0.12, 8 * sheet.unit) for e in edges
    }
    draw_edges(sheet, edges, curves, colours, taken)
    return sheet.over(image)


def side_by_side(images: Sequence[Image], titles: Sequence[str]) -> Image:
    """Put pictures in a row, scaled to the height of the highest, each under its title.

    Args:
        images: (H, W, 3) uint8 RGB arrays.
        titles: one title for each image.

    Returns:
        (height + title bar, sum of the widths + gaps, 3) uint8 RGB, on white.

    Raises:
        ValueError: there is no image, or there are more or fewer titles than images.
    """
    if not images or len(images) != len(titles):
        raise ValueError(f"{len(images)} images and {len(titles)} titles; give one title for each image")
    height = max(image.shape[0] for image in images)
    gap, bar = height // 48, height // 14
    resized = []
    for image in images:
        size = (max(round(image.shape[1] * height / image.shape[0]), 1), height)
        resized.append(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC))
    widths = [image.shape[1] for image in resized]
    canvas = np.full((height + bar, sum(widths) + gap * (len(images) - 1), 3), 255, dtype=np.uint8)
    sheet = Sheet(canvas.shape[1], canvas.shape[0])
    left = 0
    for picture, width, title in zip(resized, widths, titles, strict=True):
        canvas[bar:, left : left + width] = picture
        sheet.axes.text(
            left + width / 2, bar / 2, short(title), ha="center", va="center", size=0.5 * bar, color=INK,
            weight="bold", parse_math=False,
        )  # fmt: skip
        left += width + gap
    return sheet.over(canvas)


def _anchors(boxes: Array, unit: float) -> Array:
    """(n, 2) points where arrows meet the (n, 4) boxes: their centres, moved apart if they are close."""
    margin = np.minimum(14 * unit, (boxes[:, 2:] - boxes[:, :2]) / 2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return spread_points(centres, boxes[:, :2] + margin, boxes[:, 2:] - margin, 130 * unit)


def _draw_entities(
    sheet: Sheet,
    boxes: dict[int, Array],
    names: dict[int, str],
    colours: dict[int, str],
    anchors: dict[int, Array],
) -> list[Array]:
    """Draw boxes and class labels, and return the places that are now taken, as boxes (4,)."""
    unit = sheet.unit
    radius = 6 * unit
    taken = [np.concatenate([anchor - radius, anchor + radius]) for anchor in anchors.values()]
    for entity, box in boxes.items():
        x0, y0, x1, y1 = box
        outline = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colours[entity], lw=3 * unit)
        sheet.add(outline, halo=1.5)
        dot = Circle(tuple(anchors[entity]), radius, fc=colours[entity], ec=INK, lw=1.5 * unit)
        sheet.add(dot, order=4)
        size = sheet.label_size(names[entity])
        places = keep_inside(corner_candidates(box, *size), sheet.width, sheet.height)
        place = best_place(places, taken)
        taken.append(place)
        sheet.label(place, names[entity], colours[entity], INK, INK)
    return taken


def draw_edges(
    sheet: Sheet,
    edges: Sequence[Edge],
    curves: Mapping[tuple[int, int], Array],
    colours: Mapping[int, str],
    taken: Sequence[Array],
) -> None:
    """Draw one arrow for each pair and a label for each predicate.

    Args:
        sheet: the sheet to draw on.
        edges: relationships to draw.
        curves: (subject, object) -> (n, 2) points of the arrow, from the subject to the object.
        colours: colour of each entity; an arrow has the colour of its subject.
        taken: boxes (4,) XYXY that labels should not cover.
    """
    unit = sheet.unit
    for (subject, _), curve in curves.items():
        arrow = FancyArrowPatch(
            path=Path(curve), arrowstyle="-|>", mutation_scale=22 * unit, fc=colours[subject],
            ec=colours[subject], lw=3 * unit, joinstyle="miter",
        )  # fmt: skip
        sheet.add(arrow, halo=1.5, order=3)
    taken = list(taken)
    half_width = 4 * unit
    lines = {
        pair: np.concatenate([curve - half_width, curve + half_width], axis=1)
        for pair, curve in curves.items()
    }
    for edge in edges:
        text, pair = edge_text(edge), (edge.subject, edge.object)
        places = curve_candidates(curves[pair], *sheet.label_size(text))
        # A label on another arrow could be taken for that arrow's.
        others = [box for other, boxes in lines.items() if other != pair for box in boxes]
        place = best_place(keep_inside(places, sheet.width, sheet.height), [*taken, *others])
        taken.append(place)
        sheet.label(place, text, _FILL[edge.correct], "white", colours[edge.subject])
