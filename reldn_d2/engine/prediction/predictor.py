"""Predicts relationships in images, as Detectron2's DefaultPredictor predicts objects."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from traceback import clear_frames
from typing import Any, NamedTuple, TypeVar, cast, overload

import torch
from detectron2.structures import ImageList
from numpy.typing import ArrayLike

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.modeling import RelDN
from reldn_d2.structures import Annotations, Vocabulary
from reldn_d2.utils.threads import map_ahead

from ..evaluate import parts_of
from ..parts import Config, RunParts
from ..pretrained import PretrainedModel
from ..run import check_vocabulary
from .given_boxes import ClassLike, GivenBoxes
from .pictures import Color, ImageLike, to_picture
from .result import Prediction

logger = logging.getLogger(__name__)
#: One kind of image, for lists of it.
ImageT = TypeVar("ImageT", bound=ImageLike)
# How many batches of images wait at most until a batch of their size is full.
_WAITING_BATCHES = 4


@dataclass(frozen=True, eq=False)
class Request:
    """An image to predict, and the boxes that are given for it.

    Attributes:
        image: the image.
        given: boxes, or an (E, 4) array of them; None: the model's detector finds them.
    """

    image: ImageLike
    given: GivenBoxes | ArrayLike | torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """The prediction of an image, or why there is none.

    Attributes:
        position: place of the image among the requests, from 0.
        prediction: the prediction; None after an error.
        error: what is wrong with this image; None if nothing is.
    """

    position: int
    prediction: Prediction | None = None
    error: Exception | None = None


class _Prepared(NamedTuple):
    """An image that is ready for the model.

    Attributes:
        position: see `Outcome`.
        request: what was asked.
        task: task of the model.
        inputs: the model's input.
        clipped: number of boxes that were clipped.
    """

    position: int
    request: Request
    task: str
    inputs: dict[str, Any]
    clipped: int


class RelationPredictor(PretrainedModel):
    """Finds the relationships of images with a trained RelDN, on the device of the config.

    What is found equals the evaluation's results: to the bit for an image alone, in a batch to the rounding
    of matrix products. A predictor may be used by several threads at once.

    Attributes:
        thing_classes, predicate_classes: class names of the checkpoint; if it has none, those of the config's
            first test set, else of its first training set.
        model: the model, in eval mode.
        parts: the parts of the config.
    """

    def __init__(self, cfg: Config) -> None:
        """Builds the model and loads its weights.

        Args:
            cfg: config of RelDN, in YAML or Python, with weights. What is given to a call decides about the
                task, not the config.

        Raises:
            ValueError: the config is of a detector, it names no weights, they do not fit it, or neither the
                checkpoint nor the config names the classes.
        """
        self.parts = parts = parts_of(cfg)
        if not parts.weights:
            raise ValueError(
                f"there is nothing to predict with: give a trained checkpoint as {parts.keys.weights}"
            )
        model = parts.model().eval() if parts.is_relation_model else None
        if not isinstance(model, RelDN):
            raise ValueError("the config is of a detector, not of RelDN: give config and weights of stage 2")
        model.task = "sgdet"
        checkpointer = RelationCheckpointer(model, complete=True)
        checkpointer.load(parts.weights)
        self._conventions = checkpointer.conventions
        if checkpointer.vocabulary is not None:
            _check_number_of_names(checkpointer.vocabulary, parts)
        vocabulary = checkpointer.vocabulary or _vocabulary_of_config(parts)
        self.thing_classes, self.predicate_classes = vocabulary.thing_classes, vocabulary.predicate_classes
        self.model = model.requires_grad_(False)  # prepared once, see `accelerate`
        self._mapper = parts.test_mapper()

    @overload
    def __call__(
        self,
        image: ImageLike,
        *,
        boxes: GivenBoxes | ArrayLike | torch.Tensor | None = None,
        classes: Sequence[ClassLike] | ArrayLike | torch.Tensor | None = None,
        scores: ArrayLike | torch.Tensor | None = None,
        color: Color = "bgr",
    ) -> Prediction: ...

    @overload
    def __call__(
        self,
        image: list[ImageT] | tuple[ImageT, ...],
        *,
        boxes: Sequence[Any] | None = None,
        classes: Sequence[Any] | None = None,
        scores: Sequence[Any] | None = None,
        color: Color = "bgr",
        batch_size: int = 8,
        pad: bool = False,
    ) -> list[Prediction]: ...

    def __call__(
        self,
        image: Any,
        *,
        boxes: Any = None,
        classes: Any = None,
        scores: Any = None,
        color: Color = "bgr",
        batch_size: int = 8,
        pad: bool = False,
    ) -> Any:
        """Predicts the relationships of one image, or of a list of images of any sizes.

        Without boxes, the model's detector finds the entities (sgdet). With boxes, see `GivenBoxes`: alone
        they are classified (sgcls), with classes both are certain (prdcls), with scores as well they are
        somebody else's detections.

        Args:
            image: an image, or a list of images: paths, (H, W, 3) uint8 arrays, pictures of PIL, or
                (3, H, W) uint8 tensors. Files and pictures of PIL are turned upright as their EXIF data say.
            boxes: (E, 4) XYXY in pixels of the upright image, or `GivenBoxes`; for a list of images a list
                with one of these for each image. Boxes that reach beyond the image are clipped, and counted
                in the result; a box outside the image is an error.
            classes: the classes of the boxes, as names or indices.
            scores: the scores of the boxes, in [0, 1].
            color: order of the channels of arrays and tensors, "bgr" as Detectron2 and OpenCV have it, or
                "rgb".
            batch_size: how many images of a list the model takes at a time, at most.
            pad: see `stream`.

        Returns:
            The prediction, in pixels of the image, or a list of predictions.

        Raises:
            OSError: an image file can't be read.
            ValueError: something else than an image or boxes is given. In a list, the message says of which
                image.
        """
        if not isinstance(image, list | tuple):
            (outcome,) = self.stream(
                [self._request(image, boxes, classes, scores)], batch_size=1, color=color
            )
            return _prediction(outcome)
        columns = {"boxes": boxes, "classes": classes, "scores": scores}
        for name, values in columns.items():
            if values is not None and len(values) != len(image):
                raise ValueError(
                    f"{len(image)} images, but {name} for {len(values)}: give {name} for each image"
                )
        requests = []
        for place, one in enumerate(image):
            given = (None if values is None else values[place] for values in columns.values())
            try:
                requests.append(self._request(one, *given))
            except ValueError as error:
                raise ValueError(f"image {place} of {len(image)}: {error}") from error
        predictions: list[Prediction | None] = [None] * len(image)
        for outcome in self.stream(requests, batch_size=batch_size, color=color, pad=pad):
            try:
                predictions[outcome.position] = _prediction(outcome)
            except ValueError as error:
                raise ValueError(f"image {outcome.position} of {len(image)}: {error}") from error
        return predictions

    def stream(
        self,
        requests: Iterable[ImageLike | Request],
        *,
        batch_size: int = 8,
        color: Color = "bgr",
        pad: bool = False,
        readers: int = 0,
    ) -> Iterator[Outcome]:
        """Predicts any number of images in bounded memory. What is wrong with one image stops no other.

        A batch holds images that have one size once they are padded, so an image's answer does not depend on
        its neighbours, unless `pad` is given. Images wait until a batch of their size is full, at most four
        batches at a time. So the outcomes may come in another order than the requests.

        Args:
            requests: images, or requests with boxes. They are taken when they are needed.
            batch_size: largest number of images of a batch.
            color: see `__call__`.
            pad: whether a batch may hold images of several sizes, so that more batches are full. The smaller
                images are padded to the size of the largest one. This changes what is found near their
                borders, so an image's answer then depends on its neighbours.
            readers: number of threads that read, decode and resize images while the model works; 0: this is
                done in between. No answer depends on it.

        Returns:
            An iterator with one outcome for each request.

        Raises:
            ValueError: the batch size is not positive.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: use 1 or more")
        if isinstance(requests, str | os.PathLike):
            raise ValueError(
                f"{os.fspath(requests)!r} is one image: give a list, or call the predictor itself"
            )
        return self._stream(requests, batch_size, color, pad, readers)

    def _stream(
        self,
        requests: Iterable[ImageLike | Request],
        batch_size: int,
        color: Color,
        pad: bool,
        readers: int,
    ) -> Iterator[Outcome]:
        def ready(asked: tuple[int, ImageLike | Request]) -> tuple[_Prepared, tuple[Any, ...]] | Outcome:
            position, request = asked
            try:
                prepared = self._prepare(position, request, color)
                return prepared, self._kind(prepared, pad)
            except Exception as error:  # whatever is wrong with one image must not stop the others
                return _failed(position, error)

        waiting: dict[tuple[Any, ...], list[_Prepared]] = {}
        for found in map_ahead(ready, enumerate(requests), readers):
            if isinstance(found, Outcome):
                yield found
                continue
            prepared, kind = found
            waiting.setdefault(kind, []).append(prepared)
            if len(waiting[kind]) == batch_size:
                yield from self._predict(waiting.pop(kind), color)
            elif sum(map(len, waiting.values())) >= _WAITING_BATCHES * batch_size:
                # The kind whose first image waits for the longest time.
                yield from self._predict(waiting.pop(next(iter(waiting))), color)
        for batch in waiting.values():
            yield from self._predict(batch, color)

    @staticmethod
    def _request(image: Any, boxes: Any, classes: Any, scores: Any) -> Request:
        if boxes is None:
            if classes is not None or scores is not None:
                raise ValueError("classes and scores are those of boxes: give the boxes too")
            return Request(image)
        if isinstance(boxes, GivenBoxes):
            if classes is not None or scores is not None:
                raise ValueError("GivenBoxes have their classes and scores: give nothing else")
            return Request(image, boxes)
        return Request(image, GivenBoxes(boxes, classes, scores))

    def _prepare(self, position: int, request: ImageLike | Request, color: Color) -> _Prepared:
        request = request if isinstance(request, Request) else Request(request)
        picture = to_picture(request.image, color, self._mapper.image_format)
        height, width = picture.shape[:2]
        given, clipped = request.given, 0
        task, record = "sgdet", dict[str, Any]()
        if given is not None:
            given = given if isinstance(given, GivenBoxes) else GivenBoxes(given)
            boxes, clipped = given.inside(height, width)
            classes = given.class_indices(self.thing_classes)
            if classes is None:
                # The classes are found out; the mapper takes annotations that have some.
                task, record = "sgcls", {"annotations": Annotations(boxes, [0] * len(boxes))}
            elif given.scores is None:
                task, record = "prdcls", {"annotations": Annotations(boxes, classes)}
            else:
                record = {"detections": {"boxes": boxes, "classes": classes, "scores": given.scores}}
        inputs = self._mapper.map_picture(picture, record)
        if "detections" in inputs and len(inputs["detections"]) < len(record["detections"]["boxes"]):
            raise ValueError("a box is too thin: it has no area left when the image is resized for the model")
        return _Prepared(position, request, task, inputs, clipped)

    def _kind(self, prepared: _Prepared, pad: bool) -> tuple[Any, ...]:
        """What images of one batch share: what is given, and, unless they are padded to it, the size."""
        given = prepared.task, "detections" in prepared.inputs
        if pad:
            return given
        backbone = self.model.backbone
        shape = torch.empty(prepared.inputs["image"].shape, device="meta")
        padded = ImageList.from_tensors(
            [shape], backbone.size_divisibility, padding_constraints=backbone.padding_constraints
        )
        return *given, padded.tensor.shape

    def _predict(self, batch: list[_Prepared], color: Color) -> Iterator[Outcome]:
        # Calls with other tasks may run at the same time, so the model itself stays as it is. The copy
        # shares all parts and weights.
        model = copy(self.model)
        model.task = batch[0].task
        outputs: list[dict[str, Any]] = []
        failure: Outcome | None = None
        try:
            with torch.no_grad(), self.parts.autocast():
                outputs = model([prepared.inputs for prepared in batch])
        except Exception as error:  # as above
            failure = _failed(batch[0].position, error)
        # Outside of the except block, where nothing of the batch is in memory any more.
        if failure is not None and len(batch) == 1:
            yield failure
            return
        if failure is not None:
            reason = failure.error
            logger.warning("a batch of %d images failed (%s): its images are tried alone", len(batch), reason)
            for prepared in batch:
                yield from self._predict([prepared], color)
            return
        for prepared, output in zip(batch, outputs, strict=True):
            prediction = Prediction(
                output,
                thing_classes=self.thing_classes,
                predicate_classes=self.predicate_classes,
                source=prepared.request.image,
                color=color,
                clipped_boxes=prepared.clipped,
            )
            yield Outcome(prepared.position, prediction)


def _failed(position: int, error: Exception) -> Outcome:
    """The outcome of an image that failed. What its tracebacks hold, such as feature maps, is freed."""
    link: BaseException | None = error
    while link is not None:
        clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return Outcome(position, error=error)


def _prediction(outcome: Outcome) -> Prediction:
    if outcome.error is not None:
        raise outcome.error
    return cast(Prediction, outcome.prediction)


def _check_number_of_names(vocabulary: Vocabulary, parts: RunParts) -> None:
    """Checks that a checkpoint names each class of the model once.

    Raises:
        ValueError: it does not. The message names the checkpoint.
    """
    for kind, (key, number) in parts.class_counts().items():
        names = vocabulary.names(kind)
        if len(names) != number or len(set(names)) != number or not all(names):
            different = len(set(names) - {""})
            raise ValueError(
                f"{parts.weights} has {len(names)} {kind} in its 'vocabulary', {different} of them different "
                f"names, and {key} is {number}: every class needs a name of its own. Correct the vocabulary, "
                "or get the file again"
            )


def _vocabulary_of_config(parts: RunParts) -> Vocabulary:
    names = parts.test_datasets or parts.train_datasets
    if not names:
        raise ValueError(
            f"neither the checkpoint {parts.weights} nor the config names the classes: name a registered "
            f"data set of these classes as {parts.keys.test_datasets}, or add the names to the checkpoint "
            '("A checkpoint without class names" in docs/checkpoints.md)'
        )
    return check_vocabulary(parts, names[:1])
