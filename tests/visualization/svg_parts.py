"""Reads texts and paths from an SVG of the package."""

import re
from xml.etree import ElementTree

import numpy as np

SVG = "{http://www.w3.org/2000/svg}"


def texts_of(markup: str) -> list[str]:
    """All texts, in drawing order."""
    return [node.text or "" for node in ElementTree.fromstring(markup).iter(f"{SVG}text")]


def paths_of(markup: str, *style: str) -> list[np.ndarray]:
    """(n, 2) corners of each opaque path that has these properties in its style, in drawing order."""
    paths = []
    for path in ElementTree.fromstring(markup).iter(f"{SVG}path"):
        properties = path.attrib.get("style", "").split("; ")
        if {*style} <= {*properties} and "opacity: 0.55" not in properties:
            numbers = re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", path.attrib["d"])
            paths.append(np.array(numbers, dtype=float).reshape(-1, 2))
    return paths


def extent(points: np.ndarray) -> tuple[float, float, float, float]:
    """The box (x0, y0, x1, y1) around some points."""
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)
