"""Ranked lists of triplets: ordering them, cutting them, and building one from annotated pairs."""

import numpy as np

from .graphs import AnnotatedPairs, RankedTriplets


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


def annotated_triplets(pairs: AnnotatedPairs, list_length: int) -> RankedTriplets:
    """Rank all predicates of the annotated pairs against each other ("gt pairs").

    Every annotated relationship brings its own P triplets: the pair of a repeated relationship, or of one
        with
    two predicates, takes as many places in the list as it has rows. Order: score falling, then row, then
    rank in pair; inside a pair: probability falling, then predicate.

    Args:
        pairs: A annotated pairs.
        list_length: longest list that will be cut from the result (see `shorten`).
    """
    order = np.argsort(-pairs.predicate_probs, axis=1, kind="stable")
    num_pairs, num_predicates = order.shape
    score = np.take_along_axis(pairs.score[:, None] * pairs.predicate_probs, order, axis=1)
    triplets = RankedTriplets(
        subject=np.repeat(pairs.subject, num_predicates),
        object=np.repeat(pairs.object, num_predicates),
        predicate=order.reshape(-1),
        score=score.reshape(-1),
        rank_in_pair=np.tile(np.arange(1, num_predicates + 1), num_pairs),
    )
    return shorten(sort_triplets(triplets), list_length)
