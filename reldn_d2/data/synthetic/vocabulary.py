"""Entity classes, predicates and splits of the drawn scenes, and the generator's version."""

from enum import IntEnum

GENERATOR_VERSION = 1
"""Part of every scene's random seed and of the cache folder's name; raised whenever any scene changes."""

IMAGE_SIZE = 192
"""Height and width of every scene, in pixels."""

SPLITS = {"train": 0, "test": 1}
"""Split names and the number that each one puts into the random seed."""


class Category(IntEnum):
    """Entity classes; the value is the `category_id` of an annotation."""

    PERSON = 0
    CUP = 1
    GUITAR = 2
    TABLE = 3
    HAT = 4
    BOX = 5


class Predicate(IntEnum):
    """Predicates; the value is the third column of `relations`."""

    AT = 0
    ON = 1
    HOLDS = 2
    PLAYS = 3
    WEARS = 4
    INSIDE_OF = 5
    UNDER = 6


THING_CLASSES = [category.name.lower() for category in Category]
PREDICATE_CLASSES = [predicate.name.lower().replace("_", " ") for predicate in Predicate]
