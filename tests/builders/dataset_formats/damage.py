"""Kinds of damage, and the possible outcomes for a data set that has one."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any


class Damage(Enum):
    """An error in the first image, in one of its records, or in a file."""

    NONE = auto()
    ONE_BOX = auto()  # the image has a single entity and no relationship between two
    BOX_OUTSIDE = auto()  # a box sticks out of the image
    BOX_ORDER = (
        auto()
    )  # the far corner of a box comes before the near one (a negative size, where sizes are given)
    BOX_NOT_FINITE = auto()
    DANGLING_ID = auto()  # a relationship names a missing entity, or a record a missing image
    UNKNOWN_CLASS = auto()
    UNKNOWN_PREDICATE = auto()
    SELF_RELATION = auto()
    REPEATED_RELATION = auto()
    UNREADABLE_IMAGE = auto()  # the file holds text
    MISSING_IMAGE = auto()
    CUT_OFF = auto()  # the annotation file ends in the middle
    NO_FILE = auto()


@dataclass(frozen=True)
class Refused:
    """Loading raises ValueError or FileNotFoundError. The pattern names file, record and remedy."""

    pattern: str


@dataclass(frozen=True)
class Counted:
    """Loading continues and logs a message that matches the pattern: official files have such records."""

    pattern: str


@dataclass(frozen=True)
class Loads:
    """The loader keeps the record. `check_dataset` finds a problem of this kind (None: no problem)."""

    problem: str | None


@dataclass(frozen=True)
class Format:
    """A format and the outcome of each kind of damage that it can have.

    Attributes:
        name: name in test ids.
        write: writes three images with at least two entities and one relationship each below a folder, the
            first one damaged.
        load: reads the written images.
        num_classes: number of entity classes of the written data.
        num_predicates: number of predicates of the written data.
        outcomes: kind of damage -> outcome.
    """

    name: str
    write: Callable[[Path, Damage], None]
    load: Callable[[Path], list[dict[str, Any]]]
    num_classes: int
    num_predicates: int
    outcomes: dict[Damage, Refused | Counted | Loads]
