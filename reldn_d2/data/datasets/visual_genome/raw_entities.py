"""The entities of raw Visual Genome: which records of its two files are the same one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .raw_files import EntityTable

logger = logging.getLogger(__name__)

# Of fewer ends of relationships, their share in no object says nothing.
_FEWEST_ENDS = 20


@dataclass(frozen=True)
class Entities:
    """Entities of all images, those of objects.json first.

    Attributes:
        image: (E,) int64 image ids.
        ids: (E,) int64 object ids.
        names: (E,) int64 codes of the names.
        boxes: (E, 4) float64 x, y, width and height, as given.
        num_objects: how many are from objects.json.
        ends: (R, 2) int64, subject and object of each relationship as rows of this table.
    """

    image: NDArray[np.int64]
    ids: NDArray[np.int64]
    names: NDArray[np.int64]
    boxes: NDArray[np.float64]
    num_objects: int
    ends: NDArray[np.int64]

    def describe(self, row: int) -> str:
        """How messages name an entity."""
        file_name = "objects.json" if row < self.num_objects else "relationships.json"
        return f"{file_name}: image {self.image[row]}, object {self.ids[row]}"


def join_entities(
    objects: EntityTable, ends: EntityTable, objects_file: str, relationships_file: str
) -> Entities:
    """Give each end of a relationship its entity.

    What an id stands for in its image is decided by the first of these that there is: the first object of this id, an
    object that the id was merged into, the first end of this id.

    Args:
        objects: records of objects.json.
        ends: records of relationships.json: subject and object of each relationship in turn.
        objects_file, relationships_file: name the files in messages.

    Raises:
        ValueError: more than half of the ends, and of at least 20, are in no object.
    """
    count = len(objects.ids)
    own = pd.DataFrame({"image": _joined(objects.image, ends.image), "id": _joined(objects.ids, ends.ids)})
    own["row"] = np.arange(len(own))
    described, named = own[:count], own[count:]
    _warn_of_repeated_ids(described, objects_file)
    rows = np.asarray(objects.merged_rows)
    merged = pd.DataFrame(
        {"image": own["image"].to_numpy()[rows], "id": np.asarray(objects.merged), "row": rows}
    )
    stands_for = pd.concat([described, merged, named]).drop_duplicates(["image", "id"])
    end_rows = named[["image", "id"]].merge(stands_for, how="left", on=["image", "id"])["row"].to_numpy()
    _report_unknown_ends(named[end_rows >= count], len(named), objects_file, relationships_file)
    kept = np.union1d(np.arange(count), end_rows)
    return Entities(
        image=own["image"].to_numpy()[kept],
        ids=own["id"].to_numpy()[kept],
        names=_joined(objects.names, ends.names)[kept],
        boxes=np.concatenate([objects.boxes, ends.boxes]).reshape(-1, 4)[kept],
        num_objects=count,
        ends=np.searchsorted(kept, end_rows).reshape(-1, 2),
    )


def _joined(first: Sequence[int], second: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([first, second], dtype=np.int64)


def _warn_of_repeated_ids(described: pd.DataFrame, source: str) -> None:
    repeated = described[described.duplicated(["image", "id"])]
    if len(repeated):
        logger.warning(
            "%s: %d objects have the id of an earlier object of their image, the first being object %d of image %d. All "
            "are kept; relationships of the id are those of the earlier one.",
            source, len(repeated), repeated["id"].iloc[0], repeated["image"].iloc[0],
        )  # fmt: skip


def _report_unknown_ends(
    unknown: pd.DataFrame, count: int, objects_file: str, relationships_file: str
) -> None:
    """Tell how many of all `count` ends are in no object; most of them are a sign of files that don't fit together."""
    if unknown.empty:
        return
    problem = (
        f"{relationships_file}: {len(unknown)} of {count} relationship ends are in no object of {objects_file}, the "
        f"first being object {unknown['id'].iloc[0]} of image {unknown['image'].iloc[0]}"
    )
    if count >= _FEWEST_ENDS and 2 * len(unknown) > count:
        raise ValueError(
            f"{problem}. The files are probably of different releases, or one has its images under wrong ids: use "
            "both of the same release."
        )
    logger.warning("%s. Each id of them is one more entity.", problem)
