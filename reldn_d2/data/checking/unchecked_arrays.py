"""A whole data set as flat arrays, for the checker. Invalid dicts are allowed.

Legend of shape letters:

    I  images
    N  entities of all images, image after image
    R  relationships of all images, image after image
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as short_repr
from typing import Any, NamedTuple

import numpy as np
from detectron2.structures import BoxMode
from numpy.typing import NDArray

from reldn_d2.structures.annotations import Annotations, are_numbers, listed_crowd
from reldn_d2.structures.dataset_dicts import DatasetDict

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_REQUIRED = ("file_name", "height", "width", "image_id", "annotations", "relations")
# A data set has tens of thousands of images: looking up the name of a mode takes longer than comparing it.
_XYXY, _XYWH = int(BoxMode.XYXY_ABS), int(BoxMode.XYWH_ABS)


@dataclass(frozen=True, eq=False)
class UncheckedArrays:
    """The content of the dicts. Values are as given: boxes, classes and relationships may be invalid.

    Attributes:
        image_ids: I ids, integers or strings; None if the dict has neither.
        file_names: I paths; "" for a malformed dict.
        sizes: (I, 2) width and height; 0 for a malformed dict.
        malformed: position of an image -> the error in its dict. These images have no entities and no
            relationships here.
        boxes: (N, 4) XYXY in absolute pixels.
        classes: (N,) class of each entity.
        crowd: (N,) whether an entity is a crowd, which training drops.
        changed: (N,) whether the loader clipped or widened the box, according to `"changed_boxes"`.
        first_entity: (I + 1,) image i has the entities first_entity[i]:first_entity[i + 1].
        relations: (R, 3) rows (subject, object, predicate); subject and object are positions in their image.
        first_relation: (I + 1,) image i has the relationships first_relation[i]:first_relation[i + 1].
        verified: (V, 2) image and class of every verified class.
    """

    image_ids: Sequence[int | str | None]
    file_names: Sequence[str]
    sizes: IntArray
    malformed: Mapping[int, str]
    boxes: FloatArray
    classes: IntArray
    crowd: BoolArray
    changed: BoolArray
    first_entity: IntArray
    relations: IntArray
    first_relation: IntArray
    verified: IntArray

    @property
    def well_formed(self) -> BoolArray:
        """(I,) whether the dict of an image could be read."""
        readable = np.ones(len(self.image_ids), dtype=np.bool_)
        readable[list(self.malformed)] = False
        return readable

    @property
    def entity_image(self) -> IntArray:
        """(N,) the image of every entity."""
        return np.repeat(np.arange(len(self.image_ids)), np.diff(self.first_entity))

    @property
    def relation_image(self) -> IntArray:
        """(R,) the image of every relationship."""
        return np.repeat(np.arange(len(self.image_ids)), np.diff(self.first_relation))

    @property
    def subject_object(self) -> IntArray:
        """(R, 2) subject and object as rows of `boxes`; -1 where the image has no such annotation."""
        image = self.relation_image
        given = self.relations[:, :2]
        exists = (given >= 0) & (given < np.diff(self.first_entity)[image][:, None])
        return np.where(exists, given + self.first_entity[image][:, None], -1)

    @property
    def of_crowd(self) -> BoolArray:
        """(R,) whether the subject or the object of a relationship is a crowd."""
        rows = self.subject_object
        flags = np.append(self.crowd, False)[rows]  # -1 is the last one
        either: BoolArray = flags[:, 0] | flags[:, 1]
        return either


class _Image(NamedTuple):
    image_id: int | str | None
    file_name: str = ""
    size: tuple[int, int] = (0, 0)
    boxes: FloatArray = np.zeros((0, 4))
    classes: IntArray = np.zeros(0, dtype=np.int64)
    crowd: BoolArray = np.zeros(0, dtype=np.bool_)
    changed: BoolArray = np.zeros(0, dtype=np.bool_)
    relations: IntArray = np.zeros((0, 3), dtype=np.int64)
    verified: IntArray = np.zeros(0, dtype=np.int64)
    fault: str | None = None


def unchecked_arrays(dataset_dicts: Sequence[DatasetDict], optional: Collection[str] = ()) -> UncheckedArrays:
    """Read the dicts. Invalid content never raises an error: it makes the image malformed.

    Args:
        dataset_dicts: the images.
        optional: keys that a dict may lack, of "annotations" and "relations": it has none of them then.
    """
    required = [key for key in _REQUIRED if key not in optional]
    images = [_read(dataset_dict, required) for dataset_dict in dataset_dicts]
    verified = [(i, category) for i, image in enumerate(images) for category in image.verified.tolist()]
    return UncheckedArrays(
        image_ids=[image.image_id for image in images],
        file_names=[image.file_name for image in images],
        sizes=np.array([image.size for image in images], dtype=np.int64).reshape(-1, 2),
        malformed={i: image.fault for i, image in enumerate(images) if image.fault is not None},
        boxes=np.concatenate([np.zeros((0, 4)), *(image.boxes for image in images)]),
        classes=np.concatenate([np.zeros(0, dtype=np.int64), *(image.classes for image in images)]),
        crowd=np.concatenate([np.zeros(0, dtype=np.bool_), *(image.crowd for image in images)]),
        changed=np.concatenate([np.zeros(0, dtype=np.bool_), *(image.changed for image in images)]),
        first_entity=np.cumsum([0, *(len(image.classes) for image in images)]),
        relations=np.concatenate([np.zeros((0, 3), dtype=np.int64), *(image.relations for image in images)]),
        first_relation=np.cumsum([0, *(len(image.relations) for image in images)]),
        verified=np.array(verified, dtype=np.int64).reshape(-1, 2),
    )


def _read(dataset_dict: Any, required: Sequence[str]) -> _Image:
    try:
        return _read_strictly(dataset_dict, required)
    except _MalformedError as error:
        fault = str(error)
    # a user's loader may put anything into a dict, and the checker must report it
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    return _Image(_id(dataset_dict.get("image_id")) if isinstance(dataset_dict, dict) else None, fault=fault)


class _MalformedError(Exception):
    """The dict of an image cannot be read; the message says why."""


def _read_strictly(dataset_dict: Any, required: Sequence[str]) -> _Image:
    if not isinstance(dataset_dict, dict):
        raise _MalformedError(f"it is a {type(dataset_dict).__name__}, not a dict")
    missing = [key for key in required if key not in dataset_dict]
    if missing:
        raise _MalformedError(f"it lacks {', '.join(missing)}")
    image_id, file_name = _id(dataset_dict["image_id"]), dataset_dict["file_name"]
    if image_id is None:
        raise _MalformedError(
            f"image_id is {short_repr(dataset_dict['image_id'])}, not an integer or a string"
        )
    if not isinstance(file_name, str | os.PathLike) or not os.fspath(file_name):
        raise _MalformedError(f"file_name is {short_repr(file_name)}, not a path")
    size = dataset_dict["width"], dataset_dict["height"]
    if not all(_is_integer(side) and 0 < side < 2**31 for side in size):
        raise _MalformedError(f"width and height are {short_repr(size)}, not positive integers")
    boxes, classes, crowd = _entities(dataset_dict.get("annotations", ()))
    return _Image(
        image_id,
        os.fsdecode(file_name),
        (int(size[0]), int(size[1])),
        boxes,
        classes,
        crowd,
        _changed(dataset_dict.get("changed_boxes", ()), len(classes)),
        _integers(dataset_dict.get("relations", ()), (3,), "relations"),
        _integers(dataset_dict.get("verified_classes", ()), (), "verified_classes"),
    )


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _id(value: Any) -> int | str | None:
    """The image id as a string or int; None if it is neither."""
    if isinstance(value, str):
        return value
    return int(value) if _is_integer(value) else None


def _entities(annotations: Any) -> tuple[FloatArray, IntArray, BoolArray]:
    """(E, 4) boxes as XYXY, (E,) classes, and (E,) whether they are crowds, of an image."""
    if isinstance(annotations, Annotations):
        if annotations.handed_out is None:
            crowd = annotations.crowd
            no_crowd = np.zeros(len(annotations), dtype=np.bool_)
            return annotations.boxes, annotations.classes, no_crowd if crowd is None else crowd
        annotations = annotations.handed_out  # anything may be in there by now
    if not isinstance(annotations, list | tuple):
        raise _MalformedError(f"annotations is {short_repr(annotations)}, not a list")
    boxes = _column(annotations, "bbox", (4,), "iuf", "four numbers").astype(np.float64)
    modes = _column(annotations, "bbox_mode", (), "iu", "a BoxMode")
    classes = _column(annotations, "category_id", (), "iu", "an integer").astype(np.int64)
    sized = modes == _XYWH
    other = ~sized & (modes != _XYXY)
    if other.any():
        row = int(other.argmax())
        raise _MalformedError(f"annotation {row}: bbox_mode is {modes[row]}, neither XYXY_ABS nor XYWH_ABS")
    if sized.any():
        with np.errstate(invalid="ignore"):
            boxes[sized, 2:] += boxes[sized, :2]
    try:
        return boxes, classes, listed_crowd(annotations, "the image")
    except ValueError as error:
        raise _MalformedError(str(error).rstrip(".")) from error


def _changed(given: Any, count: int) -> BoolArray:
    """(E,) whether the box of each of `count` annotations was changed."""
    rows = _integers(given, (), "changed_boxes")
    if not len(rows):
        return np.zeros(count, dtype=np.bool_)
    if ((rows < 0) | (rows >= count)).any():
        raise _MalformedError(
            f"changed_boxes is {short_repr(rows.tolist())}, but there are {count} annotations"
        )
    return np.isin(np.arange(count), rows)


def _column(
    annotations: Sequence[Any], key: str, shape: tuple[int, ...], kinds: str, what: str
) -> NDArray[Any]:
    """Collect one value of every annotation.

    Args:
        annotations: the E annotations of an image.
        key: key of the value.
        shape: shape of the value.
        kinds: see `are_numbers`.
        what: description of a right value, for the message.

    Returns:
        (E, *shape) values.
    """
    try:
        given = [annotation[key] for annotation in annotations]
        values = np.array(given)
        fits = values.shape == (len(annotations), *shape) and values.dtype.kind in kinds
        if fits and are_numbers(given, kinds):
            return values
    except (IndexError, KeyError, TypeError, ValueError):
        pass
    if not annotations:
        return np.zeros((0, *shape), dtype=np.int64)
    for row, annotation in enumerate(annotations):
        if not isinstance(annotation, Mapping) or key not in annotation:
            raise _MalformedError(f"annotation {row} has no {key}")
        value = annotation[key]
        try:
            array = np.asarray(value)
            fits = array.shape == shape and array.dtype.kind in kinds and are_numbers(value, kinds)
        except ValueError:
            fits = False
        if not fits:
            raise _MalformedError(f"annotation {row}: {key} is {short_repr(value)}, not {what}")
    raise _MalformedError(f"the values of {key} have no common type")


def _integers(given: Any, shape: tuple[int, ...], key: str) -> IntArray:
    """(K, *shape) integers; an empty list gives K = 0."""
    if isinstance(given, np.ndarray) and given.dtype == np.int64 and given.shape[1:] == shape and given.ndim:
        return given
    if isinstance(given, tuple) and not given:
        return np.zeros((0, *shape), dtype=np.int64)
    try:
        values = np.asarray(given)
    except ValueError:
        raise _MalformedError(f"{key} is {short_repr(given)}, whose rows differ in length") from None
    if values.size == 0:
        return np.zeros((0, *shape), dtype=np.int64)
    if values.ndim != 1 + len(shape) or values.shape[1:] != shape or values.dtype.kind not in "iu":
        rows = "rows of three integers" if shape else "a list of integers"
        raise _MalformedError(f"{key} has shape {values.shape} and type {values.dtype}, which is not {rows}")
    if not are_numbers(given, "iu"):
        raise _MalformedError(f"{key} is {short_repr(given)}, which holds truth values beside integers")
    return values.astype(np.int64, copy=False)
