"""Draws scene graphs on their images."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from reldn_d2.scene_graphs import SceneGraph
from reldn_d2.utils.plain_text import short

from .edges import draw_edges, label_or_list
from .images import Image, check_image
from .labels import (
    INK,
    Edge,
    Entities,
    Looks,
    edges_to_draw,
    entities_above,
    entities_of,
    entity_looks,
    name_text,
    nothing,
    text_colour,
)
from .layout import (
    Array,
    apartness,
    arrow_curves,
    corner_candidates,
    head_corners,
    is_inside,
    spread_points,
)
from .panel import Panel, Style
from .places import Place, Places
from .sheet import HEAD, Sheet

#: Lowest score of an entity that is drawn without a relationship. Detectors find many with lower scores.
LOWEST_ALONE = 0.1
# Radius of the dot where arrows meet a box, in units.
_DOT = 6
# How an arrow may bend, the best first; and flatter, if none of these keeps it inside the photo.
_BENDS, _FLATTER = (0.12, -0.12, 0.25, -0.25), (0.06, -0.06, 0.03, -0.03, 0.0)
# Distance of arrows to the border of the photo, so that their heads and dots lie inside it, in units.
_BORDER = 10
# Arrows that are this far apart, in units, need not be farther.
_APART = 30


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
    score_threshold: float = 0.0,
    entity_threshold: float = 0.0,
    entities: Entities = "related",
    scores: bool = True,
    beside: SceneGraph | None = None,
) -> Image:
    """Draw the best relationships of a graph: boxes, and an arrow from each subject to its object.

    Several predicates of a pair share one arrow. Labels lie neither on each other nor on arrows, and cover
    at most 15 % of the box of any drawn entity. Names and triplets that find no such place are listed below
    the image, and have a number in it if there is room. Without any relationship to draw, entities are
    drawn, and a line below says so.

    Names and colours depend on the whole graph: an entity looks the same whatever else is drawn.

    Args:
        image: (H, W, 3) uint8 RGB, the graph's image in any size.
        graph: scene graph, with boxes in pixels of `graph["image"]`.
        top_n: draw the first `top_n` relationships; repeated ones count once.
        correct: a flag for every relationship of the graph; right ones are drawn green with a tick, wrong
            ones red with a cross.
        also: ids of entities that are drawn even without a relationship.
        min_side: length in pixels to which the longer side of a smaller image is enlarged, so that the text
            is legible.
        text_scale: factor of the text size, above 1 for a picture that will be shown small.
        score_threshold: lowest score of a relationship, in [0, 1]. What has no score, as in ground truth, is
            always drawn.
        entity_threshold: lowest score of an entity, in [0, 1]. Entities without a relationship also need
            `LOWEST_ALONE`, or `score_threshold` if that is lower.
        entities: "related" draws entities of drawn relationships, and all if there is no relationship to
            draw and `also` names none; "all" draws all.
        scores: write scores beside names and predicates.
        beside: ground truth that is shown beside this drawing: entities of the same class whose boxes
            overlap (IoU of 0.5 or more) take its names and colours, and others get different names.

    Returns:
        (H', W', 3) uint8 RGB. The image, enlarged by `min_side`, is at the top left. A list makes the
        picture higher, and wider if it is narrower than a line.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, `correct` has the wrong length, or a threshold is not
            in [0, 1].

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
    edges = edges_to_draw(
        graph, top_n, correct, score_threshold=score_threshold, entity_threshold=entity_threshold
    )
    shown = {*entities_of(edges), *also}
    lowest = max(entity_threshold, min(score_threshold, LOWEST_ALONE))
    if entities == "all" or not shown:
        shown |= set(entities_above(graph, lowest))
    panel = Panel()
    if not edges:
        panel.add(nothing("relationship", score_threshold))
    if not shown:
        panel.add(nothing("entity", lowest))
    image = upscale_small(image, min_side)
    looks = entity_looks(graph, beside)
    names = {
        entity: name_text(looks.names[entity], graph["entities"][entity]["score"] if scores else None)
        for entity in sorted(shown)
    }
    height, width = image.shape[:2]
    sheet = Sheet(width, height, text_scale, [*names.values(), *(edge.predicate for edge in edges)])
    _draw(sheet, _boxes(graph, names, width, height), names, edges, looks, panel, scores)
    panel.draw(sheet)
    canvas = image
    if sheet.height > height:
        canvas = np.full((sheet.height, sheet.width, 3), 255, dtype=np.uint8)
        canvas[:height, :width] = image
    return sheet.over(canvas)


def side_by_side(images: Sequence[Image], titles: Sequence[str]) -> Image:
    """Put pictures in a row, each under its title.

    Each keeps its size: a list makes one drawing of a photo larger than another, and its photo not smaller.
    Titles shrink to the width of the narrowest picture.

    Args:
        images: (H, W, 3) uint8 RGB arrays.
        titles: one title for each image.

    Returns:
        (largest height + title bar, sum of the widths + gaps, 3) uint8 RGB, on white.

    Raises:
        ValueError: there is no image, or there are more or fewer titles than images.
    """
    if not images or len(images) != len(titles):
        raise ValueError(f"{len(images)} images and {len(titles)} titles; give one title for each image")
    widths = [image.shape[1] for image in images]
    height, side = max(image.shape[0] for image in images), max(widths)
    gap, bar = side // 48, side // 14
    canvas = np.full((height + bar, sum(widths) + gap * (len(images) - 1), 3), 255, dtype=np.uint8)
    titles = [short(title) for title in titles]
    sheet = Sheet(canvas.shape[1], canvas.shape[0], texts=titles)
    room = min(width / max(sheet.text_width(x), 1) for width, x in zip(widths, titles, strict=True))
    sheet.font.set_size(max(min(0.5 * bar, 0.95 * room * sheet.font.get_size_in_points()), 1))
    left = 0
    for picture, width, title in zip(images, widths, titles, strict=True):
        canvas[bar : bar + len(picture), left : left + width] = picture
        sheet.text((left + width / 2, bar / 2), title, INK, align="center")
        left += width + gap
    return sheet.over(canvas)


def _boxes(graph: SceneGraph, shown: Iterable[int], width: int, height: int) -> dict[int, Array]:
    """Boxes (4,) of entities in pixels of the drawing, inside it."""
    size = np.array([width, height] * 2, dtype=np.float64)
    scale = size / np.array([graph["image"]["width"], graph["image"]["height"]] * 2)
    return {
        entity: np.clip(np.array(graph["entities"][entity]["box"], dtype=np.float64) * scale, 0, size)
        for entity in shown
    }


def _draw(
    sheet: Sheet,
    boxes: dict[int, Array],
    names: dict[int, str],
    edges: Sequence[Edge],
    looks: Looks,
    panel: Panel,
    scores: bool,
) -> None:
    """Draw entities and relationships.

    Args:
        sheet: the sheet to draw on.
        boxes: boxes (4,) of the drawn entities, by id.
        names: texts of their labels.
        edges: relationships to draw.
        looks: names and colours of all entities.
        panel: takes what finds no place.
        scores: write scores beside predicates.
    """
    unit = sheet.unit
    outlines = np.array(list(boxes.values())).reshape(-1, 4)
    anchors = dict(zip(boxes, _anchors(outlines, sheet.width, sheet.height, unit), strict=True))
    curves = _curves(anchors, edges, np.array([sheet.width, sheet.height]), unit)
    ends = entities_of(edges)
    dots = [np.concatenate([anchors[x] - _DOT * unit, anchors[x] + _DOT * unit]) for x in ends]
    heads = [head_corners(curve, HEAD * unit) for curve in curves.values()]
    dots += [np.concatenate([x.min(axis=0) - 2 * unit, x.max(axis=0) + 2 * unit]) for x in heads]
    none = np.zeros((0, 4))
    places = Places(sheet.width, sheet.height, outlines, np.array(dots).reshape(-1, 4), none, curves, unit)
    for entity, box in boxes.items():
        sheet.outline(box, looks.colours[entity])
    for entity in ends:
        sheet.dot(anchors[entity], _DOT * unit, looks.colours[entity])
    # Small boxes first: they have the fewest places.
    for entity in sorted(boxes, key=lambda entity: float((boxes[entity][2:] - boxes[entity][:2]).prod())):
        box, colour, text = boxes[entity], looks.colours[entity], names[entity]
        style = Style(colour, text_colour(colour), INK)

        def place_of(text: str, box: Array = box) -> Place | None:
            return places.of_box(box, corner_candidates(box, *sheet.label_size(text)))

        label_or_list(sheet, panel, place_of, text, text, style, colour)
    draw_edges(sheet, places, edges, looks, panel, scores=scores)


def _anchors(boxes: Array, width: int, height: int, unit: float) -> Array:
    """(n, 2) points where arrows meet the (n, 4) boxes: their centres, moved apart if they are close.

    Points of small boxes at the border of the picture are moved from it, so that their dots are whole.
    """
    margin = np.minimum(14 * unit, (boxes[:, 2:] - boxes[:, :2]) / 2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    points = spread_points(centres, boxes[:, :2] + margin, boxes[:, 2:] - margin, 130 * unit)
    size = np.array([width, height])
    border = np.minimum(_BORDER * unit, size / 2)
    return np.clip(points, border, size - border)


def _curves(
    anchors: dict[int, Array], edges: Sequence[Edge], size: Array, unit: float
) -> dict[tuple[int, int], Array]:
    """The arrow (97, 2) of each pair: inside the photo, and bent so that it lies on no earlier one.

    Args:
        anchors: points (2,) where arrows meet the entities, by id.
        edges: relationships, the most important first.
        size: (2,) width and height of the photo.
        unit: unit of length, in pixels.
    """
    curves: dict[tuple[int, int], Array] = {}
    for subject, object_ in dict.fromkeys(edge.pair for edge in edges):
        ends = anchors[subject], anchors[object_]
        inside: list[Array] = []
        for bends in (_BENDS, _FLATTER):
            tried = arrow_curves(*ends, bends, 8 * unit, samples=97, least=HEAD * unit)
            inside = inside or [x for x in tried if is_inside(x, size, HEAD * unit, 4 * unit)]
        # A photo that is narrower than a loop has none inside.
        border = np.minimum(_BORDER * unit, size / 2)
        inside = inside or [np.clip(tried[-1], border, size - border)]
        others = list(curves.values())
        curves[subject, object_] = max(inside, key=lambda x: apartness(x, others, _APART * unit))
    return curves
