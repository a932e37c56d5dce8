"""Loading annotations where the pictures are not there, as scoring of saved predictions does.

Within `without_pictures`, the loaders of VRD, of the authors' files and of OpenImages need no pictures. Their
files do not say the sizes of the images. A size then comes from a table of sizes, or from the picture if it
is there. The other loaders take the sizes from their files, or, where these lack them, need the pictures.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from reldn_d2.utils.csv_files import check_end, csv_rows
from reldn_d2.utils.refusals import refuse_one

#: Stands for the size of an image that is not known: no box reaches the end of the image.
NO_LIMIT = (2**31 - 1, 2**31 - 1)
# Pixels. Shares of a power of two are exact, and no box of interest is narrower than a pixel of it.
_FRAME = (2**20, 2**20)

_COLUMNS = ("image_id", "width", "height")
_OTHER_NAMES = {"ImageID": "image_id", "ImageId": "image_id", "Width": "width", "Height": "height"}


@dataclass
class KnownSizes:
    """The sizes of images that are known besides their pictures, and how many of them were used.

    Attributes:
        given: image id or file name -> width and height in pixels.
        frame: width and height that stand for an unknown size where boxes are shares; None: it is an error.
        used: number of images whose size was given.
        framed: number of images that have the size `frame`.
    """

    given: Mapping[str, tuple[int, int]]
    frame: tuple[int, int] | None
    used: int = 0
    framed: int = 0

    def of(self, file_name: str) -> tuple[int, int] | None:
        """Width and height of an image, whose id is the file name or the name without its ending."""
        return self.given.get(file_name) or self.given.get(Path(file_name).stem)


# What `without_pictures` sets; None: pictures are needed.
_KNOWN: ContextVar[KnownSizes | None] = ContextVar("known_sizes", default=None)


def known_sizes() -> KnownSizes | None:
    """What the block `without_pictures` knows; None outside of it, where missing pictures are errors."""
    return _KNOWN.get()


@contextmanager
def without_pictures(
    sizes: Mapping[str, tuple[int, int]] | None = None, *, shares: bool = False
) -> Iterator[KnownSizes]:
    """Within the block, loaders need no pictures. This is for scoring, not for training.

    Args:
        sizes: image id or file name -> width and height in pixels, see `read_image_sizes`. These pictures are
            not opened.
        shares: whether the predictions have boxes in shares of the image, as submissions have. Where the
            annotation has shares too, images of unknown size then get a common frame. Its pixels are not
            those of the image: only overlaps of continuous boxes (offset 0) are right.

    Example:
        Annotations of VRD whose pictures are not there:

        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from reldn_d2.data import load_vrd, without_pictures
        >>> from reldn_d2.data.datasets.vrd import OBJECT_CLASSES, PREDICATE_CLASSES
        >>> folder = Path(tempfile.mkdtemp(), "json_dataset")
        >>> folder.mkdir()
        >>> box = {"bbox": [1, 9, 1, 9], "category": 0}
        >>> relation = {"subject": box, "object": {"bbox": [1, 5, 4, 20], "category": 1}, "predicate": 0}
        >>> for name, content in (
        ...     ("objects", OBJECT_CLASSES), ("predicates", PREDICATE_CLASSES),
        ...     ("annotations_test", {"a.jpg": [relation]}),
        ... ):
        ...     _ = Path(folder, f"{name}.json").write_text(json.dumps(content))
        >>> with without_pictures({"a.jpg": (18, 12)}):
        ...     load_vrd(folder.parent, "test")[0]["annotations"].boxes.tolist()
        [[1.0, 1.0, 9.0, 9.0], [4.0, 1.0, 18.0, 5.0]]
    """
    known = KnownSizes(sizes or {}, _FRAME if shares else None)
    token = _KNOWN.set(known)
    try:
        yield known
    finally:
        _KNOWN.reset(token)


def read_image_sizes(path: str | os.PathLike[str]) -> dict[str, tuple[int, int]]:
    """Reads a CSV file of image sizes, with the columns image_id, width and height, in pixels.

    Args:
        path: file in UTF-8. It may have more columns, in any order. ImageID, Width and Height are read too.

    Returns:
        image id -> (width, height) of the upright picture.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is empty or may be cut off, a column is missing, a size is no whole number above
            0, or an image has two sizes. The message names file, line and image.
    """
    check_end(Path(path), "Write the file again")
    sizes: dict[str, tuple[int, int]] = {}
    for line, (image_id, width, height) in csv_rows(path, _COLUMNS, _OTHER_NAMES):
        where = f"line {line}, image {image_id}"
        if not all(side.isascii() and side.isdigit() and int(side) for side in (width, height)):
            problem = f"width {width!r} and height {height!r} must be whole numbers above 0"
            refuse_one(path, "size that is no number of pixels", where, problem, "Correct the line.")
        elif sizes.setdefault(image_id, (int(width), int(height))) != (int(width), int(height)):
            refuse_one(
                path, "image with two sizes", where, "an earlier line has another size", "Remove one of them."
            )
    return sizes
