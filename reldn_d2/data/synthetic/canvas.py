"""An anti-aliased canvas: outlined shapes, drawn enlarged and then averaged down."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Point

Color = tuple[int, int, int]
Image = NDArray[np.uint8]

SCALE = 4
OUTLINE = 1.0
"""Width of the dark edge of every shape, in pixels."""


class Canvas:
    """BGR picture; all coordinates and widths are pixels of the final picture."""

    def __init__(self, size: int, color: Color) -> None:
        self._size = size
        self._pixels = np.full((size * SCALE, size * SCALE, 3), color, dtype=np.uint8)

    def image(self) -> Image:
        """(size, size, 3) uint8 BGR."""
        small = cv2.resize(self._pixels, (self._size, self._size), interpolation=cv2.INTER_AREA)
        return np.asarray(small, dtype=np.uint8)

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, color: Color, outline: bool = True
    ) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, outline)

    def polygon(self, points: Sequence[Point], color: Color, outline: bool = True) -> None:
        """A filled convex polygon; its dark edge lies inside the points' hull up to half its width."""
        corners = np.array([_scaled(point) for point in points], dtype=np.int32)
        cv2.fillConvexPoly(self._pixels, corners, color)
        if outline:
            cv2.polylines(self._pixels, [corners], True, darker(color), _width(OUTLINE))

    def ellipse(self, center: Point, rx: float, ry: float, color: Color, outline: bool = True) -> None:
        axes = _width(rx), _width(ry)
        cv2.ellipse(self._pixels, _scaled(center), axes, 0, 0, 360, color, -1)
        if outline:
            cv2.ellipse(self._pixels, _scaled(center), axes, 0, 0, 360, darker(color), _width(OUTLINE))

    def stroke(self, points: Sequence[Point], width: float, color: Color, outline: bool = True) -> None:
        """A round-ended thick line through the points."""
        path = np.array([_scaled(point) for point in points], dtype=np.int32)
        if outline:
            cv2.polylines(self._pixels, [path], False, darker(color), _width(width))
        cv2.polylines(self._pixels, [path], False, color, _width(width - 2 * OUTLINE if outline else width))


def darker(color: Color, share: float = 0.4) -> Color:
    """The colour at a share of its brightness."""
    blue, green, red = (round(channel * share) for channel in color)
    return blue, green, red


def _scaled(point: Point) -> tuple[int, int]:
    return round(point[0] * SCALE), round(point[1] * SCALE)


def _width(pixels: float) -> int:
    return max(1, round(pixels * SCALE))
