"""What the name of a file says about it: an image, a list, a table or an archive of images."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ..images import picture_endings

_TABLES = (".parquet",)
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_LISTS = (".txt",)


class Kind(Enum):
    """What a file is read as."""

    IMAGE = "image"
    LIST = "list"
    TABLE = "table"
    ARCHIVE = "archive"


#: Files with many images.
PACKED = (Kind.TABLE, Kind.ARCHIVE)


def kind_of(name: str) -> Kind:
    """What a file of this name is read as. What has no known ending is read as an image."""
    lower = name.lower()
    endings = {Kind.LIST: _LISTS, Kind.TABLE: _TABLES, Kind.ARCHIVE: _ARCHIVES}
    return next((kind for kind, known in endings.items() if lower.endswith(known)), Kind.IMAGE)


def why_no_image(name: str) -> str | None:
    """Why what a list or a table names is no image: the end of a sentence; None if it may be one.

    An archive would be read for nothing, maybe from an address.
    """
    kind = kind_of(name)
    if kind is Kind.IMAGE:
        return None
    return f"is no image, but by its name one more {kind.value}: give it as --input"


def is_picture(name: str) -> bool:
    """Whether a name has an ending of pictures."""
    return os.path.splitext(name)[1].lower() in picture_endings()


def ending(name: str) -> str:
    """The ending of a name in lower case, for a message that counts them."""
    return os.path.splitext(name)[1].lower() or "without an ending"


@dataclass(frozen=True)
class Choice:
    """What is read of many files.

    Attributes:
        kind: what they are read as.
        chosen: their names, in the order in which they were given.
        skipped: in words -> number of files that are left out.
    """

    kind: Kind
    chosen: list[str]
    skipped: Counter[str]


def choose(names: Iterable[str]) -> Choice:
    """Chooses among the files of a folder or pattern: the pictures, or else tables, or else archives."""
    found: dict[Kind, list[str]] = {Kind.IMAGE: [], **{kind: [] for kind in PACKED}}
    endings = Counter[str]()
    for name in names:
        kind = kind_of(name)
        endings[ending(name)] += 1
        if kind in PACKED or is_picture(name):
            found[kind].append(name)
    kind = next((kind for kind, files in found.items() if files), Kind.IMAGE)
    endings.subtract(map(ending, found[kind]))
    return Choice(kind, found[kind], +endings)


def wanted(*, packed: bool) -> str:
    """The endings of images, for a message.

    Args:
        packed: whether tables and archives of images are read, too.
    """
    images = f"images end in {', '.join(sorted(picture_endings()))}"
    tables = f", tables of images in {_TABLES[0]}, archives in {', '.join(_ARCHIVES)}"
    return images + (tables if packed else "")
