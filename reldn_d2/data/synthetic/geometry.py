"""Shapes of the scenes' entities: the places of head, shoulders, grip and arm in the annotated boxes.

Coordinates are (x, y) in pixels; y points down. Boxes are XYXY.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .vocabulary import Category

Point = tuple[float, float]
Box = tuple[float, float, float, float]
FloatArray = NDArray[np.float64]

HAND_RADIUS = 4.5
ARM_WIDTH = 6.0
CUP_HANDLE = 5.0
BOX_RIM = 6.0
"""Height of the visible top face of a cardboard box."""

ARM_RISE = 8.0
"""How far an arm's control point lies above the straight line from shoulder to grip."""


@dataclass(frozen=True)
class Item:
    """One entity of a scene, before annotation order is drawn.

    Attributes:
        category: entity class.
        box: annotated box. A person's box covers the body with both arms hanging; a hand that reaches out may
            lie outside.
        tilt: degrees from upright, clockwise; guitars only.
        length: distance from the bottom of the body to the end of the head; guitars only.
        is_open: whether its inside is visible; boxes only.
    """

    category: Category
    box: Box
    tilt: float = 0.0
    length: float = 0.0
    is_open: bool = False

    @property
    def center(self) -> Point:
        """Middle of the box."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


def head_radius(person: Item) -> float:
    """Radius of a person's head, in pixels."""
    return 0.1 * (person.box[3] - person.box[1])


def head_center(person: Item) -> Point:
    """Middle of a person's head."""
    return person.center[0], person.box[1] + head_radius(person)


def shoulder(person: Item, right_side: bool) -> Point:
    """The point where the arm on one side of the picture starts."""
    x0, y0, x1, _ = person.box
    x = x1 - ARM_WIDTH if right_side else x0 + ARM_WIDTH
    return x, y0 + 2.6 * head_radius(person)


def guitar_item(center: Point, length: float, tilt: float) -> Item:
    """A guitar whose middle (half of its length) is at `center`, with its tight box."""
    shape = GuitarShape(center, length, tilt)
    corners = shape.head_corners
    circles = ((shape.body, shape.body_radius), (shape.waist, shape.waist_radius))
    xs = [x for x, _ in corners] + [p[0] + sign * r for p, r in circles for sign in (-1, 1)]
    ys = [y for _, y in corners] + [p[1] + sign * r for p, r in circles for sign in (-1, 1)]
    box = (round(min(xs), 1), round(min(ys), 1), round(max(xs), 1), round(max(ys), 1))
    return Item(Category.GUITAR, box, tilt=tilt, length=length)


class GuitarShape:
    """Key points of a guitar: two round body parts, a neck and a head along one axis."""

    def __init__(self, center: Point, length: float, tilt: float) -> None:
        self._center, self._length = center, length
        self._axis = math.sin(math.radians(tilt)), -math.cos(math.radians(tilt))
        self.body_radius = 0.215 * length
        self.waist_radius = 0.16 * length
        self.body = self.along(0.215)
        self.waist = self.along(0.45)
        self.neck_start, self.neck_end = self.along(0.5), self.along(0.86)
        self.head_corners = [
            self.along(share, side * 0.06 * length)
            for share, side in ((0.86, -1), (0.86, 1), (1, 1), (1, -1))
        ]

    @staticmethod
    def of(item: Item) -> "GuitarShape":
        """The shape of an item that `guitar_item` made, from its box."""
        at_origin = guitar_item((0.0, 0.0), item.length, item.tilt)
        return GuitarShape(
            (item.box[0] - at_origin.box[0], item.box[1] - at_origin.box[1]), item.length, item.tilt
        )

    def along(self, share: float, sideways: float = 0.0) -> Point:
        """The point at a share of the length from the bottom, and pixels to the side."""
        (x, y), (ux, uy) = self._center, self._axis
        distance = (share - 0.5) * self._length
        return x + distance * ux - sideways * uy, y + distance * uy + sideways * ux


def grip(target: Item) -> Point:
    """The place of the hand that holds the cup or plays the guitar. It is inside the target's box."""
    if target.category == Category.GUITAR:
        return GuitarShape.of(target).along(0.38)
    x0, y0, x1, _ = target.box
    return (x0 + x1 - CUP_HANDLE) / 2, y0 + HAND_RADIUS + 2


def arm_paths(people: list[Item], targets: list[Item], steps: int = 12) -> FloatArray:
    """The arms from every person to every target. Only some of them are drawn.

    An arm starts at the shoulder on the target's side. It is a quadratic Bezier curve. Its control points lie
    in the enclosing box of person and target, and so does the arm.

    Returns:
        (people, targets, steps, 2) points from shoulder to grip.
    """
    end = np.array([grip(target) for target in targets])[None, :, None]
    start = np.array(
        [[shoulder(person, grip(target)[0] >= person.center[0]) for target in targets] for person in people]
    )[:, :, None]
    middle = (start + end) / 2 - np.array([0.0, ARM_RISE])
    t = np.linspace(0.0, 1.0, steps)[:, None]
    paths: FloatArray = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
    return paths
