"""`Annotations`: the entities of an image as arrays, which save memory in large data sets."""

from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from reprlib import repr as short_repr
from typing import Any, overload

import numpy as np
from detectron2.structures import BoxMode
from numpy.typing import ArrayLike, NDArray

Annotation = dict[str, Any]

# Kinds of NumPy types -> the Python and NumPy types that are surely of these kinds.
_INTEGERS = {int, BoxMode, np.int32, np.int64}
_SURE_TYPES = {"iu": _INTEGERS, "iuf": _INTEGERS | {float, np.float32, np.float64}}


class Annotations(MutableSequence[Annotation]):
    """Replaces Detectron2's list of annotation dicts and needs a fifth of its memory.

    It reads and changes like the list. As long as nobody asks for a dict, the entities are arrays. Indexing
    and iteration hand out dicts, which may be changed. So from then on this image has a list of dicts, which
    needs the memory of a list, and the arrays are computed from the dicts whenever they are read.

    Attributes:
        handed_out: the dicts, if there are any by now; None while the entities are arrays alone.
    """

    # A data set has one of these objects for each image, for example 60,000.
    __slots__ = ("_boxes", "_classes", "_crowd", "handed_out")

    def __init__(self, boxes: ArrayLike, classes: ArrayLike, crowd: ArrayLike | None = None) -> None:
        """Makes annotations from arrays or lists; arrays of the attributes' types are not copied.

        Args:
            boxes, classes, crowd: see the properties. Empty lists mean no entity.

        Raises:
            ValueError: the lengths differ, boxes are no numbers, classes are no integers, or crowd flags are
                neither truth values nor 0 and 1.
        """
        if not are_numbers(boxes, "iuf"):
            raise ValueError(f"boxes must be numbers, not {boxes!r}")
        if not are_numbers(classes, "iuf"):
            raise ValueError(f"classes must be integers, not {classes!r}")
        if crowd is not None and not _are_flags(np.asarray(crowd)):
            raise ValueError(f"crowd flags must be 0 or 1, not {crowd!r}")
        self._boxes: NDArray[np.float64] = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        self._classes: NDArray[np.int64] = np.asarray(classes, dtype=np.int64)
        if self._classes is not classes and (self._classes != np.asarray(classes)).any():
            raise ValueError(f"classes must be integers, not {classes!r}")
        self._crowd: NDArray[np.bool_] | None = None if crowd is None else np.asarray(crowd, dtype=np.bool_)
        self.handed_out: list[Annotation] | None = None
        flags = len(self._classes) if self._crowd is None else len(self._crowd)
        if not len(self._boxes) == len(self._classes) == flags:
            raise ValueError(
                f"{len(self._boxes)} boxes, {len(self._classes)} classes, {flags} crowd flags: give one of "
                "each for every entity."
            )

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(E, 4) boxes, XYXY in absolute pixels. Read-only once dicts were handed out: change the dicts.

        Raises:
            ValueError: a dict that was changed has no such box.
        """
        return (
            self._boxes if self.handed_out is None else _read_only(listed_boxes(self.handed_out, "the image"))
        )

    @property
    def classes(self) -> NDArray[np.int64]:
        """(E,) entity classes, in [0, C). Read-only once dicts were handed out: change the dicts.

        Raises:
            ValueError: a dict that was changed has no integer class.
        """
        return (
            self._classes
            if self.handed_out is None
            else _read_only(listed_classes(self.handed_out, "the image"))
        )

    @property
    def crowd(self) -> NDArray[np.bool_] | None:
        """(E,) bool, whether an entity is a crowd; None if there are no crowds. Read-only as the others."""
        if self.handed_out is None:
            return self._crowd
        flags = listed_crowd(self.handed_out, "the image")
        return _read_only(flags) if flags.any() else None

    def _listed(self) -> list[Annotation]:
        """The dicts, which are made when they are asked for the first time."""
        if self.handed_out is None:
            self.handed_out = self._as_dicts()
            # A second copy would only waste memory.
            self._boxes, self._classes, self._crowd = np.zeros((0, 4)), np.zeros(0, dtype=np.int64), None
        return self.handed_out

    def _as_dicts(self) -> list[Annotation]:
        """The entities as dicts, without handing them out."""
        if self.handed_out is not None:
            return self.handed_out
        crowd = np.zeros(len(self), dtype=bool) if self._crowd is None else self._crowd
        return [
            {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": category, "iscrowd": int(flag)}
            for box, category, flag in zip(
                self._boxes.tolist(), self._classes.tolist(), crowd.tolist(), strict=True
            )
        ]

    def __len__(self) -> int:
        return len(self._classes) if self.handed_out is None else len(self.handed_out)

    def __iter__(self) -> Iterator[Annotation]:
        return iter(self._listed())

    @overload
    def __getitem__(self, index: int) -> Annotation: ...

    @overload
    def __getitem__(self, index: slice) -> list[Annotation]: ...

    def __getitem__(self, index: int | slice) -> Annotation | list[Annotation]:
        return self._listed()[index]

    @overload
    def __setitem__(self, index: int, value: Annotation) -> None: ...

    @overload
    def __setitem__(self, index: slice, value: Iterable[Annotation]) -> None: ...

    def __setitem__(self, index: Any, value: Any) -> None:
        self._listed()[index] = value

    def __delitem__(self, index: int | slice) -> None:
        del self._listed()[index]

    def insert(self, index: int, value: Annotation) -> None:
        """Inserts an annotation. Rows of "relations" are positions, so they do not move along."""
        self._listed().insert(index, value)

    def __add__(self, other: Iterable[Annotation]) -> list[Annotation]:
        return [*self, *other]

    def __radd__(self, other: Iterable[Annotation]) -> list[Annotation]:
        return [*other, *self]

    def copy(self) -> list[Annotation]:
        """A list of the same dicts."""
        return [*self]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return False
        return self._as_dicts() == (other._as_dicts() if isinstance(other, Annotations) else list(other))

    def __repr__(self) -> str:
        return f"Annotations({self._as_dicts()})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Detectron2 serialises data sets after passes that ask for every dict. What was only looked at
        # becomes arrays again.
        if self.handed_out is None or all(map(_fits_arrays, self.handed_out)):
            return Annotations, (self.boxes, self.classes, self.crowd)
        return _of_dicts, (self.handed_out,)


def _of_dicts(dicts: list[Annotation]) -> Annotations:
    """Annotations whose dicts were handed out and changed."""
    annotations = Annotations([], [])
    annotations.handed_out = list(dicts)
    return annotations


def _fits_arrays(one: Annotation) -> bool:
    """Whether arrays would give back this dict, with values of the same types."""
    if one.keys() != {"bbox", "bbox_mode", "category_id", "iscrowd"}:
        return False
    box = one["bbox"]
    return (
        type(box) is list
        and len(box) == 4
        and all(type(number) is float for number in box)
        and one["bbox_mode"] is BoxMode.XYXY_ABS
        and type(one["category_id"]) is int
        and type(one["iscrowd"]) is int
        and one["iscrowd"] in (0, 1)
    )


def _read_only(computed: NDArray[Any]) -> NDArray[Any]:
    """Makes a change an error that would be lost, since the array is computed each time."""
    computed.flags.writeable = False
    return computed


def are_numbers(given: Any, kinds: str) -> bool:
    """Whether a value, or every value in lists, is of these kinds.

    NumPy makes one type of the values of a list: truth values become 0 and 1 beside numbers, and it can read
    numbers from text.

    Args:
        given: a number, an array, or lists of such.
        kinds: kinds of NumPy types: "iu" for integers, "iuf" for numbers.
    """
    if isinstance(given, list | tuple):
        # A data set has millions of numbers: looking at the types of a list in one go is faster.
        return set(map(type, given)) <= _SURE_TYPES[kinds] or all(are_numbers(x, kinds) for x in given)
    array = np.asarray(given)
    return array.dtype.kind in kinds or not array.size  # the type of an empty array says nothing


def listed_boxes(annotations: Sequence[Annotation], image: str) -> NDArray[np.float64]:
    """(E, 4) boxes of a list of annotations: XYXY in absolute pixels.

    Args:
        annotations: the E annotations of an image.
        image: name of the image, for messages.

    Raises:
        ValueError: a box is not four numbers, or its mode is neither XYXY_ABS nor XYWH_ABS.
    """
    for row, annotation in enumerate(annotations):
        if len(annotation["bbox"]) != 4 or not are_numbers(annotation["bbox"], "iuf"):
            raise ValueError(
                f"the bbox of annotation {row} of {image} must be four numbers, not "
                f"{list(annotation['bbox'])}."
            )
    boxes = np.array([annotation["bbox"] for annotation in annotations], dtype=np.float64).reshape(-1, 4)
    modes = np.array([annotation["bbox_mode"] for annotation in annotations], dtype=np.int64)
    known = (modes == BoxMode.XYXY_ABS) | (modes == BoxMode.XYWH_ABS)
    if not known.all():
        row = int(known.argmin())
        raise ValueError(
            f"the bbox_mode of annotation {row} of {image} must be XYXY_ABS or XYWH_ABS, "
            f"not {BoxMode(int(modes[row])).name}."
        )
    # BoxMode.convert would round lists to float32.
    sized = modes == BoxMode.XYWH_ABS
    boxes[sized, 2:] += boxes[sized, :2]
    return boxes


def listed_classes(annotations: Sequence[Annotation], image: str) -> NDArray[np.int64]:
    """(E,) entity classes of a list of annotations.

    Args:
        annotations: the E annotations of an image.
        image: name of the image, for messages.

    Raises:
        ValueError: a class is not an integer.
    """
    given = [annotation["category_id"] for annotation in annotations]
    if not are_numbers(given, "iu"):
        row = next(row for row, value in enumerate(given) if not are_numbers(value, "iu"))
        raise ValueError(
            f"the category_id of annotation {row} of {image} must be an integer, not {given[row]!r}."
        )
    return np.array(given, dtype=np.int64)


def listed_crowd(annotations: Sequence[Annotation], image: str) -> NDArray[np.bool_]:
    """(E,) bool, whether each of a list of annotations is a crowd.

    Args:
        annotations: the E annotations of an image.
        image: name of the image, for messages.

    Raises:
        ValueError: an "iscrowd" is neither 0 nor 1.
    """
    flags = [annotation.get("iscrowd", 0) for annotation in annotations]
    if not ({*map(type, flags)} <= {int, bool} and {*flags} <= {0, 1}):
        row = next((row for row, flag in enumerate(flags) if not _is_flag(flag)), None)
        if row is not None:
            raise ValueError(
                f"the iscrowd of annotation {row} of {image} must be 0 or 1, not {short_repr(flags[row])}."
            )
    return np.array([bool(flag) for flag in flags], dtype=np.bool_)


def _is_flag(value: Any) -> bool:
    array = np.asarray(value)
    return array.shape == () and _are_flags(array)


def _are_flags(array: NDArray[Any]) -> bool:
    if array.dtype.kind == "b" or not array.size:
        return True
    return array.dtype.kind in "iu" and bool(((array == 0) | (array == 1)).all())
