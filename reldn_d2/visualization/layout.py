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
        start, end: (2,) different points.
        bend: largest distance from the straight line, as a share of its length.
        gap: distance kept free at both ends, pixels (at most a quarter of the length each).
        samples: number of points.

    Returns:
        (samples, 2) points, evenly spaced in the curve's parameter.
    """
    t = np.linspace(0, 1, samples)[:, None]
    along = end - start
    length = float(np.hypot(*along))
    middle = (start + end) / 2 + 2 * bend * np.array([-along[1], along[0]])
    cut = min(gap / length, 0.25)
    t = cut + (1 - 2 * cut) * t
    return np.asarray((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end)


def loop(point: Array, turn: float, radius: float, samples: int = 33) -> Array:
    """Points of an arrow from a point to itself: a circle through it, open where the point is.

    Args:
        point: (2,) the point.
        turn: where the circle's centre lies: above the point for 0, left of it for 0.25, in turns.
        radius: radius in pixels.
        samples: number of points.

    Returns:
        (samples, 2) points.
    """
    angle = (0.25 - turn + 0.1 + 0.8 * np.linspace(0, 1, samples)) * 2 * np.pi
    away = -2 * np.pi * (0.25 + turn)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) + np.array([np.cos(away), np.sin(away)])
    return np.asarray(point + radius * circle)


def arrow_curves(
    start: Array, end: Array, bends: Sequence[float], gap: float, samples: int = 33, least: float = 1e-6
) -> list[Array]:
    """Possible curves (samples, 2) of an arrow: an `arc` for each bend, or else loops in eight directions.

    Args:
        start, end: (2,) points.
        bends: bends of arcs, the best first.
        gap: distance kept free at both ends, pixels. Loops have a radius of 2.5 times as much.
        samples: number of points.
        least: points that are as close as this, in pixels, get loops.
    """
    if np.hypot(*(end - start)) > least:
        return [arc(start, end, bend, gap, samples) for bend in bends]
    return [loop(end, turn / 8, 2.5 * gap, samples) for turn in (0, 2, 6, 4, 1, 7, 3, 5)]


def is_inside(curve: Array, size: Array, head: float, margin: float) -> bool:
    """Whether an arrow lies in a picture, and not at its border.

    Args:
        curve: (n, 2) points.
        size: (2,) width and height of the picture.
        head: length of the arrow's head.
        margin: distance to the border, for the head one half of it.
    """
    corners = head_corners(curve, head)
    in_picture = ((curve >= margin) & (curve <= size - margin)).all()
    return bool(in_picture and ((corners >= margin / 2) & (corners <= size - margin / 2)).all())


def apartness(curve: Array, others: Sequence[Array], most: float) -> float:
    """Mean distance of a curve's points (n, 2) to the nearest other curve, at most `most`."""
    gaps = [most]
    for other in others:
        offset = curve[::8, None] - other[None, ::8]
        gaps.append(float(np.hypot(offset[..., 0], offset[..., 1]).min(axis=1).mean()))
    return min(gaps)


def head_corners(curve: Array, length: float) -> Array:
    """The corners (3, 2) of an arrow's head: its tip, which is the end of the curve (n, 2), and its base."""
    tip = curve[-1]
    behind = curve[np.hypot(*(tip - curve).T) >= 0.6 * length]
    direction = tip - (behind[-1] if len(behind) else curve[0])
    direction = direction / max(float(np.hypot(*direction)), 1e-9) * length
    across = 0.45 * np.array([-direction[1], direction[0]])
    return np.stack([tip, tip - direction + across, tip - direction - across])


def push_apart(boxes: Array, width: float, height: float, gap: float, steps: int = 200) -> Array:
    """Move boxes (n, 4) inside a picture until they are `gap` apart, as far as there is room.

    Args:
        boxes: boxes, in the picture.
        width, height: size of the picture.
        gap: wanted distance.
        steps: number of times that all boxes are moved.

    Returns:
        (n, 4) boxes of the same sizes.
    """
    for _ in range(steps):
        low, high = boxes[:, :2], boxes[:, 2:]
        shared = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None]) + gap
        both = (shared > 0).all(axis=-1) & ~np.eye(len(boxes), dtype=bool)
        if not both.any():
            break
        # A pair moves along the axis on which it is nearly apart; the first box goes left or up on ties.
        middle = (low + high) / 2
        away = np.where(middle[:, None] == middle[None], 0.0, np.sign(middle[:, None] - middle[None]))
        ties = np.sign(np.arange(len(boxes))[:, None] - np.arange(len(boxes)))[..., None]
        away = np.where(away == 0, ties, away)
        axis = np.eye(2)[shared.argmin(axis=-1)]
        move = (0.5 * shared * away * axis * both[..., None]).sum(axis=1)
        boxes = keep_inside(boxes + np.concatenate([move, move], axis=1), width, height)
    return boxes


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


def corner_candidates(box: Array, width: float, height: float) -> Array:
    """Places for a (width, height) label at a box: at its edges, outside and inside, then around it.

    Returns:
        (k, 4) boxes, in order of preference.
    """
    x0, y0, x1, y1 = box
    middle_x, middle_y = (x0 + x1 - width) / 2, (y0 + y1 - height) / 2
    corners = [
        (x0, y0 - height), (x0, y0), (x1 - width, y0 - height), (x1 - width, y0),
        (x0, y1 - height), (x1 - width, y1 - height), (x0, y1), (x1 - width, y1),
        (x1, y0), (x0 - width, y0), (middle_x, y0 - height), (middle_x, y1),
        (x1, y1 - height), (x0 - width, y1 - height), (x1, middle_y), (x0 - width, middle_y),
        (x0 - width, y0 - height), (x1, y0 - height), (x0 - width, y1), (x1, y1),
        (middle_x, y0), (middle_x, y1 - height), (x0, middle_y), (x1 - width, middle_y),
    ]  # fmt: skip
    angle = np.arange(16) * np.pi / 8
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    reach = (np.array([x1 - x0, y1 - y0]) + np.array([width, height])) / 2
    rings = [direction * (reach + far * height) for far in (1, 2, 3.5, 5)]
    around = np.concatenate(rings) + np.array([middle_x, middle_y])
    corner = np.concatenate([np.array(corners), around])
    return np.concatenate([corner, corner + np.array([width, height])], axis=1)


def curve_candidates(curve: Array, width: float, height: float) -> Array:
    """Places for a (width, height) label at a curve (n, 2): in its middle, then along it, then beside it.

    Returns:
        (k, 4) boxes, in order of preference.
    """
    last = len(curve) - 1
    along = np.array([0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74])
    centres = curve[np.rint(along * last).astype(int)]
    up, side = np.array([0.0, height]), np.array([width, 0.0])
    shifts = [0 * up]
    for far in (0.75, 1.1, 1.6, 2.2):
        shifts += [-far * up, far * up]
        sideways = (0.15 + 0.35 * far) * side
        shifts += [sideways - 0.3 * far * up, -sideways - 0.3 * far * up, sideways, -sideways]
        shifts += [sideways + 0.3 * far * up, -sideways + 0.3 * far * up]
    centres = (centres[None] + np.array(shifts)[:, None]).reshape(-1, 2)
    half = np.array([width, height]) / 2
    return np.concatenate([centres - half, centres + half], axis=1)
