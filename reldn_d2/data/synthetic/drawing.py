"""Draws a scene. Colours come from the scene's style seed, positions from its layout."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import (
    ARM_WIDTH,
    BOX_RIM,
    CUP_HANDLE,
    HAND_RADIUS,
    GuitarShape,
    Item,
    Point,
    arm_paths,
    head_center,
    head_radius,
    shoulder,
)
from .scene import TABLE_APRON, TABLE_TOP_DEPTH, Draws, Scene
from .vocabulary import IMAGE_SIZE, Category

Color = tuple[int, int, int]
Image = NDArray[np.uint8]

SCALE = 4
"""Shapes are drawn enlarged by this factor and then averaged down."""

OUTLINE = 1.0
"""Width of the dark edge of every shape, in pixels."""

# All colours are BGR.
SHIRTS: tuple[Color, ...] = (
    (60, 60, 215),
    (205, 110, 45),
    (75, 165, 70),
    (165, 70, 150),
    (40, 190, 245),
    (165, 165, 30),
    (70, 70, 70),
)
SKINS: tuple[Color, ...] = ((180, 205, 245), (140, 180, 230), (95, 140, 200), (60, 90, 140))
HAIRS: tuple[Color, ...] = ((40, 45, 55), (50, 80, 120), (95, 160, 205), (45, 75, 165), (165, 165, 170))
TROUSERS: tuple[Color, ...] = ((120, 80, 60), (90, 90, 95), (60, 75, 100), (140, 120, 100))
CUPS: tuple[Color, ...] = ((250, 250, 250), (245, 225, 190), (200, 240, 200), (235, 205, 230))
WOODS: tuple[Color, ...] = ((70, 130, 205), (45, 90, 160), (40, 60, 170), (110, 185, 230))
TABLES: tuple[Color, ...] = ((85, 125, 175), (120, 150, 185), (70, 95, 130))
HATS: tuple[Color, ...] = ((50, 45, 45), (130, 60, 40), (45, 75, 115), (60, 120, 60), (60, 50, 150))
BOXES: tuple[Color, ...] = ((125, 175, 210), (105, 150, 185), (150, 170, 190))
WALLS: tuple[Color, ...] = (
    (225, 232, 238),
    (235, 228, 215),
    (222, 236, 226),
    (215, 225, 240),
    (232, 222, 228),
)
FLOORS: tuple[Color, ...] = ((165, 185, 200), (180, 180, 180), (160, 180, 170), (185, 175, 165))
INK: Color = (45, 40, 40)


class Canvas:
    """A BGR picture to draw shapes on. All coordinates and widths are in pixels of the final picture."""

    def __init__(self, size: int, color: Color) -> None:
        self._size = size
        self._pixels = np.full((size * SCALE, size * SCALE, 3), color, dtype=np.uint8)

    def image(self) -> Image:
        """The picture, (size, size, 3) uint8 BGR."""
        small = cv2.resize(self._pixels, (self._size, self._size), interpolation=cv2.INTER_AREA)
        return np.asarray(small, dtype=np.uint8)

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, color: Color, outline: bool = True
    ) -> None:
        """Draw a filled rectangle with the corners (x0, y0) and (x1, y1)."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, outline)

    def polygon(self, points: Sequence[Point], color: Color, outline: bool = True) -> None:
        """Draw a filled convex polygon. Half of the width of its dark edge is outside."""
        corners = np.array([_scaled(point) for point in points], dtype=np.int32)
        cv2.fillConvexPoly(self._pixels, corners, color)
        if outline:
            cv2.polylines(self._pixels, [corners], True, darker(color), _width(OUTLINE))

    def ellipse(self, center: Point, rx: float, ry: float, color: Color, outline: bool = True) -> None:
        """Draw a filled ellipse with the half axes `rx` and `ry`."""
        axes = _width(rx), _width(ry)
        cv2.ellipse(self._pixels, _scaled(center), axes, 0, 0, 360, color, -1)
        if outline:
            cv2.ellipse(self._pixels, _scaled(center), axes, 0, 0, 360, darker(color), _width(OUTLINE))

    def stroke(self, points: Sequence[Point], width: float, color: Color, outline: bool = True) -> None:
        """Draw a thick line with round ends through the points."""
        path = np.array([_scaled(point) for point in points], dtype=np.int32)
        if outline:
            cv2.polylines(self._pixels, [path], False, darker(color), _width(width))
        cv2.polylines(self._pixels, [path], False, color, _width(width - 2 * OUTLINE if outline else width))


def draw_scene(scene: Scene) -> Image:
    """Draw the picture of a scene.

    Returns:
        (IMAGE_SIZE, IMAGE_SIZE, 3) uint8, BGR. Every run with the same OpenCV version gives the same picture.
    """
    draws = Draws(scene.style)
    canvas = _background(draws)
    items, people = scene.layout.items, scene.layout.people
    shirts = [SHIRTS[i] for i in draws.permutation(len(SHIRTS))]
    skins = [_pick(draws, SKINS) for _ in people]
    cup = _pick(draws, CUPS)
    person_number = 0
    for item in items:
        if item.category == Category.PERSON:
            busy = _raised_side(scene, person_number)
            skin = skins[person_number]
            _draw_body(canvas, item, (shirts[person_number], skin, _pick(draws, TROUSERS)), busy)
            _draw_head(canvas, item, skin, _pick(draws, HAIRS))
            person_number += 1
        elif item.category == Category.CUP:
            _draw_cup(canvas, item, cup)
        else:
            draw, palette = _PAINTERS[item.category]
            draw(canvas, item, _pick(draws, palette))
    for person in draws.permutation(len(people)):
        _draw_arm(canvas, scene, person, shirts[person], skins[person])
    noise = np.random.Generator(np.random.PCG64(scene.grain)).normal(0.0, 2.5, (IMAGE_SIZE, IMAGE_SIZE, 1))
    return np.clip(np.rint(canvas.image() + noise), 0, 255).astype(np.uint8)


def _pick(draws: Draws, palette: tuple[Color, ...]) -> Color:
    """A colour of the palette, a little brighter or darker."""
    return darker(palette[draws.integer(0, len(palette) - 1)], draws.uniform(0.9, 1.0))


def _background(draws: Draws) -> Canvas:
    """Draw wall and floor, and sometimes stripes or a window on the wall."""
    wall, floor = _pick(draws, WALLS), _pick(draws, FLOORS)
    canvas = Canvas(IMAGE_SIZE, wall)
    horizon = draws.uniform(112, 130)
    decoration = draws.integer(0, 2)
    if decoration == 1:
        step = draws.uniform(14, 24)
        for x in np.arange(step / 2, IMAGE_SIZE, step):
            canvas.rectangle(x, 0, x + 5, horizon, darker(wall, 0.96), outline=False)
    elif decoration == 2:
        x, y = draws.uniform(10, 120), draws.uniform(8, 30)
        canvas.rectangle(x, y, x + 56, y + 46, darker(wall, 0.85), outline=False)
        canvas.rectangle(x + 3, y + 3, x + 26.5, y + 43, (250, 240, 225), outline=False)
        canvas.rectangle(x + 29.5, y + 3, x + 53, y + 43, (250, 240, 225), outline=False)
    canvas.rectangle(0, horizon, IMAGE_SIZE, IMAGE_SIZE, floor, outline=False)
    canvas.rectangle(0, horizon, IMAGE_SIZE, horizon + 3, darker(wall, 0.85), outline=False)
    return canvas


def _reach_path(scene: Scene, person: int) -> list[Point] | None:
    """The arm of a person that holds or plays something, from shoulder to grip."""
    target = scene.reached[person]
    if target is None:
        return None
    items, layout = scene.layout.items, scene.layout
    path = arm_paths([items[layout.people[person]]], [items[layout.targets[target]]], steps=24)[0, 0]
    return [(float(x), float(y)) for x, y in path]


def _raised_side(scene: Scene, person: int) -> bool | None:
    """Whether the reaching arm is the right one in the picture; None if both hang."""
    path = _reach_path(scene, person)
    return None if path is None else path[0][0] > scene.layout.items[scene.layout.people[person]].center[0]


def _draw_body(canvas: Canvas, person: Item, colors: tuple[Color, Color, Color], busy: bool | None) -> None:
    """Draw trunk, legs and hanging arms, but not the arm on the `busy` side."""
    shirt, skin, trousers = colors
    x0, y0, x1, y1 = person.box
    x, radius = person.center[0], head_radius(person)
    hip, half = y0 + 0.58 * (y1 - y0), (x1 - x0) / 2 - ARM_WIDTH - 0.5
    for side in (-1, 1):
        foot = x + side * 0.55 * half
        canvas.stroke([(x + side * 0.45 * half, hip), (foot, y1 - 5)], 8.5, trousers)
        canvas.ellipse((foot + side, y1 - 3.2), 6, 3, INK)
    for right in (False, True):
        if right != busy:
            hand = x1 - HAND_RADIUS if right else x0 + HAND_RADIUS
            canvas.ellipse((hand, hip + 2), HAND_RADIUS - 1, HAND_RADIUS - 1, skin)
            canvas.stroke([shoulder(person, right), (hand, hip - 2)], ARM_WIDTH, shirt)
    neck, top, low = y0 + 1.6 * radius, y0 + 2.1 * radius + 1, hip + 3
    canvas.rectangle(x - 3, neck, x + 3, top + 2, darker(skin, 0.9), outline=False)
    canvas.polygon([(x - half, top), (x + half, top), (x + 0.85 * half, low), (x - 0.85 * half, low)], shirt)


def _draw_head(canvas: Canvas, person: Item, skin: Color, hair: Color) -> None:
    x, y = head_center(person)
    radius = head_radius(person)
    canvas.ellipse((x, y), radius, radius, hair)
    canvas.ellipse((x, y + 0.2 * radius), 0.86 * radius, 0.8 * radius, skin)
    for side in (-1, 1):
        canvas.ellipse((x + side * 3.6, y + 0.15 * radius), 1.1, 1.3, INK, outline=False)
    smile = [(x - 2.5, y + 5.5), (x, y + 6.5), (x + 2.5, y + 5.5)]
    canvas.stroke(smile, 1.0, (60, 60, 140), outline=False)


def _draw_arm(canvas: Canvas, scene: Scene, person: int, shirt: Color, skin: Color) -> None:
    path = _reach_path(scene, person)
    if path is not None:
        canvas.stroke(path, ARM_WIDTH + 0.5, shirt)
        canvas.ellipse(path[-1], HAND_RADIUS, HAND_RADIUS, skin)


def _draw_cup(canvas: Canvas, cup: Item, color: Color) -> None:
    x0, y0, x1, y1 = cup.box
    right = x1 - CUP_HANDLE
    y = (y0 + y1) / 2 + 0.5
    canvas.ellipse((right, y), CUP_HANDLE - 0.5, 4.8, color)
    canvas.ellipse((right, y), CUP_HANDLE - 3, 2.2, darker(color, 0.75), outline=False)
    rim, base = y0 + 2.5, y1 - 0.5
    canvas.polygon([(x0 + 0.5, rim), (right, rim), (right - 1, base), (x0 + 1.5, base)], color)
    canvas.ellipse(((x0 + right) / 2, y0 + 2.8), (right - x0) / 2 - 0.5, 2.4, darker(color, 0.8))


def _draw_guitar(canvas: Canvas, guitar: Item, color: Color) -> None:
    shape = GuitarShape.of(guitar)
    canvas.stroke([shape.neck_start, shape.neck_end], 5.5, (45, 65, 95))
    canvas.polygon(shape.head_corners, (45, 60, 85))
    canvas.ellipse(shape.body, shape.body_radius - 0.5, shape.body_radius - 0.5, color)
    canvas.ellipse(shape.waist, shape.waist_radius - 0.5, shape.waist_radius - 0.5, color)
    canvas.ellipse(shape.body, shape.body_radius - 1.5, shape.body_radius - 1.5, color, outline=False)
    canvas.ellipse(shape.along(0.38), 4, 4, INK, outline=False)
    canvas.stroke([shape.along(0.16, -5), shape.along(0.16, 5)], 2.5, INK, outline=False)
    canvas.stroke([shape.along(0.16), shape.along(0.9)], 1.0, (215, 225, 230), outline=False)


def _draw_table(canvas: Canvas, table: Item, color: Color) -> None:
    x0, y0, x1, y1 = table.box
    front = y0 + TABLE_TOP_DEPTH
    for x in (x0 + 2, x1 - 9):
        canvas.rectangle(x, front, x + 7, y1, darker(color, 0.75))
    canvas.polygon([(x0 + 8, y0), (x1 - 8, y0), (x1, front), (x0, front)], color)
    canvas.rectangle(x0, front, x1, front + TABLE_APRON, darker(color, 0.85))


def _draw_hat(canvas: Canvas, hat: Item, color: Color) -> None:
    x0, y0, x1, y1 = hat.box
    inset = 0.2 * (x1 - x0)
    low, high = y1 - 2, y0
    crown = [(x0 + inset + 1.5, high), (x1 - inset - 1.5, high), (x1 - inset, low), (x0 + inset, low)]
    canvas.polygon(crown, color)
    canvas.rectangle(x0 + inset, y1 - 6.5, x1 - inset, y1 - 3.5, (90, 190, 225), outline=False)
    canvas.stroke([(x0 + 2, low), (x1 - 2, low)], 4, color)


def _draw_box(canvas: Canvas, box: Item, color: Color) -> None:
    """Draw a cardboard box: an open box shows its dark inside, a closed box its lid with tape."""
    x0, y0, x1, y1 = box.box
    rim = [(x0 + 3, y0), (x1 - 3, y0), (x1, y0 + BOX_RIM), (x0, y0 + BOX_RIM)]
    canvas.polygon(rim, darker(color, 0.45) if box.is_open else color)
    canvas.rectangle(x0, y0 + BOX_RIM, x1, y1, darker(color, 0.9))
    if not box.is_open:
        x = (x0 + x1) / 2
        canvas.rectangle(x - 2, y0 + 1, x + 2, y1 - 7, darker(color, 0.7), outline=False)


def darker(color: Color, share: float = 0.4) -> Color:
    """The colour with its brightness multiplied by `share`."""
    blue, green, red = (round(channel * share) for channel in color)
    return blue, green, red


def _scaled(point: Point) -> tuple[int, int]:
    return round(point[0] * SCALE), round(point[1] * SCALE)


def _width(pixels: float) -> int:
    return max(1, round(pixels * SCALE))


_PAINTERS = {
    Category.GUITAR: (_draw_guitar, WOODS),
    Category.TABLE: (_draw_table, TABLES),
    Category.HAT: (_draw_hat, HATS),
    Category.BOX: (_draw_box, BOXES),
}
