"""Finds places for labels, so that a drawing can be read. Lengths are pixels; boxes are XYXY.

What holds for every label, be it a name, a predicate or a number:

* It lies inside the picture, and on no other label, arrow, head, leader line, or dot where arrows begin and
  end. The one exception is the arrow that a predicate belongs to: the label may lie on its middle, where the
  arrow is interrupted.
* It covers at most `MOST_COVERED` of the box of any drawn entity: no label lies on a small thing, and one
  that lies on a large thing leaves the most of it visible. A side shorter than 8 units counts as one of 8.
* It touches the box or arrow that it belongs to, or a leader line joins them, on which no label lies. Names
  that lie in their own box lie at its edge.

Outlines of boxes may go on behind a label. Places that need this are taken only if there is no better one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .layout import Array, keep_inside

#: Largest share of an entity's box that one label covers.
MOST_COVERED = 0.15
# Largest share of its arrow that labels interrupt.
_MOST_INTERRUPTED = 0.6
# A predicate is farther from its arrow by at most this many heights of its label. Else the list is clearer.
_LONGEST_LEADER = 1.2


Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Place:
    """Where a label lies.

    Attributes:
        box: (4,) the label.
        leader: (2, 2) ends of the line that joins it to what it belongs to; None: it touches that.
    """

    box: Array
    leader: Array | None


class Places:
    """The places of a picture that are taken, and those that are free.

    Args:
        width, height: size of the picture.
        boxes: (n, 4) boxes of the drawn entities.
        dots: (m, 4) boxes around what no label may cover: dots and heads of arrows.
        plates: (p, 4) labels that are already there, which no leader line may cross either.
        curves: pair -> (k, 2) points of its arrow.
        unit: unit of length, in pixels.
    """

    def __init__(
        self,
        width: float,
        height: float,
        boxes: Array,
        dots: Array,
        plates: Array,
        curves: dict[tuple[int, int], Array],
        unit: float,
    ) -> None:
        self._size = np.array([width, height])
        self._unit = unit
        grown = np.clip(8 * unit - (boxes[:, 2:] - boxes[:, :2]), 0, None) / 2
        self._drawn = boxes
        self._boxes = np.concatenate([boxes[:, :2] - grown, boxes[:, 2:] + grown], axis=1)
        self._areas = (self._boxes[:, 2:] - self._boxes[:, :2]).prod(axis=1)
        self._outlines = _outlines(boxes)
        self._taken = np.concatenate([dots, plates])
        self._first_plate = len(dots)
        self.curves = curves
        # The ends of arrows are as forbidden as other arrows: they show where the arrow goes.
        self._lines, self._owners = _segments(curves, 4 * unit)
        self._interrupted = {pair: np.zeros(len(curve) - 1, dtype=bool) for pair, curve in curves.items()}

    def of_box(self, box: Array, candidates: Array) -> Place | None:
        """The best place of a label that belongs to a box, among candidates (c, 4), best ones first."""
        candidates = keep_inside(candidates, *self._size)
        free = candidates[self._free(candidates, None)]
        # The leader goes from the label's side to the nearest point of the box.
        middle = np.clip((free[:, :2] + free[:, 2:]) / 2, box[:2], box[2:])
        # A name in the box of another entity looks like that one's.
        others = self._boxes[(self._drawn != box).any(axis=1)]
        size = np.minimum(free[:, None, 2:], others[:, 2:]) - np.maximum(free[:, None, :2], others[:, :2])
        shared = np.clip(size, 0, None).prod(axis=-1) / (free[:, 2:] - free[:, :2]).prod(axis=1)[:, None]
        return self._take(free, middle, 0.6 * shared.max(axis=1, initial=0))

    def on_curve(self, pair: tuple[int, int], candidates: Array) -> Place | None:
        """The best place of a label that belongs to an arrow, among candidates (c, 4), best ones first."""
        curve, hidden = self.curves[pair], self._interrupted[pair]
        candidates = keep_inside(candidates, *self._size)
        free = candidates[self._free(candidates, pair)]
        steps = _steps(curve)
        inside = _touch(*_grown(free, 4 * self._unit), steps[:, :2], steps[:, 2:])
        free = free[(inside | hidden).mean(axis=1) <= _MOST_INTERRUPTED]
        if not len(free):
            return None
        gaps = np.clip(curve[1:], free[:, None, :2], free[:, None, 2:]) - curve[1:]
        # At its ends, where arrows meet, nobody could say which one a label belongs to. Where other labels
        # interrupt the arrow, a leader would point at nothing.
        at_end = np.ones(len(steps), dtype=bool)
        at_end[int(0.15 * len(steps)) : int(0.75 * len(steps)) + 1] = False
        distance = np.where(hidden | at_end, np.inf, np.hypot(*np.moveaxis(gaps, -1, 0)))
        near = distance.min(axis=1) <= _LONGEST_LEADER * (free[:, 3] - free[:, 1])
        place = self._take(free[near], curve[1:][distance[near].argmin(axis=1)])
        if place is not None:
            hidden |= _touch(*_grown(place.box[None], 4 * self._unit), steps[:, :2], steps[:, 2:])[0]
        return place

    def visible_parts(self, pair: tuple[int, int]) -> list[Array]:
        """The parts (k, 2) of an arrow between its labels, from the subject to the object."""
        curve = self.curves[pair]
        parts, start = [], 0
        for step in [*np.flatnonzero(self._interrupted[pair]), len(curve) - 1]:
            if step > start:
                parts.append(curve[start : step + 1])
            start = step + 1
        return parts

    def _free(self, candidates: Array, pair: tuple[int, int] | None) -> Marks:
        """(c,) whether a label may lie there."""
        low, high = candidates[:, :2], candidates[:, 2:]
        free: Marks = np.asarray((high <= self._size).all(axis=1), dtype=np.bool_)
        free &= (self._shares(low, high) <= MOST_COVERED).all(axis=1)
        free &= ~_touch(*_grown(candidates, self._unit), *_grown(self._taken, 0)).any(axis=1)
        mine = -1 if pair is None else list(self.curves).index(pair)
        lines = self._lines[self._owners != mine]
        # Only what is left is compared with the lines, which are many.
        left = np.flatnonzero(free)
        low, high = _grown(candidates[left], 3.2 * self._unit)
        free[left] = ~_touch(low, high, lines[:, :2], lines[:, 2:]).any(axis=1)
        return free

    def _shares(self, low: Array, high: Array) -> Array:
        """(c, n) share of each box that candidates cover."""
        size = np.minimum(high[:, None], self._boxes[:, 2:]) - np.maximum(low[:, None], self._boxes[:, :2])
        return np.asarray(np.clip(size, 0, None).prod(axis=-1) / self._areas)

    def _take(self, free: Array, targets: Array, more: Array | float = 0.0) -> Place | None:
        """Takes the cheapest of the free places (c, 4).

        Args:
            free: the places, best ones first.
            targets: (c, 2) where their leaders go.
            more: (c,) what each costs beside what all labels cost.
        """
        if not len(free):
            return None
        low, high = free[:, :2], free[:, 2:]
        ends = np.clip(targets, low, high)
        gap = np.hypot(*(targets - ends).T)
        height = float(high[0, 1] - low[0, 1])
        led = gap > 0.2 * height
        crossed = np.zeros(len(free), dtype=bool)
        crossed[led] = _cross(ends[led], targets[led], self._taken[self._first_plate :]).any(axis=1)
        outlines = _touch(low, high, self._outlines[:, :2], self._outlines[:, 2:]).sum(axis=1)
        cost = (
            0.02 * np.arange(len(free))
            + np.where(led, 1 + gap / height, 0)
            + 0.15 * outlines
            + 2 * self._shares(low, high).sum(axis=1)
            + np.where(crossed, np.inf, 0)
            + more
        )
        best = int(cost.argmin())
        if not np.isfinite(cost[best]):
            return None
        self._taken = np.concatenate([self._taken, free[best][None]])
        if not led[best]:
            return Place(free[best], None)
        leader = np.stack([ends[best], targets[best]])
        # Short pieces, because a line counts as the box around each of its segments.
        points = leader[0] + np.linspace(0, 1, 13)[:, None] * (leader[1] - leader[0])
        lines = _steps(points)
        self._lines = np.concatenate([self._lines, lines])
        self._owners = np.concatenate([self._owners, np.full(len(lines), -2)])
        return Place(free[best], leader)


def meets(curve: Array, boxes: Array) -> Marks:
    """(n,) whether a curve (k, 2) meets boxes (n, 4)."""
    steps = _steps(curve)
    met = _touch(boxes[:, :2], boxes[:, 2:], steps[:, :2], steps[:, 2:]).any(axis=1)
    return np.asarray(met, dtype=np.bool_)


def _outlines(boxes: Array) -> Array:
    """(4n, 4) the sides of boxes, as boxes without area."""
    x0, y0, x1, y1 = boxes.T
    sides = [(x0, y0, x1, y0), (x0, y1, x1, y1), (x0, y0, x0, y1), (x1, y0, x1, y1)]
    return np.concatenate([np.stack(side, axis=1) for side in sides])


def _steps(points: Array) -> Array:
    """(n - 1, 4) the boxes around the segments between points (n, 2)."""
    return np.concatenate([np.minimum(points[:-1], points[1:]), np.maximum(points[:-1], points[1:])], axis=1)


def _segments(curves: dict[tuple[int, int], Array], end: float) -> tuple[Array, npt.NDArray[np.int64]]:
    """The boxes (s, 4) around the segments of curves, and the number (s,) of the curve each belongs to.

    The first and the last `end` pixels of a curve, and its head, belong to nobody: number -2.
    """
    boxes, owners = [np.zeros((0, 4))], [np.zeros(0, dtype=int)]
    for number, points in enumerate(curves.values()):
        boxes.append(_steps(points))
        along = np.concatenate([[0], np.hypot(*np.diff(points, axis=0).T).cumsum()])
        at_end = (along[:-1] < end) | (along[1:] > along[-1] - 4 * end)
        owners.append(np.where(at_end, -2, number))
    return np.concatenate(boxes), np.concatenate(owners)


def _grown(boxes: Array, margin: float) -> tuple[Array, Array]:
    """The two corners (n, 2) of boxes that are larger by a margin on each side."""
    return boxes[:, :2] - margin, boxes[:, 2:] + margin


def _touch(low: Array, high: Array, others_low: Array, others_high: Array) -> Marks:
    """(c, n) whether boxes overlap, those without area, too."""
    return np.asarray(
        (low[:, None, 0] < others_high[None, :, 0])
        & (high[:, None, 0] > others_low[None, :, 0])
        & (low[:, None, 1] < others_high[None, :, 1])
        & (high[:, None, 1] > others_low[None, :, 1])
    )


def _cross(start: Array, end: Array, boxes: Array) -> Marks:
    """(c, n) whether the line from start to end (c, 2) meets the inside of boxes (n, 4)."""
    step = (end - start)[:, None]
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    a, b = (boxes[None, :, :2] - start[:, None]) / step, (boxes[None, :, 2:] - start[:, None]) / step
    enters, leaves = np.minimum(a, b).max(axis=-1), np.maximum(a, b).min(axis=-1)
    return np.asarray((enters < leaves) & (leaves > 0) & (enters < 1))
