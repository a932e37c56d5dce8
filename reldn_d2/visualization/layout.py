"""The geometry of drawings: places of points, arrows and labels, in pixels; y points down. Boxes are XYXY."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def spread_points(points: Array, low: Array, high: Array, distance: float, steps: int = 60) -> Array:
    """Push points apart until they are `distance` apart, as far as their boxes allow.

    Args:
        points: (n, 2) points.
        low, high: (n, 2) corners of the box in which each point has to stay.
        distance: wanted distance between any two points, pixels.
        steps: number of times that all points are moved.

    Returns:
        (n, 2) points.
    """
    points = np.clip(points, low, high)
    # Points at the same place have no direction to move apart. So each gets its own, by the golden angle.
    angle = np.arange(len(points)) * 2.39996
    points = np.clip(points + 0.01 * np.stack([np.cos(angle), np.sin(angle)], axis=1), low, high)
    for _ in range(steps):
        offset = points[:, None] - points[None]
        length = np.linalg.norm(offset, axis=-1, keepdims=True)
        push = np.clip(distance - length, 0, None) / np.maximum(length, 1e-6) * offset
        points = np.clip(points + 0.25 * push.sum(axis=1), low, high)
    return points


def arc(start: Array, end: Array, bend: float, gap: float, samples: int = 33) -> Array:
    """Points of an arrow's curve, which bends to one side of the straight line.

    Args:
        start, end: (2,) points. If they are equal, the curve is a loop of radius 2.5 `gap` above the point.
        bend: largest distance from the straight line, as a share of its length.
        gap: distance kept free at both ends, pixels (at most a quarter of the length each).
        samples: number of points.

    Returns:
        (samples, 2) points, evenly spaced in the curve's parameter.
    """
    t = np.linspace(0, 1, samples)[:, None]
    along = end - start
    length = float(np.hypot(*along))
    if length < 1e-6:
        radius = 2.5 * gap
        # A circle through the point, open at the bottom where the point is.
        angle = np.pi / 2 + (0.1 + 0.8 * t) * 2 * np.pi
        centre = start - np.array([0, radius])
        return np.asarray(centre + radius * np.concatenate([np.cos(angle), np.sin(angle)], axis=1))
    middle = (start + end) / 2 + 2 * bend * np.array([-along[1], along[0]])
    cut = min(gap / length, 0.25)
    t = cut + (1 - 2 * cut) * t
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end)


def part_outside(curve: Array, box: Array) -> Array:
    """The part of a curve before it enters a box.

    If the curve begins inside the box, the part begins where the curve leaves the box.

    Args:
        curve: (n, 2) points.
        box: (4,) XYXY.

    Returns:
        (m, 2) points, 2 <= m <= n, even if the curve is always inside.
    """
    inside = np.all((curve > box[:2]) & (curve < box[2:]), axis=1)
    first = min(int(inside.argmin()), len(curve) - 2)
    entered = inside[first:]
    last = first + int(entered.argmax()) if entered.any() else len(curve)
    return curve[first : max(last, first + 2)]


def keep_inside(boxes: Array, width: float, height: float) -> Array:
    """Move boxes (n, 4) into the picture without resizing them; too large boxes go to its top left."""
    size = boxes[:, 2:] - boxes[:, :2]
    corner = np.maximum(np.minimum(boxes[:, :2], np.array([width, height]) - size), 0)
    return np.concatenate([corner, corner + size], axis=1)


def best_place(candidates: Array, taken: Sequence[Array]) -> Array:
    """The candidate box that covers the smallest area of the taken boxes; the earliest one on ties.

    Args:
        candidates: (k, 4) boxes, in order of preference.
        taken: boxes (4,) that are already placed.

    Returns:
        (4,) box.
    """
    if not taken:
        return np.asarray(candidates[0])
    others = np.stack(taken)
    top_left = np.maximum(candidates[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(candidates[:, None, 2:], others[None, :, 2:])
    covered = np.clip(bottom_right - top_left, 0, None).prod(axis=-1).sum(axis=1)
    return np.asarray(candidates[int(covered.argmin())])


def corner_candidates(box: Array, width: float, height: float) -> Array:
    """Places for a (width, height) label at a box: above it and in its corners, then below and beside it.

    Returns:
        (10, 4) boxes, in order of preference.
    """
    x0, y0, x1, y1 = box
    corners = [
        (x0, y0 - height), (x0, y0), (x1 - width, y0 - height), (x1 - width, y0),
        (x0, y1 - height), (x1 - width, y1 - height), (x0, y1), (x1 - width, y1),
        (x1, y0), (x0 - width, y0),
    ]  # fmt: skip
    corner = np.array(corners)
    return np.concatenate([corner, corner + np.array([width, height])], axis=1)


def curve_candidates(curve: Array, width: float, height: float) -> Array:
    """Places for a (width, height) label at a curve (n, 2): in its middle, then along it, then beside it.

    Returns:
        (k, 4) boxes, in order of preference.
    """
    last = len(curve) - 1
    along = np.array([0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74])
    centres = curve[np.rint(along * last).astype(int)]
    shifts = np.array([0.0, -1.1, 1.1, -2.2, 2.2, -3.3, 3.3])[:, None, None] * np.array([0.0, height])
    centres = (centres[None] + shifts).reshape(-1, 2)
    half = np.array([width, height]) / 2
    return np.concatenate([centres - half, centres + half], axis=1)
