"""Names of the files that an image gets in the output folder."""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from unicodedata import normalize

from reldn_d2.utils.inner_paths import short_file_name
from reldn_d2.utils.plain_text import visible

# Names that Windows gives to devices, with any ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)


def output_names(
    images: Sequence[Path],
    labels: Sequence[str] = (),
    kept: Mapping[str, str] | None = None,
    reserved: Collection[str] = (),
) -> list[str]:
    """A different name for every image: its stem, or more of its path if two images have the same.

    Names come from other people. Each is one that can be written on any system, that is not hidden and that
    stays in its folder; some signs become "_". They differ also where capital letters are not told from small
    ones. A name that is too long for a file system ends in a digest instead.

    Args:
        images: the images.
        labels: what each image is called elsewhere, such as its path below a folder; empty: its file name.
        kept: absolute path -> name of images that have their name already.
        reserved: names that no image gets, because other files are called so.
    """
    kept = kept or {}
    labels = labels or [image.name for image in images]
    names = [plain_name(image.stem) for image in images]
    longer: tuple[Callable[[Path, str], str], ...] = (
        lambda image, _: image.name,
        lambda _, label: label.lstrip("/"),
        lambda image, _: os.path.abspath(image).lstrip("/"),
    )
    for longer_name in longer:
        several = Counter(map(_compared, names))
        names = [
            plain_name(longer_name(image, label)) if several[_compared(name)] > 1 else name
            for image, label, name in zip(images, labels, names, strict=True)
        ]
    of_others = {_compared(name) for name in (*kept.values(), *reserved)}
    several = Counter(map(_compared, names))
    taken = of_others | {name for name, number in several.items() if number == 1}
    numbers = {name: count(1) for name in several}
    for i, image in enumerate(images):
        compared = _compared(names[i])
        if (absolute := os.path.abspath(image)) in kept:
            names[i] = kept[absolute]
        elif several[compared] > 1 or compared in of_others:
            numbered = (f"{names[i]}_{number}" for number in numbers[compared])
            names[i] = next(other for other in numbered if _compared(other) not in taken)
            taken.add(_compared(names[i]))
    return names


def plain_name(name: str) -> str:
    """A name that is one on every system, see `output_names`."""
    plain = visible(name).replace("\\", "_").replace("/", "_").strip(" .") or "_"
    return short_file_name(f"_{plain}" if _DEVICE.match(plain) else plain)


def _compared(name: str) -> str:
    """What two names share that are the same on some file system."""
    return normalize("NFC", normalize("NFC", name).casefold())
