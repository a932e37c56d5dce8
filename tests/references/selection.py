"""Selection of relationships image by image, for tests and benchmarks. It may score every pair."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from reldn_d2.modeling import Selection
from reldn_d2.structures import Pairs


def select_image_by_image(
    score_pairs: Callable[[Tensor, Tensor], Tensor],
    scores: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    num_predicates: int,
    top_k: int,
    chunk_size: int,
    stop_early: bool = True,
) -> Selection:
    """`select_relationships` with boolean indices, which make a GPU wait, and with all columns of a chunk."""
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
        best = _cat([best, found])
        threshold = _rank_one_threshold(best, top_k)
        best = _keep_complete_lists(best, threshold, num_predicates, top_k)
    return best


def _cat(parts: list[Selection]) -> Selection:
    return Selection(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Selection)))


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


def select_from_every_pair(
    score_pairs: Callable[[Tensor, Tensor], Tensor],
    scores: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    num_predicates: int,
    top_k: int,
    chunk_size: int,
) -> Selection:
    """`select_relationships` without the early stop."""
    return select_image_by_image(
        lambda a, b: score_pairs(a, b).clamp(max=1),
        scores,
        first,
        second,
        num_predicates=num_predicates,
        top_k=top_k,
        chunk_size=chunk_size,
        stop_early=False,
    )
