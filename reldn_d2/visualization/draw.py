"""Scene graphs drawn on their images. Images are (H, W, 3) uint8 RGB arrays."""

from collections.abc import Sequence
from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.textpath import text_to_path

from .graph import SceneGraph
from .labels import Edge, edge_text, edges_to_draw, entities_of, entity_colours, entity_names
from .layout import Array, arc, best_place, corner_candidates, curve_candidates, keep_inside, spread_points

Image = npt.NDArray[np.uint8]

_INK = "#101418"
_FILL = {None: (0.06, 0.08, 0.1, 0.88), True: (0.05, 0.45, 0.2, 0.94), False: (0.7, 0.12, 0.12, 0.94)}


class _Overlay:
    """A transparent sheet over an image, in its pixels; sizes are in units that grow with the image."""

    def __init__(self, width: int, height: int, text_scale: float = 1.0) -> None:
        self.width, self.height = width, height
        self.unit = max(width, height) / 1000
        # At 72 dots an inch a typographic point is a pixel.
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        self.figure.patch.set_alpha(0)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)
        self.font = FontProperties(family="DejaVu Sans", weight="bold", size=19 * self.unit * text_scale)

    def add(self, patch: Patch, halo: float = 0.0, order: float = 2.0) -> None:
        """Add a shape, with a dark rim of `halo` units that separates it from any background."""
        if halo:
            width = patch.get_linewidth() + 2 * halo * self.unit
            patch.set_path_effects([withStroke(linewidth=width, foreground=_INK, alpha=0.55)])
        patch.set_zorder(order)
        self.axes.add_patch(patch)

    def label_size(self, text: str) -> tuple[float, float]:
        """Width and height of a label, with its margins."""
        size = self.font.get_size_in_points()
        width = text_to_path.get_text_width_height_descent(text, self.font, False)[0]
        return float(width) + 0.9 * size, 1.5 * size

    def label(self, box: Array, text: str, fill: object, colour: str, rim: str) -> None:
        """Write a text on a filled plate."""
        size = self.font.get_size_in_points()
        inset = self.unit
        x, y, width, height = box[0] + inset, box[1] + inset, box[2] - box[0], box[3] - box[1]
        style = f"round,pad=0,rounding_size={0.3 * size}"
        plate = FancyBboxPatch(
            (x, y), width - 2 * inset, height - 2 * inset, boxstyle=style, fc=fill, ec=rim, lw=1.4 * self.unit
        )
        self.add(plate, order=5)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2 + 0.03 * size)
        # A class name may hold a dollar sign, which would otherwise start a formula.
        self.axes.text(
            *middle, text, ha="center", va="center_baseline", fontproperties=self.font, color=colour,
            zorder=6, parse_math=False,
        )  # fmt: skip

    def over(self, image: Image) -> Image:
        """The image under this sheet; pixels that nothing was drawn on keep their exact value."""
        buffer = BytesIO()
        self.figure.savefig(buffer, format="rgba", dpi=72)
        sheet = np.frombuffer(buffer.getvalue(), dtype=np.uint8).reshape(self.height, self.width, 4)
        alpha = sheet[..., 3:] / np.float32(255)
        return np.asarray(np.rint(image * (1 - alpha) + sheet[..., :3] * alpha), dtype=np.uint8)


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

    Other entities without a drawn relationship are left out; several predicates of a pair share one arrow.

    Args:
        image: (H, W, 3) uint8 RGB, the graph's image (of any size with the same proportions).
        graph: boxes are in pixels of `graph["image"]`.
        top_n: draw the first `top_n` relationships, repeated ones counted once.
        correct: a flag for every relationship of the graph; right ones are drawn green, wrong ones red.
        also: ids of entities to draw even without a relationship.
        min_side: images with a shorter longer side are enlarged first, so that the text is legible.
        text_scale: larger text, for a picture that will be shown small.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, or `correct` has the wrong length.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image must be (H, W, 3) uint8, not {image.shape} {image.dtype}")
    edges = edges_to_draw(graph, top_n, correct)
    entities = sorted({*entities_of(edges), *also})
    image = upscale_small(image, min_side)
    if not entities:
        return image.copy()
    height, width = image.shape[:2]
    overlay = _Overlay(width, height, text_scale)
    scale = np.array([width / graph["image"]["width"], height / graph["image"]["height"]] * 2)
    boxes = np.array([graph["entities"][entity]["box"] for entity in entities], dtype=np.float64) * scale
    boxes = np.clip(boxes, 0, np.array([width, height] * 2))
    colours = entity_colours(entities)
    anchors = dict(zip(entities, _anchors(boxes, overlay.unit), strict=True))
    names = entity_names(graph, entities)
    taken = _draw_entities(overlay, dict(zip(entities, boxes, strict=True)), names, colours, anchors)
    _draw_edges(overlay, edges, anchors, colours, taken)
    return overlay.over(image)


def side_by_side(images: Sequence[Image], titles: Sequence[str]) -> Image:
    """Pictures in a row, at the height of the highest, each under its title.

    Args:
        images: (H, W, 3) uint8 RGB.
        titles: one for each image.

    Returns:
        (height + title bar, sum of the widths + gaps, 3) uint8 RGB, on white.

    Raises:
        ValueError: no image, or not one title for each.
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
    overlay = _Overlay(canvas.shape[1], canvas.shape[0])
    left = 0
    for picture, width, title in zip(resized, widths, titles, strict=True):
        canvas[bar:, left : left + width] = picture
        overlay.axes.text(
            left + width / 2, bar / 2, title, ha="center", va="center", size=0.5 * bar, color=_INK,
            weight="bold", parse_math=False,
        )  # fmt: skip
        left += width + gap
    return overlay.over(canvas)


def _anchors(boxes: Array, unit: float) -> Array:
    """Where arrows meet each box: its centre, moved if several boxes have theirs at the same place."""
    margin = np.minimum(14 * unit, (boxes[:, 2:] - boxes[:, :2]) / 2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return spread_points(centres, boxes[:, :2] + margin, boxes[:, 2:] - margin, 130 * unit)


def _draw_entities(
    overlay: _Overlay,
    boxes: dict[int, Array],
    names: dict[int, str],
    colours: dict[int, str],
    anchors: dict[int, Array],
) -> list[Array]:
    """Draw boxes and class labels; the places that are now taken are returned."""
    unit = overlay.unit
    radius = 6 * unit
    taken = [np.concatenate([anchor - radius, anchor + radius]) for anchor in anchors.values()]
    for entity, box in boxes.items():
        x0, y0, x1, y1 = box
        outline = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colours[entity], lw=3 * unit)
        overlay.add(outline, halo=1.5)
        dot = Circle(tuple(anchors[entity]), radius, fc=colours[entity], ec=_INK, lw=1.5 * unit)
        overlay.add(dot, order=4)
        size = overlay.label_size(names[entity])
        places = keep_inside(corner_candidates(box, *size), overlay.width, overlay.height)
        place = best_place(places, taken)
        taken.append(place)
        overlay.label(place, names[entity], colours[entity], _INK, _INK)
    return taken


def _draw_edges(
    overlay: _Overlay,
    edges: Sequence[Edge],
    anchors: dict[int, Array],
    colours: dict[int, str],
    taken: list[Array],
) -> None:
    """Draw one arrow for each pair and a label for each predicate, away from the places that are taken."""
    unit = overlay.unit
    pairs = dict.fromkeys((edge.subject, edge.object) for edge in edges)
    curves = {(s, o): arc(anchors[s], anchors[o], 0.12, 8 * unit) for s, o in pairs}
    for (subject, _), curve in curves.items():
        arrow = FancyArrowPatch(
            path=Path(curve), arrowstyle="-|>", mutation_scale=22 * unit, fc=colours[subject],
            ec=colours[subject], lw=3 * unit, joinstyle="miter",
        )  # fmt: skip
        overlay.add(arrow, halo=1.5, order=3)
    for edge in edges:
        text = edge_text(edge)
        places = curve_candidates(curves[edge.subject, edge.object], *overlay.label_size(text))
        place = best_place(keep_inside(places, overlay.width, overlay.height), taken)
        taken.append(place)
        overlay.label(place, text, _FILL[edge.correct], "white", colours[edge.subject])
