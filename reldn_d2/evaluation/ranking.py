"""Ranked lists of triplets: ordering them, cutting them, and building one from annotated pairs."""

import numpy as np

from .graphs import AnnotatedPairs, FloatArray, IntArray, RankedTriplets


def sort_triplets(triplets: RankedTriplets) -> RankedTriplets:
    """Order by falling score; equal scores keep the order they came in."""
    if np.all(triplets.score[:-1] >= triplets.score[1:]):
        return triplets
    return triplets.rows(np.argsort(-triplets.score, kind="stable"))


def shorten(triplets: RankedTriplets, list_length: int) -> RankedTriplets:
    """Drop every triplet that is in none of the lists "best `list_length` with rank_in_pair <= k", k = 1, 2,
    ...

    A triplet of rank r stays exactly when fewer than `list_length` better ones have rank <= r. What is left
    is at most `list_length` * P triplets and in practice a few hundred, however many pairs were scored.
    """
    ranks = triplets.rank_in_pair
    keep = np.zeros(len(triplets), dtype=np.bool_)
    end = len(triplets)
    for rank in range(1, int(ranks.max(initial=0)) + 1):
        # A list that allows more predicates a pair fills up no later, so `end` only falls.
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
    subject: IntArray,
    object: IntArray,
    pair_score: FloatArray,
    predicate_probs: FloatArray,
    list_length: int,
) -> RankedTriplets:
    """Rank all predicates of all pairs against each other.

    The score of a triplet is pair_score * predicate_prob. Order: score falling, then pair, then rank in pair;
    inside a pair: probability falling, then predicate. A pair given twice competes twice.

    Args:
        subject, object: (M,) int, entity rows of the pairs.
        pair_score: (M,) float, not negative; subject score times object score.
        predicate_probs: (M, P) float, not negative; the softmax without its background column, not renormalised.
        list_length: longest list that will be cut from the result.

    Returns:
        What is left of the ranked M * P triplets after `shorten`. Most of them are never looked at: a pair whose
        best triplet is below the `list_length`-th best of these is in no list.

    Raises:
        ValueError: if a pair score or a probability is negative or not finite, or `list_length` is below 1.
    """
    if list_length < 1:
        raise ValueError(f"list_length must be >= 1, not {list_length}")
    best = pair_score * predicate_probs.max(axis=1, initial=0)
    lowest = min(pair_score.min(initial=0), predicate_probs.min(initial=0))
    if not np.isfinite(best).all() or lowest < 0:
        raise ValueError("pair scores and predicate probabilities must be finite and not negative")
    threshold = -np.partition(-best, list_length - 1)[list_length - 1] if len(best) > list_length else 0.0
    pairs = np.flatnonzero(best >= threshold)
    probs = predicate_probs[pairs]
    scores = pair_score[pairs, None] * probs
    row, predicate = np.nonzero(scores >= threshold)
    # A pair's triplets that are left are its best ones, so ranks are counted among them.
    by_rank = np.lexsort((predicate, -probs[row, predicate], row))
    row, predicate = row[by_rank], predicate[by_rank]
    rank = np.arange(1, len(row) + 1) - np.searchsorted(row, row)
    pair = pairs[row]
    triplets = RankedTriplets(subject[pair], object[pair], predicate, scores[row, predicate], rank)
    return shorten(sort_triplets(triplets), list_length)


def annotated_triplets(pairs: AnnotatedPairs, list_length: int) -> RankedTriplets:
    """Rank all predicates of the annotated pairs against each other ("gt pairs").

    Every annotated relationship brings its own P triplets: the pair of a repeated relationship, or of one with
    two predicates, takes as many places in the list as it has rows.

    Args:
        pairs: A annotated pairs.
        list_length: see `rank_triplets`.
    """
    return rank_triplets(pairs.subject, pairs.object, pairs.score, pairs.predicate_probs, list_length)
