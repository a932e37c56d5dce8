#!/usr/bin/env python
"""Draws the pictures of the confusion metrics in docs/evaluation.md, from the scenes that the tests check.

    python -m tools.draw_confusion_examples    # writes docs/images/confusion_*.svg

A test checks that the repository holds these pictures. `confusion_examples.svg.jinja` is their markup.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reldn_d2.utils.io import atomic_write
from tests.builders.confusion_examples import PICTURES, Box, Example, Triplet

_TOOLS = Path(__file__).parent
_IMAGES = _TOOLS.parent / "docs" / "images"
# Pixels to the right of a scene, and below it for its caption.
_MARGIN, _CAPTION = 26, 24
_TEMPLATES = Environment(
    loader=FileSystemLoader(_TOOLS),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=_IMAGES, help="folder for the pictures")
    folder: Path = parser.parse_args().output
    for name, examples in PICTURES.items():
        with atomic_write(folder / name) as stream:
            stream.write(picture(examples).encode())


def picture(examples: Sequence[Example]) -> str:
    """The SVG of some scenes side by side."""
    left, scenes = 0.0, []
    for example in examples:
        boxes = _boxes(example)
        width = max(box[2] for box in boxes) + _MARGIN
        caption_place = (width / 2, max(box[3] for box in boxes) + _CAPTION - 8)
        scenes.append(
            {
                "left": left,
                "pairs": _neighbours(example),
                "entities": example.entities,
                "detections": example.detections,
                "arrows": list(_arrows(example)),
                "caption": example.caption,
                "caption_place": caption_place,
            }
        )
        left += width
    height = max(box[3] for example in examples for box in _boxes(example)) + _CAPTION
    template = _TEMPLATES.get_template("confusion_examples.svg.jinja")
    return template.render(width=left, height=height, scenes=scenes)


def _boxes(example: Example) -> list[Box]:
    return [entity.box for entity in (*example.entities, *example.detections)]


def _neighbours(example: Example) -> list[Box]:
    """The boxes around the pairs of a proximity case; none for other cases."""
    box_of = {entity.name: entity.box for entity in example.entities}
    pairs = [(box_of[subject], box_of[object]) for subject, _, object in example.relations]
    return [_enclosing(*pair, margin=4) for pair in pairs] if example.kind == "proximity" else []


def _arrows(example: Example) -> Iterator[dict[str, Any]]:
    """An arrow for each triplet, from the edge of its subject to the edge of its object; right ones last."""
    box_of = {entity.name: entity.box for entity in example.entities}
    wrong = dict.fromkeys(triplet for triplets in example.wrong.values() for triplet in triplets)
    for style, triplets in (("wrong", wrong), ("right", example.relations)):
        for triplet in triplets:
            subject, _, object = triplet
            start, end = _edge(box_of[subject], box_of[object]), _edge(box_of[object], box_of[subject])
            label = _label(example, triplet)
            x, y, half = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2, 3.0 * len(label)
            yield {
                "style": style,
                "start": start,
                "end": end,
                "plate": (x - half, y - 6, x + half, y + 6),
                "label": label,
                "text_place": (x, y + 4),
            }


def _label(example: Example, triplet: Triplet) -> str:
    """The predicate and its score; a dash if the detections do not give the triplet."""
    if triplet in example.undetected:
        return f"{triplet[1]} –"
    return f"{triplet[1]} {example.scores[triplet]:g}" if example.scores else triplet[1]


def _edge(box: Box, other: Box) -> tuple[float, float]:
    """The point where the line from the middle of a box to the middle of another one leaves the box."""
    (x, y), (other_x, other_y) = _middle(box), _middle(other)
    sides = abs(other_x - x) / (box[2] - box[0]), abs(other_y - y) / (box[3] - box[1])
    inside = 0.5 / max(sides)
    return x + inside * (other_x - x), y + inside * (other_y - y)


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _enclosing(a: Box, b: Box, margin: float) -> Box:
    low = min(a[0], b[0]) - margin, min(a[1], b[1]) - margin
    return *low, max(a[2], b[2]) + margin, max(a[3], b[3]) + margin


if __name__ == "__main__":
    main()
