"""The scenes of the pictures in docs/evaluation.md, with their wrong triplets written down by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

Triplet = tuple[str, str, str]  # names: subject, predicate, object
Box = tuple[float, float, float, float]

CLASSES = ("person", "glass", "guitar")
PREDICATES = ("holds", "plays")


class Entity(NamedTuple):
    """An annotated or detected entity; its class is the first word of its name."""

    name: str
    box: Box
    named_below: bool = False  # in the picture

    @property
    def category(self) -> int:
        return CLASSES.index(self.name.split()[0])


@dataclass(frozen=True)
class Example:
    """An image, and the result of the definitions for it.

    Attributes:
        caption: text below the scene.
        kind: "instance" or "proximity", the kind of the cases in the picture.
        entities, relations: the annotation.
        wrong: case -> its wrong triplets.
        scores: a model's scores of the triplets of the cases; empty if the picture shows no scores.
        detections: entities that a detector found in sgdet.
        undetected: triplets of the cases that are not detected.
    """

    caption: str
    kind: str
    entities: Sequence[Entity]
    relations: Sequence[Triplet]
    wrong: Mapping[Triplet, Sequence[Triplet]]
    scores: Mapping[Triplet, float] = field(default_factory=dict)
    detections: Sequence[Entity] = ()
    undetected: Sequence[Triplet] = ()

    def rows(self, triplet: Triplet) -> tuple[int, int, int]:
        """(subject, object, predicate) as numbers."""
        names = [entity.name for entity in self.entities]
        subject, predicate, object = triplet
        return names.index(subject), names.index(object), PREDICATES.index(predicate)


_TABLE = (
    Entity("person", (16, 20, 66, 140)),
    Entity("glass 1", (170, 20, 192, 52)),
    Entity("glass 2", (210, 66, 232, 98)),
    Entity("glass 3", (170, 108, 192, 140)),
)
_HOLDS_1, _HOLDS_2, _HOLDS_3 = (("person", "holds", f"glass {i}") for i in (1, 2, 3))


INSTANCE = Example(
    "1 case, 2 wrong triplets: chance 1/3",
    "instance",
    _TABLE,
    [_HOLDS_1],
    {_HOLDS_1: [_HOLDS_2, _HOLDS_3]},
)


def _scored(caption: str, *scores: float) -> Example:
    score_of = dict(zip((_HOLDS_1, _HOLDS_2, _HOLDS_3), scores, strict=True))
    return replace(INSTANCE, caption=caption, scores=score_of)


RIGHT = _scored("right", 0.6, 0.3, 0.1)
CONFUSED = _scored("confused", 0.3, 0.2, 0.5)
TIE = _scored("half right, half confused", 0.4, 0.4, 0.1)

_BAND = [("person 1", "plays", "guitar 1"), ("person 2", "plays", "guitar 2")]
_CROSSED = [("person 1", "plays", "guitar 2"), ("person 2", "plays", "guitar 1")]
NEIGHBOURS = Example(
    "enclosing boxes share area: 2 cases",
    "proximity",
    (
        Entity("person 1", (16, 20, 56, 140)),
        Entity("guitar 1", (150, 40, 190, 65)),
        Entity("person 2", (264, 20, 304, 140)),
        Entity("guitar 2", (130, 105, 170, 130)),
    ),
    _BAND,
    {_BAND[0]: _CROSSED, _BAND[1]: _CROSSED},
)
APART = Example(
    "enclosing boxes apart: no case of this kind",
    "proximity",
    (
        Entity("person 1", (16, 20, 56, 140)),
        Entity("guitar 1", (120, 40, 160, 65)),
        Entity("person 2", (280, 20, 320, 140)),
        Entity("guitar 2", (176, 105, 216, 130)),
    ),
    _BAND,
    {},
)

ONE_GLASS = Example(
    "IoU 0.6: one glass, no case",
    "instance",
    (
        Entity("person", (16, 20, 66, 140)),
        Entity("glass 1", (160, 50, 192, 90)),
        Entity("glass 2", (160, 60, 192, 100), named_below=True),
    ),
    [_HOLDS_1],
    {},
)
TWO_GLASSES = Example(
    "IoU 1/3: two glasses, 1 case",
    "instance",
    (
        Entity("person", (16, 20, 66, 140)),
        Entity("glass 1", (160, 45, 192, 85)),
        Entity("glass 2", (160, 65, 192, 105), named_below=True),
    ),
    [_HOLDS_1],
    {_HOLDS_1: [_HOLDS_2]},
)

_FIRST, _SECOND = ("person 1", "holds", "glass 1"), ("person 2", "holds", "glass 2")
_SWAPPED = [("person 1", "holds", "glass 2"), ("person 2", "holds", "glass 1")]
DETECTED = Example(
    "glass 1 has no detection of IoU 0.5: 1 missed, 1 right",
    "instance",
    (
        Entity("person 1", (20, 20, 70, 140)),
        Entity("glass 1", (160, 24, 184, 56)),
        Entity("person 2", (346, 20, 396, 140)),
        Entity("glass 2", (232, 100, 256, 132), named_below=True),
    ),
    [_FIRST, _SECOND],
    {_FIRST: _SWAPPED, _SECOND: _SWAPPED},
    {_FIRST: 0.0, _SECOND: 0.6, _SWAPPED[0]: 0.2, _SWAPPED[1]: 0.0},
    (
        Entity("person", (16, 24, 66, 144)),
        Entity("person", (350, 24, 400, 144)),
        Entity("glass", (229, 97, 253, 129)),
        Entity("glass", (172, 36, 196, 68)),
    ),
    [_FIRST, _SWAPPED[1]],
)

# File name -> the scenes side by side in it.
PICTURES = {
    "confusion_instance.svg": (INSTANCE,),
    "confusion_proximity.svg": (NEIGHBOURS, APART),
    "confusion_same_entity.svg": (ONE_GLASS, TWO_GLASSES),
    "confusion_detections.svg": (DETECTED,),
    "confusion_scores.svg": (RIGHT, CONFUSED, TIE),
}
