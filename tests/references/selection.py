"""Selection of relationships that scores every pair, for tests and the benchmark of the early stop."""

from collections.abc import Callable

import torch
from torch import Tensor

from reldn_d2.modeling.relation_head.selection import (
    Selection,
    _keep_complete_lists,
    _rank_one_threshold,
    select_relationships,
)


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
    """`select_relationships` without the early stop, in the same chunks."""
    order = (scores[first] * scores[second]).argsort(descending=True, stable=True)
    # There is no early stop within one chunk. Without pairs there is one empty chunk.
    best: Selection | None = None
    for rows in torch.split(order, chunk_size):
        found = select_relationships(
            score_pairs,
            scores,
            first[rows],
            second[rows],
            num_predicates=num_predicates,
            top_k=top_k,
            chunk_size=chunk_size,
        )
        if best is None:
            best = found
            continue
        best = Selection.cat([best, found])
        best = _keep_complete_lists(best, _rank_one_threshold(best, top_k), num_predicates, top_k)
    assert best is not None
    return best
