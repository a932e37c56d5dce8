"""Metrics of scene graphs that come in batches, in one process or in several.

`GraphMetrics` is for a training loop of any project. It keeps what each protocol found in an image, which is
small, and not the graphs. `evaluate_graphs` has the same steps for graphs that are all there.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from detectron2.utils import comm

from reldn_d2.utils.io import digest

from .checks import check_graphs
from .graphs import (
    GroundTruthGraph,
    IntArray,
    PairAnswers,
    PredictedGraph,
    RankedTriplets,
    Task,
    TripletAnswers,
    parse_task,
)
from .protocols.protocol import EvaluatedSplit, EvaluationProtocol, ProtocolResult, ScoredImage
from .protocols.registry import resolve_protocols

NOTHING_TO_EVALUATE = "the data set has no annotated relationship: there is nothing to evaluate"

_Graph = TypeVar(
    "_Graph", bound=GroundTruthGraph | PredictedGraph | RankedTriplets | PairAnswers | TripletAnswers
)


@dataclass(frozen=True)
class _Image:
    """What is kept of an image.

    Attributes:
        digest: of its two graphs.
        has_relationships: whether it has an annotated relationship.
        records: what `EvaluationProtocol.match` of each protocol returned.
    """

    digest: str
    has_relationships: bool
    records: tuple[Any, ...]


class GraphMetrics:
    """Metrics of scene graphs that come in batches: update, compute, reset, and merging.

    The numbers are those of `evaluate_graphs`, bit for bit, for any order of the images, any batches, and any
    number of processes. The object can be pickled if its protocols can, as all of this package can.

    In several processes, each updates with its own images. `gather` brings them to the main process:

        metrics.gather()
        if comm.is_main_process():
            results = metrics.compute()

    Example:
        >>> import numpy as np
        >>> from reldn_d2.evaluation import (
        ...     EvaluatedSplit, GraphMetrics, GroundTruthGraph, PredictedGraph, rank_triplets
        ... )
        >>> metrics = GraphMetrics("sgdet", ["motifs"], EvaluatedSplit(["holds"]))
        >>> boxes, classes = np.array([[0.0, 0, 50, 90], [40, 30, 50, 40]]), np.array([0, 1])
        >>> truth = GroundTruthGraph(boxes, classes, relations=np.array([[0, 1, 0]]))
        >>> subject, object, probs = np.array([0]), np.array([1]), np.array([[0.6]])
        >>> ranked = rank_triplets(subject, object, np.ones(1), probs, list_length=100)
        >>> metrics.update({"7": truth}, {"7": PredictedGraph(boxes, classes, np.ones(2), ranked)})
        >>> metrics.update({"8": truth}, {"8": PredictedGraph.empty()})
        >>> metrics.compute()["motifs"].metrics["R@20"]
        50.0
    """

    def __init__(
        self,
        task: str,
        protocols: Sequence[str | EvaluationProtocol[Any]],
        split: EvaluatedSplit,
        *,
        allow_missing: bool = False,
    ) -> None:
        """Create metrics without images.

        Args:
            task: "sgdet", "sgcls" or "prdcls", in lower or upper case.
            protocols: see `resolve_protocols`.
            split: names of the predicates, and the training split if it is known.
            allow_missing: count an image without prediction as an image where nothing was found.

        Raises:
            ValueError: if the task is unknown, or if a protocol does not fit (see `resolve_protocols`).
        """
        self._task = parse_task(task)
        self._split, self._allow_missing = replace(split, task=self._task), allow_missing
        self._protocols = resolve_protocols(protocols, self._task, split.predicate_classes)
        self._images: dict[str, _Image] = {}

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def reset(self) -> None:
        """Forget all images."""
        self._images = {}

    def update(
        self, truths: Mapping[str, GroundTruthGraph], predictions: Mapping[str, PredictedGraph]
    ) -> None:
        """Match the predictions for some images with their annotations.

        If there is an error, no image of the batch is added.

        Args:
            truths: image id -> annotation. The values may be tensors on any device, in place of arrays.
            predictions: image id -> prediction for each of these images, with its triplets best first.

        Raises:
            ValueError: if the ids of the two differ, if an image was there before, or if a graph fails a
                check (see `evaluate_graphs`). The message names the image.
        """
        refuse_unequal_ids(truths, predictions, allow_missing=self._allow_missing)
        added: dict[str, _Image] = {}
        for image_id, truth in truths.items():
            if image_id in self._images:
                raise ValueError(
                    f"image {image_id}: it was in an earlier update. Give every image once, and call reset() "
                    "before another evaluation"
                )
            where = f"image {image_id}"
            truth, predicted = as_arrays(truth, where), predictions.get(image_id)
            predicted = None if predicted is None else as_arrays(predicted, where)
            check_for_split(truth, predicted, self._task, self._protocols, self._split, where)
            predicted = PredictedGraph.empty() if predicted is None else predicted
            image = scored_image(image_id, truth, predicted, self._split)
            records = tuple(matched(protocol, image, self._task) for protocol in self._protocols)
            # A record may be a view of the caller's arrays, which may be large, and used again.
            records = deepcopy(records)
            added[image_id] = _Image(digest(_parts((truth, predicted))), bool(len(truth.relations)), records)
        self._images |= added

    def merge(self, others: Iterable["GraphMetrics"]) -> None:
        """Add the images of other metrics, for example of other processes.

        An image that several of them have counts once, since some samplers give an image to two processes.

        Args:
            others: metrics with the same task, protocols and predicates. They are not changed.

        Raises:
            ValueError: if they have others, or if two have an image with different graphs. The message names
                the image. Nothing is added.
        """
        parts = []
        for other in others:
            if other._settings() != self._settings():
                raise ValueError(
                    f"metrics of {self._settings()} can't be merged with metrics of {other._settings()}"
                )
            parts.append(other._images)
        self._images = _joined([self._images, *parts])

    def gather(self) -> None:
        """Bring the images of all processes to the main one; the others keep none.

        Every process has to call it. With a single process, nothing happens.

        Raises:
            ValueError: in the main process, see `merge`.
        """
        shards = comm.gather(self._images, dst=0)
        self._images = _joined(shards) if comm.is_main_process() else {}

    def compute(self, *, subsets: Mapping[str, Collection[str]] | None = None) -> dict[str, ProtocolResult]:
        """The numbers of all images. They stay, so that more can be added.

        Args:
            subsets: see `evaluate_graphs`.

        Returns:
            Name of the protocol -> result, as `evaluate_graphs` returns it.

        Raises:
            ValueError: if no image has an annotated relationship, for example because there is no image.
        """
        ids = sorted(self._images)
        images = [self._images[image_id] for image_id in ids]
        related = [image.has_relationships for image in images]
        if not any(related):
            raise ValueError(NOTHING_TO_EVALUATE)
        chosen = chosen_rows(ids, subsets)
        results: dict[str, ProtocolResult] = {}
        for i, protocol in enumerate(self._protocols):
            records = [image.records[i] for image in images]
            results |= summarised(protocol, ids, records, related, chosen, self._split)
        return results

    def _settings(self) -> tuple[Task, list[str], list[str]]:
        return self._task, [protocol.name for protocol in self._protocols], [*self._split.predicate_classes]


def _joined(shards: Iterable[Mapping[str, _Image]]) -> dict[str, _Image]:
    """The images of all shards. See `GraphMetrics.merge`."""
    images: dict[str, _Image] = {}
    for shard in shards:
        for image_id, image in shard.items():
            if images.setdefault(image_id, image).digest != image.digest:
                raise ValueError(
                    f"image {image_id}: two processes have different graphs for it. Give every image its own "
                    "id, and every process the same model"
                )
    return images


def _parts(graph: Any) -> Iterator[Any]:
    """The arrays and other values of a graph, one after the other, for a digest."""
    if isinstance(graph, np.ndarray):
        yield graph
    elif isinstance(graph, tuple):
        for part in graph:
            yield from _parts(part)
    elif is_dataclass(graph):
        for field in fields(graph):
            yield field.name
            yield from _parts(getattr(graph, field.name))
    else:
        yield repr(graph)


def as_arrays(graph: _Graph, where: str) -> _Graph:
    """A graph whose tensors are replaced by arrays; the graph itself if it has none.

    Args:
        graph: a dataclass of arrays or tensors, or of such dataclasses.
        where: name of the image, for errors.

    Raises:
        ValueError: if a list or tuple is given in place of an array.
    """
    changed: dict[str, Any] = {}
    for field in fields(graph):
        value = getattr(graph, field.name)
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            # NumPy has no bfloat16.
            changed[field.name] = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        elif isinstance(value, (list, tuple)):
            raise ValueError(f"{where}: '{field.name}' must be an array, not a {type(value).__name__}")
        elif isinstance(value, (RankedTriplets, PairAnswers, TripletAnswers)):
            arrays = as_arrays(value, where)
            if arrays is not value:
                changed[field.name] = arrays
    return replace(graph, **changed) if changed else graph


def refuse_unequal_ids(truths: Collection[str], predictions: Collection[str], *, allow_missing: bool) -> None:
    """Refuse predictions that are not those of the annotated images.

    Args:
        truths: ids of the annotated images.
        predictions: ids of the images with a prediction.
        allow_missing: whether annotated images may lack a prediction.

    Raises:
        ValueError: the message names the first images; also if an id is no text.
    """
    no_text = [image_id for ids in (truths, predictions) for image_id in ids if not isinstance(image_id, str)]
    if no_text:
        raise ValueError(
            f"image {no_text[0]!r}: the ids of images are texts (images are sorted by them), not "
            f"{type(no_text[0]).__name__}; give str(id)"
        )
    unknown = sorted(set(predictions) - set(truths))
    if unknown:
        raise ValueError(f"predictions for images that the data set does not have: {', '.join(unknown[:5])}")
    missing = sorted(set(truths) - set(predictions))
    if missing and not allow_missing:
        raise ValueError(
            f"no prediction for {len(missing)} of {len(truths)} images: image {', '.join(missing[:5])}. "
            "Give an image where nothing was found an empty prediction, or set allow_missing to count "
            "missing images as empty"
        )


def check_for_split(
    truth: GroundTruthGraph,
    predicted: PredictedGraph | None,
    task: Task,
    protocols: Sequence[EvaluationProtocol[Any]],
    split: EvaluatedSplit,
    where: str,
) -> None:
    """Check the two graphs of an image, see `check_graphs`. If there is no prediction, it is None."""
    num_classes = split.num_classes
    if num_classes is None and split.training is not None:
        num_classes = split.training.num_classes
    check_graphs(
        truth,
        predicted,
        task,
        protocols,
        num_classes=num_classes,
        num_predicates=len(split.predicate_classes),
        where=where,
    )


def scored_image(
    image_id: str, truth: GroundTruthGraph, predicted: PredictedGraph, split: EvaluatedSplit
) -> ScoredImage:
    """An image as protocols take it."""
    zero_shot = None if split.training is None else split.training.is_zero_shot(truth)
    return ScoredImage(image_id, truth, predicted, zero_shot)


def matched(protocol: EvaluationProtocol[Any], image: ScoredImage, task: Task) -> Any:
    """What a protocol finds in an image.

    Raises:
        ValueError: the protocol can't use the prediction, for example because it lacks an answer. The message
            names the image and the protocol.
    """
    try:
        return protocol.match(image, task)
    except ValueError as error:
        raise ValueError(
            f"image {image.image_id}: protocol {protocol.name} can't compare its prediction: {error}"
        ) from error


def chosen_rows(ids: Sequence[str], subsets: Mapping[str, Collection[str]] | None) -> dict[str, IntArray]:
    """Suffix of the name of a result -> rows of its images: "" for all, and one for each subset."""
    chosen: dict[str, IntArray] = {"": np.arange(len(ids))}
    for name, members in (subsets or {}).items():
        chosen[f"_{name}"] = np.flatnonzero([image_id in members for image_id in ids])
    return chosen


def summarised(
    protocol: EvaluationProtocol[Any],
    ids: Sequence[str],
    records: Sequence[Any],
    related: Sequence[bool],
    chosen: Mapping[str, IntArray],
    split: EvaluatedSplit,
) -> dict[str, ProtocolResult]:
    """The results of a protocol for all images and for subsets.

    Args:
        protocol: the protocol.
        ids: ids of the images, sorted.
        records: what the protocol found in each image.
        related: whether each image has an annotated relationship.
        chosen: see `chosen_rows`. What has no annotated relationship has no result.
        split: see `evaluate_graphs`.
    """
    results = {}
    for suffix, rows in chosen.items():
        if any(related[row] for row in rows):
            result = protocol.summarise([ids[i] for i in rows], [records[i] for i in rows], split)
            results[f"{protocol.name}{suffix}"] = with_suffix(result, suffix)
    return results


def with_suffix(result: ProtocolResult, suffix: str) -> ProtocolResult:
    """A result whose counts of images have names that end with the suffix of a subset."""
    return replace(result, per_image={f"{name}{suffix}": counts for name, counts in result.per_image.items()})
