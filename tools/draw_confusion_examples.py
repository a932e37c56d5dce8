#!/usr/bin/env python
"""Draws the pictures of the confusion metrics in docs/evaluation.md, from the scenes that the tests check.

    python -m tools.draw_confusion_examples    # writes docs/images/confusion_*.svg

A test checks that the pictures in the repository are these.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from reldn_d2.utils.io import atomic_write
from tests.builders.confusion_examples import PICTURES, Box, Entity, Example, Triplet

_IMAGES = Path(__file__).parents[1] / "docs" / "images"
_MARGIN, _CAPTION = 26, 24
_BOX, _RIGHT, _WRONG, _FOUND, _AROUND = "#57606a", "#1a7f37", "#cf222e", "#0969da", "#8c959f"
_STYLE = f"""\
text {{ font: 11px sans-serif }}
rect, path {{ fill: none; stroke-width: 1.5 }}
.paper {{ fill: white }}
rect.entity {{ stroke: {_BOX} }} text.entity {{ fill: {_BOX} }}
.found {{ stroke: {_FOUND} }}
.around {{ stroke: {_AROUND}; stroke-dasharray: 1 3 }}
path.right {{ stroke: {_RIGHT}; marker-end: url(#right) }} text.right {{ fill: {_RIGHT} }}
path.wrong {{ stroke: {_WRONG}; stroke-dasharray: 5 3; marker-end: url(#wrong) }} text.wrong {{ fill: {_WRONG} }}
.middle {{ text-anchor: middle }}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=_IMAGES, help="folder")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for name, examples in PICTURES.items():
        with atomic_write(folder / name) as stream:
            stream.write(picture(examples).encode())


def picture(examples: Sequence[Example]) -> str:
    """The SVG of some scenes side by side."""
    left, lines = 0.0, []
    for example in examples:
        width = max(entity.box[2] for entity in _boxes(example)) + _MARGIN
        lines += [f'<g transform="translate({left:g} 0)">', *_scene(example, width), "</g>"]
        left += width
    height = _ground(examples) + _CAPTION
    markers = (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" style="fill: {color}; stroke: none"/></marker>'
        for name, color in (("right", _RIGHT), ("wrong", _WRONG))
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left:g} {height:g}" width="{left:g}" height="{height:g}">',
            f"<style>\n{_STYLE}\n</style>",
            f"<defs>{''.join(markers)}</defs>",
            '<rect class="paper" width="100%" height="100%"/>',
            *lines,
            "</svg>\n",
        ]
    )


def _boxes(example: Example) -> list[Entity]:
    return [*example.entities, *example.detections]


def _ground(examples: Sequence[Example]) -> float:
    return max(entity.box[3] for example in examples for entity in _boxes(example))


def _scene(example: Example, width: float) -> Iterator[str]:
    box_of = {entity.name: entity.box for entity in example.entities}
    if example.kind == "proximity":
        for subject, _, object in example.relations:
            yield _rectangle(_enclosing(box_of[subject], box_of[object], margin=4), "around")
    for entity in example.entities:
        yield _rectangle(entity.box, "entity")
        bottom = entity.box[3] + 12 if entity.named_below else entity.box[1] - 7
        yield _text(entity.box[0], bottom, entity.name, "entity")
    for entity in example.detections:
        yield _rectangle(entity.box, "found")
    wrong = dict.fromkeys(triplet for triplets in example.wrong.values() for triplet in triplets)
    for style, triplets in (("wrong", wrong), ("right", example.relations)):
        for triplet in triplets:
            yield from _arrow(example, triplet, box_of, style)
    yield _text(width / 2, _ground([example]) + _CAPTION - 8, example.caption, "middle")


def _arrow(example: Example, triplet: Triplet, box_of: dict[str, Box], style: str) -> Iterator[str]:
    """From the edge of the subject to the edge of the object, with predicate and score."""
    subject, label, object = triplet
    start, end = _edge(box_of[subject], box_of[object]), _edge(box_of[object], box_of[subject])
    yield f'<path class="{style}" d="M{start[0]:.1f} {start[1]:.1f} {end[0]:.1f} {end[1]:.1f}"/>'
    if triplet in example.undetected:
        label += " –"
    elif example.scores:
        label += f" {example.scores[triplet]:g}"
    x, y, half = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2, 3.0 * len(label)
    yield _rectangle((x - half, y - 6, x + half, y + 6), "paper")
    yield _text(x, y + 4, label, f"{style} middle")


def _edge(box: Box, other: Box) -> tuple[float, float]:
    """Where the line from the middle of a box to the middle of another one leaves it."""
    (x, y), (other_x, other_y) = _middle(box), _middle(other)
    sides = abs(other_x - x) / (box[2] - box[0]), abs(other_y - y) / (box[3] - box[1])
    inside = 0.5 / max(sides)
    return x + inside * (other_x - x), y + inside * (other_y - y)


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _enclosing(a: Box, b: Box, margin: float) -> Box:
    low = min(a[0], b[0]) - margin, min(a[1], b[1]) - margin
    return *low, max(a[2], b[2]) + margin, max(a[3], b[3]) + margin


def _rectangle(box: Box, style: str) -> str:
    left, top, right, bottom = box
    return (
        f'<rect class="{style}" x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}"/>'
    )


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{text}</text>'


if __name__ == "__main__":
    main()
