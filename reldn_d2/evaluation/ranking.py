"""Ranked lists of triplets: making one from the scores of pairs, sorting it, and cutting it."""

import numpy as np
import numpy.typing as npt

from .graphs import PairAnswers, RankedTriplets


def sort_triplets(triplets: RankedTriplets) -> RankedTriplets:
    """Sort by descending score. Equal scores keep their order."""
    if np.all(triplets.score[:-1] >= triplets.score[1:]):
        return triplets
    return triplets.rows(np.argsort(-triplets.score, kind="stable"))


def truncate(triplets: RankedTriplets, list_length: int) -> RankedTriplets:
    """Drop the triplets that no limit on the predicates of a pair lets into the list.

    The list of limit k = 1, 2, ... holds the best `list_length` triplets with rank_in_pair <= k. A triplet of
    rank r stays if and only if fewer than `list_length` better triplets have a rank <= r. At most
    `list_length` * P triplets remain, in practice a few hundred, for any number of scored pairs.
    """
    ranks = triplets.rank_in_pair
    keep = np.zeros(len(triplets), dtype=np.bool_)
    end = len(triplets)
    for rank in range(1, int(ranks.max(initial=0)) + 1):
        # A list with more predicates per pair is full at the same place or earlier, so `end` never grows.
        in_list = np.flatnonzero(ranks[:end] <= rank)
        if len(in_list) >= list_length:
            end = int(in_list[list_length - 1]) + 1
        keep[:end] |= ranks[:end] == rank
    return triplets.rows(keep)


def top_triplets(triplets: RankedTriplets, predicates_per_pair: int, list_length: int) -> RankedTriplets:
    """The best `list_length` triplets among the best `predicates_per_pair` of each pair."""
    allowed = np.flatnonzero(triplets.rank_in_pair <= predicates_per_pair)
    return triplets.rows(allowed[:list_length])


def rank_triplets(
    subject: npt.ArrayLike,
    object: npt.ArrayLike,
    pair_score: npt.ArrayLike,
    predicate_probs: npt.ArrayLike,
    list_length: int,
) -> RankedTriplets:
    """Rank all predicates of all pairs in one list.

    This is for a model that scores every predicate of its pairs. A table that is filled up with zeros makes
    triplets of score 0, which find relationships by chance: `graph_from_triplets` takes lists as they are.

    The score of a triplet is pair_score * predicate_prob. The list is sorted by descending score, then by
    pair, then by rank in pair. The ranks of a pair go by descending probability, then by predicate. A pair
    that is given twice is in the list twice. Tensors on the CPU and lists do as well as arrays.

    Args:
        subject, object: (M,) int, entity rows of the pairs.
        pair_score: (M,) float, not negative; subject score times object score.
        predicate_probs: (M, P) float, not negative; the softmax without its background column, not
            renormalised.
        list_length: length of the longest list that will be cut from the result.

    Returns:
        The ranked M * P triplets after `truncate`. Most of them are never computed: a pair can't be in a
        list if its best triplet scores below the best triplets of `list_length` other pairs.

    Raises:
        ValueError: if shapes do not fit, a pair score or a probability is negative or not finite, or
            `list_length` is below 1.

    Example:
        >>> import numpy as np
        >>> from reldn_d2.evaluation import rank_triplets
        >>> subject, object = np.array([0, 1]), np.array([1, 0])
        >>> probs = np.array([[0.5, 0.25], [0.0, 0.75]])
        >>> ranked = rank_triplets(subject, object, np.array([1.0, 0.5]), probs, list_length=100)
        >>> list(zip(ranked.subject.tolist(), ranked.object.tolist(), ranked.predicate.tolist(), strict=True))
        [(0, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0, 0)]
        >>> ranked.score.tolist(), ranked.rank_in_pair.tolist()
        ([0.5, 0.375, 0.25, 0.0], [1, 1, 2, 2])
    """
    if list_length < 1:
        raise ValueError(f"list_length must be >= 1, not {list_length}")
    subject, object = np.asarray(subject), np.asarray(object)
    pair_score, predicate_probs = np.asarray(pair_score), np.asarray(predicate_probs)
    of_pairs = [subject.shape, object.shape, pair_score.shape]
    if predicate_probs.ndim != 2 or set(of_pairs) != {(len(predicate_probs),)}:
        raise ValueError(
            "subject, object and pair_score must be (M,) and predicate_probs (M, P), not "
            f"{', '.join(map(str, of_pairs))} and {predicate_probs.shape}"
        )
    best = pair_score * predicate_probs.max(axis=1, initial=0)
    lowest = min(pair_score.min(initial=0), predicate_probs.min(initial=0))
    if not np.isfinite(best).all() or lowest < 0:
        raise ValueError("pair scores and predicate probabilities must be finite and not negative")
    threshold = -np.partition(-best, list_length - 1)[list_length - 1] if len(best) > list_length else 0.0
    pairs = np.flatnonzero(best >= threshold)
    probs = predicate_probs[pairs]
    scores = pair_score[pairs, None] * probs
    row, predicate = np.nonzero(scores >= threshold)
    # The remaining triplets of a pair are its best ones, so they are enough to count ranks.
    by_rank = np.lexsort((predicate, -probs[row, predicate], row))
    row, predicate = row[by_rank], predicate[by_rank]
    rank = np.arange(1, len(row) + 1) - np.searchsorted(row, row)
    pair = pairs[row]
    triplets = RankedTriplets(subject[pair], object[pair], predicate, scores[row, predicate], rank)
    return truncate(sort_triplets(triplets), list_length)


def rank_pair_answers(pairs: PairAnswers, list_length: int) -> RankedTriplets:
    """Rank all predicates of the pairs that the model was asked about.

    Every row has its own P triplets. So a pair with two rows has twice as many triplets in the list.

    Args:
        pairs: A rows.
        list_length: see `rank_triplets`.
    """
    return rank_triplets(pairs.subject, pairs.object, pairs.score, pairs.predicate_probs, list_length)
