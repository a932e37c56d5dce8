"""What protocols find in many images, as a few arrays that a file holds without pickle.

The columns of some images are a mapping of names to arrays. Two kinds of names say what a row is:

    images/NAME    one row for each image
    TABLE/NAME     one row for each entry of a table, in any order
    TABLE/image    int, the image of each row of the table, from 0

So the columns of a subset of the images can be chosen without knowing the protocol. Integers have the
smallest type that holds them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from .graphs import BoolArray, IntArray

Columns = Mapping[str, npt.NDArray[Any]]


def compact(values: IntArray) -> IntArray:
    """Integers that are not negative, in the smallest unsigned type that holds them."""
    return np.ascontiguousarray(values, dtype=np.min_scalar_type(int(values.max(initial=0))))


def image_of_rows(counts: Sequence[int]) -> IntArray:
    """The column `TABLE/image` of a table that has `counts[i]` rows of image i, image after image."""
    return compact(np.repeat(np.arange(len(counts)), np.array(counts, dtype=np.int64)))


def rows_per_image(image: IntArray, num_images: int) -> npt.NDArray[np.int32]:
    """(N,) number of rows of each image in a column `TABLE/image`.

    The numbers of all images are kept, so they have four bytes, and not eight.
    """
    return np.bincount(image, minlength=num_images).astype(np.int32)


def chosen_images(columns: Columns, chosen: BoolArray) -> dict[str, npt.NDArray[Any]]:
    """The columns of some of the images, which are numbered anew. The order of rows stays.

    Args:
        columns: columns of N images.
        chosen: (N,) bool.
    """
    number = np.cumsum(chosen) - 1
    kept = {}
    for name, values in columns.items():
        table, _, column = name.rpartition("/")
        rows = values[chosen if table == "images" else chosen[columns[f"{table}/image"]]]
        kept[name] = number[rows].astype(values.dtype) if column == "image" else rows
    return kept


class ChosenParts(Sequence[Columns]):
    """Consecutive parts of a split, without the images that are not chosen. A part is read when asked for."""

    def __init__(self, parts: Sequence[Columns], chosen: Sequence[BoolArray]) -> None:
        """Reads nothing yet.

        Args:
            parts: columns of each part.
            chosen: (N,) bool for each part with N images.
        """
        self._parts, self._chosen = parts, chosen

    def __len__(self) -> int:
        """Number of parts."""
        return len(self._parts)

    @overload
    def __getitem__(self, index: int) -> Columns: ...

    @overload
    def __getitem__(self, index: slice) -> "ChosenParts": ...

    def __getitem__(self, index: int | slice) -> "Columns | ChosenParts":
        """The chosen images of one part, or some of the parts."""
        if isinstance(index, slice):
            return ChosenParts(self._parts[index], self._chosen[index])
        return chosen_images(self._parts[index], self._chosen[index])
