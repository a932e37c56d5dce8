"""Boxes that somebody gives for an image: by hand, from a file, or from any detector."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from detectron2.structures import Boxes, BoxMode
from numpy.typing import ArrayLike, NDArray

from reldn_d2.structures.vocabulary import nearest_names

#: Index of a class of the model, or its name.
ClassLike = int | str
# Boxes that are shares of the image may reach so far beyond it.
_ROUNDING = 0.01
#: Names of a detector's labels, by label.
Names = Mapping[int, str] | Sequence[str]


class GivenBoxes:
    """The boxes of one image. The entities of the answer have their order.

    What is given decides what the model finds out:

    * boxes alone: it classifies them (sgcls);
    * boxes and classes: it takes both for certain (prdcls);
    * boxes, classes and scores: they are the detections of some detector (sgdet).

    Attributes:
        boxes: (E, 4) float, XYXY in pixels of the upright image.
        classes: E classes of the model, as names or indices; None: the model classifies the boxes.
        scores: (E,) float in [0, 1]; None: the classes are certain.

    Example:
        >>> from reldn_d2.engine import GivenBoxes
        >>> results = [{"bbox": [10, 20, 30, 40], "category_id": 44, "score": 0.9}]
        >>> boxes = GivenBoxes.from_coco(results, {1: "person", 44: "bottle"})
        >>> boxes.boxes.tolist(), boxes.classes, boxes.scores.tolist()
        ([[10.0, 20.0, 40.0, 60.0]], ('bottle',), [0.9])
    """

    def __init__(
        self,
        boxes: ArrayLike | torch.Tensor | Boxes,
        classes: Iterable[ClassLike] | ArrayLike | torch.Tensor | None = None,
        scores: ArrayLike | torch.Tensor | None = None,
    ) -> None:
        """Takes lists, arrays or tensors. Whether they fit an image and a model is checked later.

        Args:
            boxes: (E, 4) XYXY in pixels of the upright image.
            classes: E names or indices; None: see the class.
            scores: (E,) in [0, 1]; None: see the class.

        Raises:
            ValueError: they are no such numbers, or their lengths differ.
        """
        self.boxes = _numbers(boxes, "boxes")
        if self.boxes.shape == (0,):
            self.boxes = self.boxes.reshape(0, 4)
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(
                f"boxes of shape {self.boxes.shape}: give a row (x0, y0, x1, y1) in pixels for each box"
            )
        if classes is None and scores is not None:
            raise ValueError("boxes with scores, but without classes: give the classes too, or no scores")
        self.classes = None if classes is None else tuple(map(_class, _listed(classes, "classes")))
        self.scores = None if scores is None else _numbers(scores, "scores").reshape(-1)
        for name, values in (("classes", self.classes), ("scores", self.scores)):
            if values is not None and len(values) != len(self.boxes):
                raise ValueError(f"{len(self.boxes)} boxes, but {len(values)} {name}: give one for each box")

    def __repr__(self) -> str:
        return f"GivenBoxes({self.boxes.tolist()}, {self.classes}, {_listed_or_none(self.scores)})"

    @classmethod
    def from_coco(cls, results: Iterable[Mapping[str, Any]], names: Names) -> Self:
        """Takes the results, or annotations, of one image in COCO's format.

        Args:
            results: records with "bbox" (XYWH in pixels), "category_id" and, for detections, "score".
            names: names of the categories, by id.

        Raises:
            ValueError: a record lacks one of these, has another form, or is of an unnamed category.
        """
        records = list(results)
        scored = any(isinstance(record, Mapping) and "score" in record for record in records)
        for place, record in enumerate(records):
            for key in ("bbox", "category_id", *(("score",) if scored else ())):
                if not isinstance(record, Mapping) or key not in record:
                    raise ValueError(f"record {place} of the COCO results has no {key!r}: {record}")
        boxes = _numbers([record["bbox"] for record in records], "bbox")
        if len(boxes) and boxes.shape[1:] != (4,):
            raise ValueError(f"each bbox of COCO results has four numbers, not {boxes.shape[1:]}")
        corners = BoxMode.convert(boxes.reshape(-1, 4), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
        return cls(
            corners,
            _named([record["category_id"] for record in records], names),
            [record["score"] for record in records] if scored else None,
        )

    @classmethod
    def from_torchvision(cls, output: Mapping[str, torch.Tensor], names: Names) -> Self:
        """Takes what a detector of torchvision returns for one image.

        Args:
            output: "boxes" (E, 4) XYXY in pixels of the image, "labels" (E,) and "scores" (E,).
            names: names of the labels, such as `weights.meta["categories"]`.

        Raises:
            ValueError: it lacks one of these, or a label has no name.
        """
        missing = [key for key in ("boxes", "labels", "scores") if key not in output]
        if missing:
            raise ValueError(f"this output lacks {', '.join(missing)}, which torchvision's detectors return")
        labels = _named(_listed(output["labels"], "labels"), names)
        return cls(output["boxes"], labels, output["scores"])

    @classmethod
    def from_ultralytics(cls, result: Any) -> Self:
        """Takes the result of a detector of ultralytics for one image: `model(image)[0]`.

        Raises:
            ValueError: it has no boxes.
        """
        found = getattr(result, "boxes", None)
        if found is None:
            raise ValueError(
                f"a {type(result).__name__} has no boxes: give the result of a detector for one image, such "
                "as model(image)[0]"
            )
        return cls(found.xyxy, _named(_listed(found.cls, "cls"), result.names), found.conf)

    @classmethod
    def from_supervision(cls, detections: Any, names: Names | None = None) -> Self:
        """Takes a `supervision.Detections`.

        Args:
            detections: with `xyxy` and `class_id`; without `confidence`, the classes are certain.
            names: names of the classes, by id; None: those in `detections.data["class_name"]`.

        Raises:
            ValueError: it has no classes, or they have no names.
        """
        classes: list[Any] | None = None
        if names is None:
            classes = _listed(detections.data.get("class_name", ()), "class_name")
        elif detections.class_id is not None:
            classes = _named(_listed(detections.class_id, "class_id"), names)
        if len(detections.xyxy) and not classes:
            raise ValueError(
                'the detections have no names of classes (data["class_name"]): give them as names={id: name}'
            )
        return cls(detections.xyxy, classes or [], detections.confidence)

    def only(self, names: Iterable[str]) -> Self:
        """The boxes of some classes, in their order.

        A detector may know more classes than the model, which takes none that it does not know:
        `boxes.only(predictor.thing_classes)`.

        Args:
            names: names of classes.

        Raises:
            ValueError: the boxes have no classes, or classes as indices.
        """
        wanted = set(names)
        if self.classes is None or not all(isinstance(x, str) for x in self.classes):
            raise ValueError("only boxes whose classes are names can be selected by name")
        kept = [place for place, name in enumerate(self.classes) if name in wanted]
        scores = None if self.scores is None else self.scores[kept]
        return type(self)(self.boxes[kept], tuple(self.classes[place] for place in kept), scores)

    def class_indices(self, thing_classes: Sequence[str]) -> NDArray[np.int64] | None:
        """The classes as indices; None if there are none.

        Args:
            thing_classes: names of the model's classes.

        Raises:
            ValueError: the model does not know a class. The message has the nearest names.
        """
        if self.classes is None:
            return None
        number = {name: index for index, name in enumerate(thing_classes)}
        indices = [number.get(x, -1) if isinstance(x, str) else x for x in self.classes]
        unknown = [x for x, i in zip(self.classes, indices, strict=True) if not 0 <= i < len(thing_classes)]
        if unknown:
            raise ValueError(_unknown(list(dict.fromkeys(unknown)), thing_classes))
        return np.array(indices, dtype=np.int64)

    def inside(self, height: int, width: int) -> tuple[NDArray[np.float64], int]:
        """The boxes clipped to an image, and how many reached beyond it.

        Args:
            height, width: size of the image.

        Returns:
            (E, 4) boxes; the number of those that were clipped by more than one pixel.

        Raises:
            ValueError: numbers are not finite, or boxes have no area inside the image, for example because
                they are XYWH or shares of the image; or scores are not in [0, 1].
        """
        boxes, scores = self.boxes, self.scores
        where = f"an image of {width} x {height} pixels"
        if not np.isfinite(boxes).all():
            row = int(np.argmin(np.isfinite(boxes).all(axis=1)))
            raise ValueError(f"box {row} is {_row(boxes, row)}: coordinates are finite numbers")
        if scores is not None and not ((scores >= 0) & (scores <= 1)).all():
            row = int(np.argmin((scores >= 0) & (scores <= 1)))
            raise ValueError(f"the score of box {row} is {scores[row]:g}: scores are from 0 to 1")
        shares = (boxes >= -_ROUNDING) & (boxes <= 1 + _ROUNDING)
        if len(boxes) and shares.all() and min(height, width) > 2:
            raise ValueError(
                f"all boxes lie from 0 to 1 in {where}, as shares of the image do: multiply them by "
                f"({width}, {height}, {width}, {height})"
            )
        backwards = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
        if backwards.any():
            row = int(backwards.argmax())
            raise ValueError(
                f"box {row} is {_row(boxes, row)}, which ends before it begins: boxes are (x0, y0, x1, y1). "
                "If these are (x, y, width, height), add x and y to width and height"
            )
        clipped = boxes.clip(0, [width, height, width, height])
        outside = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
        if outside.any():
            row = int(outside.argmax())
            raise ValueError(
                f"box {row} is {_row(boxes, row)}, outside {where}: boxes are (x0, y0, x1, y1) in pixels of "
                "the upright image as it was given, not as a network resized it"
            )
        return clipped, int((np.abs(clipped - boxes) > 1).any(axis=1).sum())


def _array(values: Any) -> NDArray[Any]:
    if isinstance(values, Boxes):
        values = values.tensor
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def _numbers(values: Any, name: str) -> NDArray[np.float64]:
    hint = _constructor_for(values)
    if hint:
        raise ValueError(f"{name} are numbers, not what a detector returns: GivenBoxes.{hint} takes it")
    try:
        array = _array(values)
    except (ValueError, TypeError, RuntimeError) as error:  # for example rows of different lengths
        raise ValueError(f"{name} can't be read as numbers: {error}") from error
    if array.size and array.dtype.kind not in "iuf":
        raise ValueError(f"{name} are numbers, not {type(values).__name__} of {array.dtype}")
    return array.astype(np.float64)


def _constructor_for(values: Any) -> str:
    """The constructor of `GivenBoxes` that takes an object; empty if there is none."""
    if isinstance(values, Mapping):
        return "from_torchvision"
    if isinstance(values, list | tuple) and values and isinstance(values[0], Mapping):
        return "from_coco"
    if hasattr(values, "class_id"):
        return "from_supervision"
    return "from_ultralytics" if hasattr(getattr(values, "boxes", None), "xyxy") else ""


def _listed(values: Any, name: str) -> list[Any]:
    if isinstance(values, np.ndarray | torch.Tensor):
        return list(_array(values).reshape(-1).tolist())
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ValueError(f"{name} are one for each box, not {values!r}: give a list")
    return list(values)


def _listed_or_none(values: NDArray[np.float64] | None) -> list[float] | None:
    return None if values is None else values.tolist()


def _class(value: Any) -> ClassLike:
    if isinstance(value, str):
        return str(value)
    try:
        number = int(value)
        if isinstance(value, bool | np.bool_ | bytes) or number != value:
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{value!r} is no class: give names or indices") from error
    return number


def _named(labels: Iterable[Any], names: Names) -> list[str]:
    found = []
    for label in labels:
        try:
            number = int(label)
            if number < 0 and isinstance(names, Sequence):
                raise IndexError("a list counts these from its end")
            found.append(str(names[number]))
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"label {label} has no name among the {len(names)} that were given") from error
    return found


def _unknown(classes: Sequence[ClassLike], thing_classes: Sequence[str]) -> str:
    first = classes[0]
    several = f" ({len(classes)} classes are unknown)" if len(classes) > 1 else ""
    if not isinstance(first, str):
        return f"the model has no class {first}{several}: its classes are 0 to {len(thing_classes) - 1}"
    near = nearest_names(first, thing_classes) or list(thing_classes[:3])
    return (
        f"the model knows no class {first!r}{several}; it has {', '.join(map(repr, near))} and others, see "
        "predictor.thing_classes. GivenBoxes.only leaves other classes out"
    )


def _row(boxes: NDArray[np.float64], row: int) -> str:
    return f"({', '.join(f'{x:g}' for x in boxes[row])})"
