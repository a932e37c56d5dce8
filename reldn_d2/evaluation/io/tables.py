"""Tables of many images in arrays: image i has the rows offsets[i]:offsets[i + 1] of every column.

Files of predictions and of annotations consist of such tables. The checks raise ValueError with a message
that names the file, the array and the remedy.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reldn_d2.structures.vocabulary import Vocabulary

Arrays = Mapping[str, npt.NDArray[Any]]
_Path = str | os.PathLike[str]

#: Kinds of numbers of a column (`dtype.kind`), and their name in messages.
INTEGERS, REAL_NUMBERS, TRUTH_VALUES = ("iu", "integers"), ("f", "float32 or float64"), ("b", "bool")
#: Array of the vocabulary -> the kind of classes in `Vocabulary`.
VOCABULARY = {"class_names": "thing_classes", "predicate_names": "predicate_classes"}


def table_arrays(
    table: str, columns: Mapping[str, Sequence[npt.NDArray[Any]]]
) -> dict[str, npt.NDArray[Any]]:
    """The columns and the offsets of a table.

    Args:
        table: name of the table.
        columns: name -> its rows in each image, and after them an array without rows, which gives the type
            of a table without images.

    Returns:
        "table_offsets" and the columns.
    """
    lengths = [len(rows) for rows in next(iter(columns.values()))[:-1]]
    arrays: dict[str, npt.NDArray[Any]] = {f"{table}_offsets": np.cumsum([0, *lengths], dtype=np.int64)}
    return arrays | {name: np.concatenate(parts) for name, parts in columns.items()}


def split_table(
    arrays: Arrays, table: str, columns: Sequence[str], images: slice = slice(None)
) -> list[list[npt.NDArray[Any]]]:
    """Split every column of a table, of all or of some consecutive images: image -> column -> its rows."""
    offsets = arrays[f"{table}_offsets"]
    first, stop, _ = images.indices(len(offsets) - 1)
    if first >= stop:
        return []
    starts = offsets[first : stop + 1]
    of_images = [arrays[name][starts[0] : starts[-1]] for name in columns]
    parts = [np.split(column, starts[1:-1] - starts[0]) for column in of_images]
    return [list(rows) for rows in zip(*parts, strict=True)]


def check_text(arrays: Arrays, name: str, path: _Path, remedy: str) -> None:
    """Check that an array is one text."""
    if arrays[name].shape != () or arrays[name].dtype.kind != "U":
        raise ValueError(f"{path}: '{name}' must be one text; {remedy}")


def check_image_ids(arrays: Arrays, path: _Path, remedy: str) -> int:
    """Check that the ids of images are text. Returns their number."""
    ids = arrays["image_id"]
    if ids.ndim != 1 or ids.dtype.kind != "U":
        raise ValueError(
            f"{path}: 'image_id' must be text of shape (N,), not {ids.dtype} of {ids.shape}; {remedy}"
        )
    return len(ids)


def check_table(arrays: Arrays, table: str, columns: Sequence[str], path: _Path, remedy: str) -> None:
    """Check that the offsets rise, and that every column has as many rows as they say."""
    num_images, offsets = len(arrays["image_id"]), arrays[f"{table}_offsets"]
    integers = offsets.shape == (num_images + 1,) and offsets.dtype.kind in "iu"
    if not integers or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise ValueError(
            f"{path}: '{table}_offsets' must rise from 0, in {num_images + 1} integers; {remedy}"
        )
    for name in columns:
        if arrays[name].shape[:1] != (offsets[-1],):
            raise ValueError(
                f"{path}: '{name}' has shape {arrays[name].shape}, but '{table}_offsets' ends at "
                f"{offsets[-1]}; {remedy}"
            )


def check_type(arrays: Arrays, name: str, kind: tuple[str, str], axes: int, path: _Path, remedy: str) -> None:
    """Check the kind of the numbers of an array (`INTEGERS`, ...), and its number of axes."""
    array, (kinds, wanted) = arrays[name], kind
    # the type of an empty array says nothing; float16 is too coarse for pixels
    other = array.dtype.kind not in kinds or array.dtype == np.float16
    if array.ndim != axes or (array.size and other):
        raise ValueError(
            f"{path}: '{name}' must be {wanted} (dimensions: {axes}), not {array.dtype} (dimensions: "
            f"{array.ndim}); {remedy}"
        )


def vocabulary_arrays(vocabulary: Vocabulary) -> dict[str, npt.NDArray[np.str_]]:
    """The names of classes and predicates as arrays of text."""
    return {name: np.array(vocabulary.names(kind), np.str_) for name, kind in VOCABULARY.items()}


def vocabulary_of(arrays: Arrays, path: _Path, remedy: str) -> Vocabulary | None:
    """The vocabulary of a file; None if the file does not have it.

    Raises:
        ValueError: the names are no text of one axis.
    """
    names = {kind: arrays[name] for name, kind in VOCABULARY.items() if name in arrays}
    for array in names.values():
        if array.ndim != 1 or array.dtype.kind != "U":
            raise ValueError(f"{path}: {' and '.join(VOCABULARY)} must be text of one axis; {remedy}")
    if not names:
        return None
    return Vocabulary(**{kind: names[kind].tolist() if kind in names else [] for kind in VOCABULARY.values()})
