"""Measures what a drawing of Matplotlib really shows: plates, arrows, leader lines, outlines and texts."""

from dataclasses import dataclass

import numpy as np
import pytest
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon, Rectangle

from reldn_d2.visualization.sheet import Sheet


@dataclass
class Drawn:
    """What is drawn, in pixels.

    Attributes:
        width, height: size of the sheet, with its panel.
        plates: (p, 4) boxes of the filled plates, as drawn with their rims.
        words: all texts, in drawing order.
        lines: points (n, 2) of arrows and leader lines, with their width in pixels.
        heads: (3, 2) corners of each head of an arrow.
        dots, outlines: (n, 4) boxes.
    """

    width: int
    height: int
    plates: np.ndarray
    words: list[str]
    lines: list[tuple[np.ndarray, float]]
    heads: list[np.ndarray]
    dots: np.ndarray
    outlines: np.ndarray

    def above(self, y: float) -> np.ndarray:
        """The plates that lie on the picture, which is `y` pixels high, and not in the panel below it."""
        return self.plates[self.plates[:, 1] < y]


def measured(sheet: Sheet) -> Drawn:
    """Reads the shapes from a sheet's figure."""
    found: dict[type, list[np.ndarray]] = {kind: [] for kind in (FancyBboxPatch, Circle, Rectangle)}
    lines, heads = [], []
    for patch in sheet._figure.artists:
        path = patch.get_patch_transform().transform_path(patch.get_path())
        for kind, boxes in found.items():
            if isinstance(patch, kind):
                box = path.get_extents().get_points().ravel()
                rim = patch.get_linewidth() / 2 * np.array([-1, -1, 1, 1])
                boxes.append(box + rim)
        if isinstance(patch, PathPatch):
            lines.append((path.vertices, patch.get_linewidth()))
        if isinstance(patch, Polygon):
            heads.append(path.vertices[:3])
    boxes = {kind: np.array(found[kind]).reshape(-1, 4) for kind in found}
    return Drawn(
        sheet.width,
        sheet.height,
        boxes[FancyBboxPatch],
        [text.get_text() for text in sheet._figure.texts],
        lines,
        heads,
        boxes[Circle],
        boxes[Rectangle],
    )


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> list[Drawn]:
    """Everything that would be put over an image or written as SVG; neither is done, which takes long."""
    seen: list[Drawn] = []
    monkeypatch.setattr(Sheet, "over", lambda sheet, image: seen.append(measured(sheet)) or image)
    monkeypatch.setattr(Sheet, "svg", lambda sheet, label: seen.append(measured(sheet)) or label)
    return seen


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) area in pixels that boxes share."""
    size = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    return np.clip(size, 0, None).prod(axis=-1)


def crossings(points: np.ndarray, width: float, boxes: np.ndarray) -> np.ndarray:
    """(n,) whether a line of a width, sampled twice a pixel, runs through boxes (n, 4)."""
    along = np.concatenate([[0], np.hypot(*np.diff(points, axis=0).T).cumsum()])
    at = np.linspace(0, along[-1], int(2 * along[-1]) + 2)
    sample = np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)[:, None]
    low, high = boxes[:, :2] - width / 2, boxes[:, 2:] + width / 2
    return ((sample > low) & (sample < high)).all(axis=-1).any(axis=0)
