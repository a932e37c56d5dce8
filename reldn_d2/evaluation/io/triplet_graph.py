"""Graph of triplets that name their ends by class and box, as files do that have no table of entities."""

import numpy as np
import numpy.typing as npt

from ..graphs import FloatArray, IntArray, PredictedGraph, RankedTriplets


def graph_of_triplets(
    classes: IntArray, boxes: FloatArray, predicate: IntArray, score: FloatArray
) -> PredictedGraph:
    """Graph of an image's T triplets.

    Ends of the same class and box are one entity, with two exceptions, for a graph can't hold a triplet twice or join
    an entity with itself: a repeated triplet gets its own copy of the subject, and so does one whose ends are the same.

    Args:
        classes: (T, 2) int, of subject and object.
        boxes: (T, 2, 4) float32, of subject and object.
        predicate: (T,) int.
        score: (T,) float32, never rising.

    Returns:
        The triplets in the order given; rank_in_pair counts those of an ordered pair in this order. Entity scores are
        not known, and 1.
    """
    if not len(score):
        return PredictedGraph.empty()
    ends = np.concatenate([classes[..., None], boxes], axis=2).reshape(-1, 5)
    things, thing = np.unique(ends, axis=0, return_inverse=True)
    subject, object = thing.reshape(-1, 2).T
    pair = subject * len(things) + object
    copy = _number_before(pair * (int(predicate.max()) + 1) + predicate) + (subject == object)
    num_copies = int(copy.max()) + 1
    ends_and_copies = np.concatenate([subject * num_copies + copy, object * num_copies])
    instances, instance = np.unique(ends_and_copies, return_inverse=True)
    subject, object = np.split(instance, 2)
    rank = 1 + _number_before(subject * len(instances) + object)
    entities = things[instances // num_copies]
    return PredictedGraph(
        boxes=entities[:, 1:].astype(np.float32),
        classes=entities[:, 0].astype(np.int32),
        scores=np.ones(len(entities), dtype=np.float32),
        relations=RankedTriplets(
            subject=subject.astype(np.int32),
            object=object.astype(np.int32),
            predicate=predicate.astype(np.int32),
            score=score,
            rank_in_pair=rank.astype(np.int32),
        ),
    )


def _number_before(keys: IntArray) -> npt.NDArray[np.int64]:
    """(T,) how many keys before each of (T,) are equal to it."""
    order = np.argsort(keys, kind="stable")
    number = np.empty(len(keys), dtype=np.int64)
    number[order] = np.arange(len(keys)) - np.searchsorted(keys[order], keys[order])
    return number
