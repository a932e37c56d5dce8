"""Exact ranking of an image's relationships without scoring every pair.

The score of a triplet is `(s · o) · p` with p at most 1, so the product of the two entity scores is an upper
bound for every triplet of a pair. Pairs are scored in chunks by falling bound. Once the worst of the `top_k`
best rank-1 triplets found so far is strictly above a bound, that pair and all following pairs can't enter the
list and are not scored. The chunk size limits the memory.

One list serves every number of predicates per pair. A triplet's *rank in its pair* is 1 for the pair's best
predicate, 2 for the second best, and so on. For each r the list contains the `top_k` best triplets of rank at
most r: a triplet of rank r stays if and only if fewer than `top_k` triplets before it have rank at most r.
The list of rank 1 fills last, so its last score decides when to stop for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from reldn_d2.structures import Pairs


@dataclass(frozen=True)
class Selection:
    """Triplets, ranked by falling score, then by subject row, object row and predicate.

    Attributes:
        subject, object: (K,) long, entity rows.
        predicate: (K,) long.
        score: (K,) float, `(s · o) · p`.
        rank_in_pair: (K,) long, 1 for the best predicate of the pair (equal p: the lower index first).
        predicate_score: (K,) float, p.
    """

    subject: Tensor
    object: Tensor
    predicate: Tensor
    score: Tensor
    rank_in_pair: Tensor
    predicate_score: Tensor

    def __len__(self) -> int:
        return self.score.shape[0]

    def __getitem__(self, rows: Tensor) -> "Selection":
        return Selection(*(getattr(self, f.name)[rows] for f in fields(self)))

    @staticmethod
    def cat(parts: list["Selection"]) -> "Selection":
        """Joins the triplets of several selections, in order."""
        return Selection(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Selection)))


def select_relationships(
    score_pairs: Callable[[Tensor, Tensor], Tensor],
    scores: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    num_predicates: int,
    top_k: int = 100,
    chunk_size: int = 256,
    stop_early: bool = True,
) -> Selection:
    """Finds the best relationships of one image. The result is that of ranking every triplet of every pair.

    Args:
        score_pairs: takes the entity rows (u,) and (u,) of a chunk of unordered pairs; returns the (2u, P)
            probabilities of the predicates (without ∅), first of all `first -> second`, then of all
            `second -> first`.
        scores: (E,) float, entity scores.
        first, second: (U,) long, the unordered pairs to consider.
        num_predicates: P.
        top_k: length of the list for each number of predicates per pair.
        chunk_size: number of unordered pairs scored at a time.
        stop_early: whether pairs whose bound is too low are left unscored, which needs probabilities of at
            most 1. Larger ones, by rounding, count as 1. False: every pair is scored.

    Returns:
        The list that the docstring of this module describes.

    Example:
        Probabilities of two predicates for each ordered pair of three entities. Here they are a table; a
        model computes those of a chunk:

        >>> import torch
        >>> from reldn_d2.modeling import select_relationships
        >>> table = torch.full((3, 3, 2), 0.1)
        >>> table[0, 1] = torch.tensor([0.2, 0.7])
        >>> table[2, 0] = torch.tensor([0.8, 0.1])
        >>> first, second = torch.combinations(torch.arange(3)).unbind(dim=1)
        >>> def score_pairs(a, b):
        ...     return torch.cat([table[a, b], table[b, a]])
        >>> scores = torch.tensor([1.0, 0.5, 0.5])
        >>> best = select_relationships(score_pairs, scores, first, second, num_predicates=2, top_k=2)
        >>> best = best[best.rank_in_pair == 1]  # one predicate a pair
        >>> torch.stack([best.subject, best.object, best.predicate], dim=1).tolist()
        [[2, 0, 0], [0, 1, 1]]
        >>> [round(score, 2) for score in best.score.tolist()]
        [0.4, 0.35]
    """
    bounds, order = (scores[first] * scores[second]).sort(descending=True, stable=True)
    first, second = first[order], second[order]
    # All bounds are transferred from the device at once, later only one number per chunk.
    rising = -bounds.double().cpu().numpy()
    best = Selection(
        subject=first[:0],
        object=first[:0],
        predicate=first[:0],
        score=scores[:0],
        rank_in_pair=first[:0],
        predicate_score=scores[:0],
    )
    start, threshold = 0, -torch.inf
    while start < len(first):
        end = min(start + chunk_size, len(first))
        if stop_early:
            # Only pairs whose bound reaches the threshold can still enter the list.
            end = min(end, int(np.searchsorted(rising, -threshold, side="right")))
            if end <= start:
                break
        rows = slice(start, end)
        start = end
        pairs = Pairs.both_directions(first[rows], second[rows])
        probs = score_pairs(first[rows], second[rows]).to(bounds.dtype)
        found = _triplets(probs.clamp(max=1) if stop_early else probs, bounds[rows].repeat(2), pairs)
        best = Selection.cat([best, found])
        threshold = _rank_one_threshold(best, top_k)
        best = _keep_complete_lists(best, threshold, num_predicates, top_k)
    return best


def _triplets(probs: Tensor, bounds: Tensor, pairs: Pairs) -> Selection:
    """Makes the (2u · P) triplets of a chunk."""
    # A stable sort puts the lower predicate first among equals.
    probs, predicate = probs.sort(dim=1, descending=True, stable=True)
    num_predicates = probs.shape[1]
    return Selection(
        subject=pairs.subject.repeat_interleave(num_predicates),
        object=pairs.object.repeat_interleave(num_predicates),
        predicate=predicate.flatten(),
        score=(bounds[:, None] * probs).flatten(),
        rank_in_pair=torch.arange(1, num_predicates + 1, device=probs.device).repeat(len(probs)),
        predicate_score=probs.flatten(),
    )


def _rank_one_threshold(triplets: Selection, top_k: int) -> float:
    """Score of the `top_k`-th best triplet of rank 1; minus infinity while there are fewer."""
    scores = triplets.score[triplets.rank_in_pair == 1]
    return scores.topk(top_k).values[-1].item() if len(scores) >= top_k else -torch.inf


def _keep_complete_lists(triplets: Selection, threshold: float, num_predicates: int, top_k: int) -> Selection:
    """Ranks the triplets and keeps those that are in one of the lists of rank at most 1, 2, ..."""
    # A triplet with a lower score than the k-th triplet of rank 1 has k better triplets of no higher rank.
    # Without these triplets the table of counts below is small. `~(<)` keeps NaN, so that a broken model is
    # noticed.
    triplets = triplets[~(triplets.score < threshold)]
    triplets = triplets[_ranking(triplets)]
    ranks = torch.arange(1, num_predicates + 1, device=triplets.score.device)
    at_most = triplets.rank_in_pair[:, None] <= ranks
    before = (at_most.cumsum(dim=0) - at_most.long()).gather(1, triplets.rank_in_pair[:, None] - 1)[:, 0]
    return triplets[before < top_k]


def _ranking(triplets: Selection) -> Tensor:
    """Order by falling score, then subject, object, predicate: stable sorts, the last key first."""
    order = triplets.predicate.argsort(stable=True)
    order = order[triplets.object[order].argsort(stable=True)]
    order = order[triplets.subject[order].argsort(stable=True)]
    return order[triplets.score[order].argsort(descending=True, stable=True)]
