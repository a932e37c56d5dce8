"""Graphs of lists of scored triplets, which is what other projects usually have of a model's predictions.

A list may hold a triplet several times. Repeats stay in the list: each takes a place, and a repeat of a right
triplet is a false positive where a relationship is answered once. All repeats of a triplet have the rank in
pair of the best of them. So a repeat lets no other predicate into a list with at most k predicates a pair.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .graphs import BoolArray, IntArray, PredictedGraph, RankedTriplets
from .ranking import sort_triplets
from .rows import number_rows, repeat_numbers


def graph_from_triplets(
    subject_classes: npt.ArrayLike,
    subject_boxes: npt.ArrayLike,
    object_classes: npt.ArrayLike,
    object_boxes: npt.ArrayLike,
    predicate: npt.ArrayLike,
    score: npt.ArrayLike,
    *,
    merge_repeats: bool = False,
) -> PredictedGraph:
    """Make the graph of an image from its T scored triplets, in any order. For sgdet.

    Columns are arrays, lists or tensors on the CPU. All are empty if nothing was found.

    Subjects and objects with the same class and box are one entity. Only the given triplets are in the graph.
    Those that repeat another one (the same classes, boxes and predicate) stay, see the module.

    Args:
        subject_classes, object_classes: (T,) int in [0, C).
        subject_boxes, object_boxes: (T, 4) XYXY in pixels of the original image.
        predicate: (T,) int in [0, P).
        score: (T,) of any range, ranked as float64. Equal scores keep their order.
        merge_repeats: whether only the best of equal triplets is in the graph.

    Returns:
        The graph, best triplets first, with ranks in pair. Entity scores are not known; they are 1.

    Raises:
        ValueError: if shapes or types do not fit, or a number is not finite.

    Example:
        A list that says twice that the person holds the cup:

        >>> import numpy as np
        >>> from reldn_d2.evaluation import graph_from_triplets
        >>> person, cup = [0, 0, 50, 90], [40, 30, 50, 40]
        >>> graph = graph_from_triplets(
        ...     np.array([0, 0, 0]), np.array([person] * 3), np.array([1, 1, 1]), np.array([cup] * 3),
        ...     predicate=np.array([2, 5, 2]), score=np.array([0.75, 0.5, 0.25]),
        ... )
        >>> len(graph.boxes), graph.relations.predicate.tolist(), graph.relations.rank_in_pair.tolist()
        (2, [2, 5, 2], [1, 2, 1])
    """
    score = _numbers("score", score)
    count = len(score)
    of_roles = []
    for name, of_boxes, of_classes in (
        ("subject", subject_boxes, subject_classes),
        ("object", object_boxes, object_classes),
    ):
        boxes, classes = _boxes(f"{name}_boxes", of_boxes), _integers(f"{name}_classes", of_classes)
        if boxes.shape != (count, 4) or classes.shape != (count,):
            raise ValueError(
                f"{name}_boxes and {name}_classes must be (T, 4) and (T,) with T = {count} as in score, not "
                f"{boxes.shape} and {classes.shape}"
            )
        of_roles.append((classes, boxes))
    classes, boxes = (np.concatenate(columns) for columns in zip(*of_roles, strict=True))
    boxes = boxes.astype(np.float64)
    if not np.isfinite(boxes).all():
        raise ValueError("a box is not finite")
    first, entity = number_rows(np.column_stack([classes, boxes]))
    subject, object = entity.reshape(2, count)
    return graph_from_entities(
        boxes[first],
        classes[first],
        subject,
        object,
        predicate,
        score,
        merge_repeats=merge_repeats,
    )


def graph_from_entities(
    boxes: npt.ArrayLike,
    classes: npt.ArrayLike,
    subject: npt.ArrayLike,
    object: npt.ArrayLike,
    predicate: npt.ArrayLike,
    score: npt.ArrayLike,
    *,
    entity_scores: npt.ArrayLike | None = None,
    merge_repeats: bool = False,
) -> PredictedGraph:
    """Make the graph of an image from E entities and T scored triplets of their rows, in any order.

    In sgcls and prdcls the entities are all annotated ones, in annotation order. Columns are arrays, lists or
    tensors on the CPU.

    Args:
        boxes: (E, 4) XYXY in pixels of the original image.
        classes: (E,) int in [0, C).
        subject, object: (T,) int, rows of the entities.
        predicate, score, merge_repeats: see `graph_from_triplets`.
        entity_scores: (E,); 1 if not given.

    Returns:
        The graph, best triplets first, with ranks in pair.

    Raises:
        ValueError: if shapes or types do not fit, or a score is not finite. Boxes and the ranges of classes
            and rows are checked when the graph is scored.
    """
    boxes, classes = _boxes("boxes", boxes), _integers("classes", classes)
    subject, object = _integers("subject", subject), _integers("object", object)
    predicate, score = _integers("predicate", predicate), _numbers("score", score)
    shapes = [column.shape for column in (subject, object, predicate, score)]
    if set(shapes) != {(len(score),)}:
        raise ValueError(f"subject, object, predicate and score must all be (T,), not {shapes}")
    if not np.isfinite(score).all():
        raise ValueError("a score is not finite")
    no_rank = np.zeros(len(score), dtype=np.int64)
    triplets = sort_triplets(RankedTriplets(subject, object, predicate, score.astype(np.float64), no_rank))
    rank, repeated = _ranks_and_repeats(triplets)
    triplets = replace(triplets, rank_in_pair=rank)
    if merge_repeats:
        triplets, repeated = triplets.rows(~repeated), repeated[:0]
    return PredictedGraph(
        boxes,
        classes,
        np.ones(len(boxes)) if entity_scores is None else _numbers("entity_scores", entity_scores),
        triplets,
        has_repeats=bool(repeated.any()),
    )


def repeats(triplets: RankedTriplets) -> BoolArray:
    """(T,) whether the list has the same subject, object and predicate at an earlier place."""
    return _ranks_and_repeats(triplets)[1]


def _numbers(name: str, values: npt.ArrayLike, kinds: str = "fiu") -> npt.NDArray[Any]:
    """The values as an array, whose type has one of these kinds of NumPy. That of an empty one is free."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in kinds:
        raise ValueError(f"{name} must be {'numbers' if 'f' in kinds else 'integers'}, not {array.dtype}")
    return array


def _integers(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    array = _numbers(name, values, kinds="iu")
    return array if array.size else array.astype(np.int64)


def _boxes(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """The boxes as an array; an empty list has no boxes."""
    array = _numbers(name, values)
    return array if array.size else array.reshape(-1, 4)


def _ranks_and_repeats(triplets: RankedTriplets) -> tuple[IntArray, BoolArray]:
    """(T,) ranks in pair of triplets that come best first, and (T,) whether each repeats an earlier one."""
    first, number = number_rows(np.stack([triplets.subject, triplets.object, triplets.predicate], axis=1))
    repeated = np.ones(len(triplets), dtype=np.bool_)
    repeated[first] = False
    kept = triplets.rows(~repeated)
    rank = np.empty(len(first), dtype=np.int64)
    rank[number[~repeated]] = 1 + repeat_numbers(
        number_rows(np.stack([kept.subject, kept.object], axis=1))[1]
    )
    return rank[number], repeated


def count_repeats(graphs: Iterable[PredictedGraph]) -> tuple[int, int]:
    """The number of triplets that repeat another one of their image, and the number of all triplets."""
    repeated = total = 0
    for graph in graphs:
        total += len(graph.relations)
        repeated += int(repeats(graph.relations).sum()) if graph.has_repeats else 0
    return repeated, total


def repeats_note(repeated: int, total: int, *, merged: bool = False) -> str:
    """A sentence that says how many triplets are repeats, and how they count; empty without repeats."""
    if not repeated:
        return ""
    rule = "are left out: only the best of each counts (merged repeats)" if merged else "count as well"
    return f"{repeated} of {total} triplets repeat another one of their image, and {rule}."
