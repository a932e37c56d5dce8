"""Files of what protocols found in the images of a part: the finished parts of an evaluation.

An .npz file of arrays (see `utils.array_files`):

    identity        text, JSON: name -> text, what the records depend on
    part            number of the part
    image_id        (N,) text, ascending
    related         (N,) bool, whether an image has an annotated relationship
    confusable      (N,) bool, whether it has a confusable case; missing if nobody asks
    repeats         (2,) int, number of triplets that repeat a better one, and number of all triplets
    PROTOCOL/NAME   the columns of each protocol, see `columns`
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reldn_d2.utils.array_files import array_names, read_arrays, read_some_arrays, write_arrays
from reldn_d2.utils.shards import ShardHeader

from ..columns import Columns
from ..graphs import BoolArray, IntArray

_PATTERN = "part-*.npz"
_REMEDY = "delete it"
_WHAT = "file of records"
_REQUIRED = ("identity", "part", "image_id", "related", "repeats")


@dataclass(frozen=True)
class PartRecords:
    """What protocols found in the images of a part.

    Attributes:
        image_ids: (N,) text, ascending.
        related: (N,) bool, whether an image has an annotated relationship.
        confusable: (N,) bool, whether an image has a confusable case; None if nobody asks.
        repeats: (2,) int, number of triplets that repeat a better one of their image, and of all triplets.
        columns: name of a protocol -> its columns.
    """

    image_ids: npt.NDArray[np.str_]
    related: BoolArray
    confusable: BoolArray | None
    repeats: IntArray
    columns: Mapping[str, Columns]


class RecordFiles:
    """The type of these files, see `ShardKind`."""

    pattern = _PATTERN

    def read_header(self, path: Path) -> ShardHeader:
        """Reads a whole file, compares it with its digest, and returns identity and number of the part.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no complete file of records.
        """
        arrays = read_arrays(path, _REQUIRED, what=_WHAT, remedy=_REMEDY)
        try:
            identity = {str(name): str(text) for name, text in json.loads(str(arrays["identity"])).items()}
            return ShardHeader(identity, [(int(arrays["part"]),)])
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a complete {_WHAT} ({error}); {_REMEDY}") from error


def save_records(folder: Path, number: int, identity: Mapping[str, str], records: PartRecords) -> None:
    """Write the records of a part in one step.

    Args:
        folder: folder of the records.
        number: number of the part.
        identity: what the records depend on.
        records: the records.

    Raises:
        OSError: the file can't be written.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        "identity": np.array(json.dumps({**identity})),
        "part": np.array(number),
        "image_id": records.image_ids,
        "related": records.related,
        "repeats": records.repeats,
    }
    if records.confusable is not None:
        arrays["confusable"] = records.confusable
    for protocol, columns in records.columns.items():
        arrays |= {f"{protocol}/{name}": column for name, column in columns.items()}
    write_arrays(records_path(folder, number), arrays)


def records_path(folder: Path, number: int) -> Path:
    """The file with the records of a part."""
    return folder / f"part-{number:06}.npz"


class SavedColumns(Mapping[str, npt.NDArray[Any]]):
    """The columns of a protocol in a file of records. Each is read when it is asked for, and not kept."""

    def __init__(self, path: Path, protocol: str) -> None:
        """Takes a file of records and the name of a protocol. Reads nothing yet."""
        self._path, self._prefix = path, f"{protocol}/"

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Reads a column."""
        return read_some(self._path, f"{self._prefix}{name}")[0]

    def __iter__(self) -> Iterator[str]:
        """The names of the columns."""
        for name in array_names(self._path):
            if name.startswith(self._prefix):
                yield name.removeprefix(self._prefix)

    def __len__(self) -> int:
        """Number of columns."""
        return sum(1 for _ in self)


def read_some(path: Path, *names: str) -> list[npt.NDArray[Any]]:
    """Some arrays of a file of records, without comparing its digest.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
        KeyError: it has no such array.
    """
    arrays, _ = read_some_arrays(path, names, what=_WHAT, remedy=_REMEDY)
    return [arrays[name] for name in names]
