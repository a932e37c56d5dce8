"""VRD's annotation files, without the images."""

import os
from pathlib import Path

from reldn_d2.structures.dataset_dicts import DatasetDict

from .relationship_lists import ListedFile, listed_relationships
from .vrd_classes import OBJECT_CLASSES, PREDICATE_CLASSES


def parse_vrd_annotations(json_file: str | os.PathLike[str]) -> list[DatasetDict]:
    """One dict per listed image, in the order of the file, images without relationships included.

    Returns:
        Dicts with `file_name` (as listed, without folder), `image_id` (the same string), `annotations`
        (XYXY_ABS with the numbers as given) and `relations` (R, 3) int64. `height` and `width` are not in the
        file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a record that is not VRD's; the message names file, image and relationship.
    """
    file = ListedFile(
        Path(json_file),
        "VRD's annotations_*.json",
        "[ymin, ymax, xmin, xmax]",
        len(OBJECT_CLASSES),
        len(PREDICATE_CLASSES),
    )
    return listed_relationships(file)
