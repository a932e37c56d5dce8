"""VRD's annotation files, without the images."""

import json
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..annotations import Annotations
from ..dataset_dicts import DatasetDict
from .vrd_classes import OBJECT_CLASSES, PREDICATE_CLASSES

# (xmin, ymin, xmax, ymax), class
Entity = tuple[tuple[float, float, float, float], int]


def read_json(path: str | os.PathLike[str]) -> Any:
    """
    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or an object with the same key twice.
    """
    try:
        with Path(path).open(encoding="utf-8") as stream:
            return json.load(stream, object_pairs_hook=_without_repeated_keys)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"VRD annotation file {path} does not exist. Check DETECTRON2_DATASETS and unpack VRD as "
            "datasets/README.md shows."
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Unpack the official file again.") from error


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
    content = read_json(json_file)
    if not isinstance(content, dict):
        raise ValueError(f"{json_file} is not an object of image names. Use VRD's annotations_*.json.")
    return [_image(Path(json_file), name, records) for name, records in content.items()]


def _image(json_file: Path, name: str, records: Any) -> DatasetDict:
    if not isinstance(records, list):
        _fail(json_file, name, "its value is not a list of relationships", "An image without any has [].")
    rows: dict[Entity, int] = {}
    relations = []
    for index, record in enumerate(records):
        where = f"{name}, relationship {index}"
        try:
            subject, object, predicate = record["subject"], record["object"], record["predicate"]
        except (KeyError, TypeError):
            _fail(json_file, where, f"{record!r} lacks subject, object or predicate", "Each needs all three.")
        ends = [_entity(json_file, where, end) for end in (subject, object)]
        _check_class(json_file, where, "predicate", predicate, len(PREDICATE_CLASSES))
        relations.append((*(rows.setdefault(entity, len(rows)) for entity in ends), predicate))
    return {
        "file_name": name,
        "image_id": name,
        "annotations": Annotations([box for box, _ in rows], [category for _, category in rows]),
        "relations": np.array(relations, dtype=np.int64).reshape(-1, 3),
    }


def _entity(json_file: Path, where: str, end: Any) -> Entity:
    try:
        category, (top, bottom, left, right) = end["category"], map(float, end["bbox"])
    except (KeyError, TypeError, ValueError):
        _fail(json_file, where, f"{end!r} has no category or no box of four numbers", "Give both.")
    _check_class(json_file, where, "category", category, len(OBJECT_CLASSES))
    # written so that NaN fails too
    if not (top <= bottom < float("inf") and left <= right < float("inf") and min(top, left) > float("-inf")):
        problem = f"the box {end['bbox']} is not in the order [ymin, ymax, xmin, xmax] or not finite"
        _fail(json_file, where, problem, "Correct the box; VRD's order is not that of COCO.")
    return (left, top, right, bottom), category


def _check_class(json_file: Path, where: str, kind: str, number: Any, count: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
        _fail(json_file, where, f"{kind} {number!r} is not in [0, {count})", "VRD's classes count from 0.")


def _fail(json_file: Path, where: str, problem: str, remedy: str) -> NoReturn:
    raise ValueError(f"{json_file}: image {where}: {problem}. {remedy}")


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated!r} occurs twice")
    return found
