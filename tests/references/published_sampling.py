"""The training pairs of the published code in plain loops, for tests.

Boxes are tuples of Python numbers, XYXY.
"""

from typing import NamedTuple

Box = tuple[float, float, float, float]
Edge = tuple[int, int]


class Scene(NamedTuple):
    """An image: its proposals, its annotated boxes and classes, and (subject, object, predicate) rows."""

    proposals: list[Box]
    annotated: list[Box]
    classes: list[int]
    relations: list[tuple[int, int, int]]

    def boxes(self) -> list[Box]:
        return self.proposals + self.annotated


def iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def candidates(scene: Scene, overlap_only: bool) -> list[Edge]:
    """Rows of `boxes()`: pairs of proposals, and then the annotated pairs."""
    pairs = []
    for a, first in enumerate(scene.proposals):
        for b, second in enumerate(scene.proposals):
            annotated = first in scene.annotated or second in scene.annotated
            if a != b and (not overlap_only or annotated or iou(first, second) > 0):
                pairs.append((a, b))
    start = len(scene.proposals)
    return pairs + sorted({(start + s, start + o) for s, o, _ in scene.relations})


def label(scene: Scene, pair: Edge) -> int | None:
    """The predicate of a pair; None: it is unrelated."""
    boxes = scene.boxes()
    best, found = 0.0, None
    for s, o, predicate in scene.relations:
        fit = min(iou(boxes[pair[0]], scene.annotated[s]), iou(boxes[pair[1]], scene.annotated[o]))
        if fit > best:
            best, found = fit, predicate
    return found if best >= 0.5 else None


def role_class(scene: Scene, row: int, role: int) -> int:
    """The class of a row of `boxes()` as subject (0) or object (1), in an image with relationships."""
    ends = [relation[role] for relation in scene.relations]
    overlaps = [iou(scene.boxes()[row], scene.annotated[end]) for end in ends]
    return scene.classes[ends[overlaps.index(max(overlaps))]]


def matches_role(scene: Scene, row: int, role: int) -> bool:
    """Whether a row of `boxes()` has an IoU of at least 0.5 with an annotated subject (0) or object (1)."""
    box = scene.boxes()[row]
    return any(iou(box, scene.annotated[relation[role]]) >= 0.5 for relation in scene.relations)
