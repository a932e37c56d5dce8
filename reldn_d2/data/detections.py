"""Precomputed detections: files of the entities that a detector found.

The file is a NumPy .npz of the detections of all images, one image after the other: `boxes` (K, 4) float32
XYXY in pixels of the original image, `scores` (K,) float32, `classes` (K,) int64, `image_ids` (N,) integers
or strings, `offsets` (N + 1,) int64 (image i has the rows offsets[i]:offsets[i + 1]),
`thing_classes` (C,) strings, `format_version` and optionally `made_by`, a text that names the detector.
"""

import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.system_errors import explained, is_of_the_system

FORMAT_VERSION = 1

_KEYS = ("boxes", "scores", "classes", "image_ids", "offsets", "thing_classes", "format_version")


def save_detections(
    path: str | os.PathLike[str],
    detections: Mapping[int | str, tuple[ArrayLike, ArrayLike, ArrayLike]],
    thing_classes: Sequence[str],
    *,
    made_by: str = "",
) -> None:
    """Write the detections of a data set to a file. An error leaves an existing file unchanged.

    Args:
        path: file to write; its ending is usually .npz.
        detections: image id -> (boxes (K, 4) XYXY in pixels of the original image, scores (K,) in [0, 1],
            classes (K,) in [0, C)). An image without detections has arrays of length 0.
        thing_classes: names of the C classes, in order.
        made_by: text that names the detector; `detections_made_by` returns it.

    Raises:
        ValueError: image ids have mixed types, arrays do not fit each other, or numbers are out of range.
    """
    ids = list(detections)
    if not (all(isinstance(i, str) for i in ids) or all(isinstance(i, int) for i in ids)):
        raise ValueError(f"{path}: image ids must be all integers or all strings.")
    boxes, scores, classes = [np.zeros((0, 4))], [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for image_id, arrays in detections.items():
        image_boxes, image_scores, image_classes = (np.asarray(a) for a in arrays)
        _check_image(path, image_id, image_boxes, image_scores, image_classes, len(thing_classes))
        boxes.append(image_boxes.reshape(-1, 4))
        scores.append(image_scores)
        classes.append(image_classes.astype(np.int64))
    with atomic_write(path) as stream:
        np.savez(
            stream,
            boxes=np.concatenate(boxes).astype(np.float32),
            scores=np.concatenate(scores).astype(np.float32),
            classes=np.concatenate(classes),
            image_ids=np.array(ids),
            offsets=np.cumsum([len(s) for s in scores], dtype=np.int64),
            thing_classes=np.array(list(thing_classes), dtype=np.str_),
            format_version=np.array(FORMAT_VERSION),
            made_by=np.array(made_by),
        )


def detections_made_by(path: str | os.PathLike[str]) -> str:
    """Read the text that names the detector of a detections file.

    Returns:
        The `made_by` that `save_detections` was given; empty if there was none or the file does not exist.

    Raises:
        ValueError: the file is not a detections file.
    """
    if not os.path.isfile(path):
        return ""
    return str(_read(path, optional="made_by").get("made_by", ""))


def load_detections_into_dataset(
    dataset_dicts: list[DatasetDict], path: str | os.PathLike[str], thing_classes: Sequence[str]
) -> list[DatasetDict]:
    """Copy the dataset dicts and add `"detections"`: {"boxes", "scores", "classes"} of the image.

    Args:
        dataset_dicts: the images; they are not modified.
        path: the detections file. It may hold other images too.
        thing_classes: names of the data set's classes, in order.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a detections file, has another format version or other classes, or lacks
            an image of the data set.
    """
    arrays = _read(path)
    if list(arrays["thing_classes"]) != list(thing_classes):
        raise ValueError(
            f"{path} was made for the classes {_truncate(arrays['thing_classes'])}, but the data set has "
            f"{_truncate(thing_classes)}. Detect again with a detector of the data set's classes."
        )
    position = {image_id: i for i, image_id in enumerate(arrays["image_ids"].tolist())}
    missing = [d["image_id"] for d in dataset_dicts if d["image_id"] not in position]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of {len(dataset_dicts)} images, the first being image_id "
            f"{missing[0]!r}. Write the detections of this data set and split; an image without detections "
            "needs an empty entry."
        )
    return [{**d, "detections": _of_image(arrays, position[d["image_id"]])} for d in dataset_dicts]


def _of_image(arrays: dict[str, NDArray[Any]], position: int) -> dict[str, NDArray[Any]]:
    rows = slice(arrays["offsets"][position], arrays["offsets"][position + 1])
    return {key: arrays[key][rows] for key in ("boxes", "scores", "classes")}


def _read(path: str | os.PathLike[str], optional: str = "") -> dict[str, NDArray[Any]]:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"Detections file {path} does not exist. Write it with save_detections.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in (*_KEYS, *({optional} & {*archive}))}
    # NumPy raises any of these, depending on the content of the file
    except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and is_of_the_system(error):
            raise explained(error, path) from error
        raise ValueError(
            f"{path} is not a complete detections file ({error}). Write it again with save_detections."
        ) from error
    if arrays["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {arrays['format_version']}; this release reads version "
            f"{FORMAT_VERSION}. Write it again with save_detections."
        )
    return arrays


def _check_image(
    path: str | os.PathLike[str],
    image_id: int | str,
    boxes: NDArray[Any],
    scores: NDArray[Any],
    classes: NDArray[Any],
    num_classes: int,
) -> None:
    count = len(scores)
    # an empty list of boxes has shape (0,)
    right_shapes = boxes.shape in ((count, 4), (0,)) and scores.shape == classes.shape == (count,)
    if not right_shapes or boxes.size != 4 * count:
        problem = f"boxes {boxes.shape}, scores {scores.shape}, classes {classes.shape} do not fit each other"
    elif not (np.isfinite(boxes).all() and ((scores >= 0) & (scores <= 1)).all()):
        problem = "a box is not finite or a score is not in [0, 1]"
    elif count and not (classes.dtype.kind in "iu" and ((classes >= 0) & (classes < num_classes)).all()):
        problem = f"a class is not an integer in [0, {num_classes})"
    else:
        return
    raise ValueError(
        f"{path}: detections of image_id {image_id!r}: {problem}. Give (K, 4) boxes, (K,) scores, (K,) "
        "classes."
    )


def _truncate(names: Sequence[str] | NDArray[Any]) -> str:
    return f"{len(names)} ({', '.join(map(str, names[:3]))}, ...)"
