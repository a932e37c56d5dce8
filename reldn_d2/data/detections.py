"""Precomputed detections: files of the entities that a detector found.

The file is a NumPy .npz of the detections of all images, one image after the other: `boxes` (K, 4) float32
XYXY in pixels of the original image, `scores` (K,) float32, `classes` (K,) int64, `image_ids` (N,) integers
or strings, `offsets` (N + 1,) int64 (image i has the rows offsets[i]:offsets[i + 1]),
`thing_classes` (C,) strings, `format_version`; optionally `made_by`, a text that names the detector,
`detector_weights`, a digest of its weights alone, and `dataset_name`, the data set whose pictures it saw; and
`sha256`, the digest of all others, which files of earlier releases lack (see `utils.array_files`).

Everything is checked when a file is written and when it is read. A box may stick out of its image by 2
pixels, or by 1 % of the image's side if that is more, since not every detector rounds and clips in the same
way.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reldn_d2.structures.dataset_dicts import DatasetDict
from reldn_d2.utils.array_files import read_arrays, write_arrays

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1

# Name -> kinds of its dtype (see `numpy.dtype.kind`) and the smallest size of an item in bytes.
_KEYS = {
    "boxes": ("f", 4),  # float16 is too coarse for pixels
    "scores": ("f", 4),
    "classes": ("iu", 1),
    "image_ids": ("iuU", 1),
    "offsets": ("iu", 1),
    "thing_classes": ("U", 1),
}
_REMEDY = "delete it, and write it again with save_detections or `reldn cache-detections`"
# How far a box may stick out of its image: pixels, and a share of the side.
_OUTSIDE_PIXELS, _OUTSIDE_SHARE = 2.0, 0.01


def save_detections(
    path: str | os.PathLike[str],
    detections: Mapping[int | str, tuple[ArrayLike, ArrayLike, ArrayLike]],
    thing_classes: Sequence[str],
    *,
    made_by: str = "",
    detector_weights: str = "",
    dataset_name: str = "",
) -> None:
    """Write the detections of a data set to a file. An error leaves an existing file unchanged.

    Args:
        path: file to write; its ending is usually .npz.
        detections: image id -> (boxes (K, 4) XYXY in pixels of the original image, scores (K,) in [0, 1],
            classes (K,) in [0, C)). An image without detections has arrays of length 0.
        thing_classes: names of the C classes, in order.
        made_by: text that names the detector; `detections_made_by` returns it.
        detector_weights: digest of the detector's weights, for `detector_weights_of`.
        dataset_name: name of the data set, which `load_detections_into_dataset` compares.

    Raises:
        ValueError: image ids have mixed types, arrays do not fit each other, or numbers are out of range.
    """
    ids = list(detections)
    image_ids = np.array(ids)
    # integers that int64 can't hold become other types
    if ids and not (all(isinstance(i, str) for i in ids) or image_ids.dtype.kind in "iu"):
        raise ValueError(f"{path}: image ids must be all integers or all strings.")
    boxes, scores, classes = [np.zeros((0, 4))], [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for image_id, arrays in detections.items():
        image_boxes, image_scores, image_classes = _arrays_of_image(
            path, image_id, arrays, len(thing_classes)
        )
        boxes.append(image_boxes.reshape(-1, 4))
        scores.append(image_scores)
        classes.append(image_classes.astype(np.int64))
    content: dict[str, NDArray[Any]] = {
        "boxes": np.concatenate(boxes).astype(np.float32),
        "scores": np.concatenate(scores).astype(np.float32),
        "classes": np.concatenate(classes),
        "image_ids": image_ids,
        "offsets": np.cumsum([len(s) for s in scores], dtype=np.int64),
        "thing_classes": np.array(list(thing_classes), dtype=np.str_),
        "format_version": np.array(FORMAT_VERSION),
        "made_by": np.array(made_by),
        "detector_weights": np.array(detector_weights),
        "dataset_name": np.array(dataset_name),
    }
    _check_values(path, content)
    write_arrays(path, content)


def detections_made_by(path: str | os.PathLike[str]) -> str:
    """Read the text that names the detector of a detections file.

    Returns:
        The `made_by` that `save_detections` was given; empty if there was none or the file does not exist.

    Raises:
        ValueError: the file is not a detections file.
    """
    if not os.path.isfile(path):
        return ""
    return str(_read(path).get("made_by", ""))


def detector_weights_of(path: str | os.PathLike[str]) -> str:
    """Read the digest of the weights that made a detections file. The boxes are not read.

    Returns:
        The `detector_weights` that `save_detections` was given; empty if there were none.

    Raises:
        FileNotFoundError, ValueError: see `load_detections_into_dataset`, which should have read the file.
    """
    with np.load(path, allow_pickle=False) as archive:
        return str(archive["detector_weights"]) if "detector_weights" in archive else ""


def load_detections_into_dataset(
    dataset_dicts: list[DatasetDict],
    path: str | os.PathLike[str],
    thing_classes: Sequence[str],
    dataset_name: str = "",
) -> list[DatasetDict]:
    """Copy the dataset dicts and add `"detections"`: {"boxes", "scores", "classes"} of the image.

    Ids alone tell which image is which, and those of most data sets begin at 0 or 1. So a warning says that a
    file was made for another data set.

    Args:
        dataset_dicts: the images; they are not modified.
        path: the detections file. It may hold other images too.
        thing_classes: names of the data set's classes, in order.
        dataset_name: name of the data set; empty if it has none.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not a detections file, is damaged or was changed, has another format version
            or other classes, lacks an image of the data set, or has boxes outside of their image. Boxes are
            compared with the images whose dict has "width" and "height".
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
        _refuse_other_kind_of_ids(path, arrays["image_ids"], [d["image_id"] for d in dataset_dicts])
        raise ValueError(
            f"{path} lacks {len(missing)} of {len(dataset_dicts)} images, the first being image_id "
            f"{missing[0]!r}. Write the detections of this data set and split; an image without detections "
            "needs an empty entry."
        )
    _check_places(path, arrays, dataset_dicts, position)
    made_for = str(arrays.get("dataset_name", ""))
    if made_for and dataset_name and made_for != dataset_name:
        logger.warning(
            "%s was made for data set %s and is read for %s. That is right only if the same image_id means "
            "the same picture in both: otherwise name the detections of %s",
            path, made_for, dataset_name, dataset_name,
        )  # fmt: skip
    return [{**d, "detections": _of_image(arrays, position[d["image_id"]])} for d in dataset_dicts]


def _refuse_other_kind_of_ids(
    path: str | os.PathLike[str], of_file: NDArray[Any], of_data: Sequence[int | str]
) -> None:
    """Raises ValueError if a file has strings as image ids where the data set has integers, or vice versa."""
    are_texts = of_file.dtype.kind == "U"
    if not len(of_file) or any(isinstance(image_id, str) == are_texts for image_id in of_data):
        return
    kinds = ("strings", "integers") if are_texts else ("integers", "strings")
    raise ValueError(
        f"{path} has {kinds[0]} as image ids, such as {of_file[0].item()!r}, but the data set has "
        f"{kinds[1]}, such as {of_data[0]!r}. Write the file with the image_id of the dataset dicts as it is."
    )


def _of_image(arrays: dict[str, NDArray[Any]], position: int) -> dict[str, NDArray[Any]]:
    rows = slice(arrays["offsets"][position], arrays["offsets"][position + 1])
    return {key: arrays[key][rows] for key in ("boxes", "scores", "classes")}


def _read(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The checked arrays of a file, in the types that the module names."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"Detections file {path} does not exist. Write it with save_detections.")
    arrays = read_arrays(path, _KEYS, what="detections file", remedy=_REMEDY, version=FORMAT_VERSION)
    for name, (kinds, size) in _KEYS.items():
        kind = arrays[name].dtype
        # the type of an empty array says nothing
        if arrays[name].size and (kind.kind not in kinds or kind.itemsize < size):
            raise ValueError(f"{path}: '{name}' has the type {kind}: {_REMEDY}")
    _check_lengths(path, arrays)
    _check_values(path, arrays)
    types = {"boxes": np.float32, "scores": np.float32, "classes": np.int64, "offsets": np.int64}
    return {**arrays, **{name: arrays[name].astype(kind, copy=False) for name, kind in types.items()}}


def _check_lengths(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Checks that the arrays of a file fit each other, and that each image is there once."""
    ids, offsets, rows = arrays["image_ids"], arrays["offsets"], len(np.atleast_1d(arrays["scores"]))
    for name, shape in (
        ("boxes", (rows, 4)), ("scores", (rows,)), ("classes", (rows,)),
        ("image_ids", ids.shape[:1] or (1,)), ("offsets", (ids.size + 1,)),
        ("thing_classes", arrays["thing_classes"].shape[:1] or (1,)),
    ):  # fmt: skip
        if arrays[name].shape != shape:
            raise ValueError(f"{path}: '{name}' has shape {arrays[name].shape}, not {shape}: {_REMEDY}")
    if offsets[0] != 0 or offsets[-1] != rows or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(
            f"{path}: 'offsets' must rise from 0 to {rows}, the number of boxes, but has {offsets[0]} to "
            f"{offsets[-1]}{'' if (offsets[1:] >= offsets[:-1]).all() else ' and falls between'}: {_REMEDY}"
        )
    if len(np.unique(ids)) < len(ids):
        values, counts = np.unique(ids, return_counts=True)
        repeated = values[counts > 1].tolist()
        raise ValueError(
            f"{path}: {len(repeated)} images are there more than once, the first being image_id "
            f"{repeated[0]!r}: {_REMEDY}"
        )


def faults_of_values(
    boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], num_classes: int | None
) -> list[tuple[NDArray[np.bool_], str]]:
    """What can be wrong with detections, whatever their images are.

    Args:
        boxes: (K, 4) XYXY.
        scores: (K,).
        classes: (K,) integers.
        num_classes: number of entity classes C; None if it is not known.

    Returns:
        (K,) bool, whether a detection has a fault, and the fault in words; for each fault.
    """
    x0, y0, x1, y1 = boxes.T  # column by column, since NumPy is slow along an axis of four
    unknown = (classes < 0) | (False if num_classes is None else classes >= num_classes)
    return [
        (~np.logical_and.reduce([np.isfinite(x) for x in boxes.T]), "a box is not finite"),
        ((x1 < x0) | (y1 < y0), "a box has swapped corners, not x0 <= x1 and y0 <= y1"),
        (~((scores >= 0) & (scores <= 1)), "a score is not in [0, 1]"),
        (unknown, f"a class is not an integer in {_range(num_classes)}"),
    ]


def _range(num_classes: int | None) -> str:
    return "the list of classes" if num_classes is None else f"[0, {num_classes})"


def boxes_outside(
    boxes: NDArray[Any], sizes: NDArray[np.float32], counts: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], str]:
    """Which detections stick out of their images by more than detectors round.

    Args:
        boxes: (K, 4) XYXY, image after image.
        sizes: (I, 2) width and height of the images; infinite where they are not known.
        counts: (I,) number of boxes of each image.

    Returns:
        (K,) bool, and the fault in words.
    """
    slack = np.maximum(_OUTSIDE_PIXELS, _OUTSIDE_SHARE * sizes)
    lowest_x, lowest_y, highest_x, highest_y = (
        np.repeat(side, counts) for side in (*-slack.T, *(sizes + slack).T)
    )
    x0, y0, x1, y1 = boxes.T
    outside = (x0 < lowest_x) | (y0 < lowest_y) | (x1 > highest_x) | (y1 > highest_y)
    return (
        outside,
        f"a box sticks out of its image by more than {_OUTSIDE_PIXELS:g} pixels and {_OUTSIDE_SHARE:.0%}",
    )


def _check_values(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Checks boxes, scores and classes of all images, whose arrays fit each other."""
    found = (arrays["boxes"], arrays["scores"], arrays["classes"])
    for bad, problem in faults_of_values(*found, len(arrays["thing_classes"])):
        _refuse_rows(path, arrays, bad, problem, "give (K, 4) boxes, (K,) scores, (K,) classes")


def _check_places(
    path: str | os.PathLike[str],
    arrays: Mapping[str, NDArray[Any]],
    dataset_dicts: Sequence[DatasetDict],
    position: Mapping[int | str, int],
) -> None:
    """Checks that the boxes of the data set's images are in their images, and in pixels."""
    boxes, counts = arrays["boxes"], np.diff(arrays["offsets"])
    # width and height of the images of the file; infinite where nothing is known
    sizes = np.full((len(counts), 2), np.inf, dtype=np.float32)
    for d in dataset_dicts:
        size = (d.get("width"), d.get("height"))
        if all(isinstance(side, int | np.integer) and side > 0 for side in size):
            sizes[position[d["image_id"]]] = size
    known = np.isfinite(sizes[:, 0]) & (counts > 0)
    if not known.any():
        return
    found = boxes[np.repeat(known, counts)]
    for axis, side in enumerate(("width", "height")):
        highest = found[:, axis + 2].max()
        if len(found) > 1 and highest <= _OUTSIDE_PIXELS < sizes[known, axis].min():
            raise ValueError(
                f"{path}: no box reaches beyond {highest:g} along the {side}, so the boxes must be shares of "
                "the pictures, not pixels. Multiply them by width and height, then write the file with "
                "save_detections"
            )
    outside, problem = boxes_outside(boxes, sizes, counts)
    remedy = "give boxes in pixels of the original picture, not of a resized one, and clip them to it"
    _refuse_rows(path, arrays, outside, problem, remedy, sizes)


def _refuse_rows(
    path: str | os.PathLike[str],
    arrays: Mapping[str, NDArray[Any]],
    bad: NDArray[np.bool_],
    problem: str,
    remedy: str,
    sizes: NDArray[np.float32] | None = None,
) -> None:
    """Raises ValueError if a row of `boxes`, `scores` and `classes` is bad. It names the first image."""
    if not bad.any():
        return
    row = int(bad.argmax())
    image = int(np.searchsorted(arrays["offsets"], row, side="right")) - 1
    size = "" if sizes is None else f", picture of {sizes[image, 0]:g} x {sizes[image, 1]:g}"
    raise ValueError(
        f"{path}: detections of image_id {arrays['image_ids'][image].item()!r}: {problem} (box "
        f"{arrays['boxes'][row].tolist()}, score {arrays['scores'][row]:g}, class {arrays['classes'][row]}"
        f"{size}); this concerns {bad.sum()} of {len(bad)} rows of the file. Remedy: {remedy}."
    )


def _arrays_of_image(
    path: str | os.PathLike[str], image_id: int | str, given: Sequence[ArrayLike], num_classes: int
) -> list[NDArray[Any]]:
    """The boxes, scores and classes that somebody gives for an image.

    Raises:
        ValueError: they are not three arrays of numbers that fit each other.
    """
    problem: str | None = "there are not three arrays of numbers"
    try:
        arrays = [np.asarray(array) for array in given]
    except (TypeError, ValueError):  # not iterable; rows of other lengths
        arrays = []
    if len(arrays) == 3:
        problem = fault_of_shapes(arrays[0], arrays[1], arrays[2], num_classes)
        if problem is None:
            return arrays
    raise ValueError(
        f"{path}: detections of image_id {image_id!r}: {problem}. Give (K, 4) boxes, (K,) scores, (K,) "
        "classes."
    )


def fault_of_shapes(
    boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], num_classes: int | None
) -> str | None:
    """What is wrong with the shapes and types of the detections of an image; None if nothing is.

    Args:
        boxes, scores, classes, num_classes: see `faults_of_values`; without detections, boxes may be (0,).
    """
    count = scores.shape[0] if scores.ndim == 1 else -1
    # an empty list of boxes has shape (0,)
    right_shapes = boxes.shape in ((count, 4), (0,)) and classes.shape == (count,)
    texts = [x for x in (boxes, scores) if x.size and x.dtype.kind not in "fiub"]
    if not right_shapes or boxes.size != 4 * count:
        return f"boxes {boxes.shape}, scores {scores.shape}, classes {classes.shape} do not fit each other"
    if texts:
        return f"{texts[0].tolist()[0]!r} is no number"
    if count and classes.dtype.kind not in "iu":
        return f"a class is not an integer in {_range(num_classes)}"
    return None


def _truncate(names: Sequence[str] | NDArray[Any]) -> str:
    return f"{len(names)} ({', '.join(map(str, names[:3]))}, ...)"
