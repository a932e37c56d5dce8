"""Exact ranking of relationships without scoring every pair.

The score of a triplet is `(s · o) · p` with p at most 1, so the product of the two entity scores is an upper
bound for every triplet of a pair. Pairs are scored in chunks by falling bound. Once the worst of the `top_k`
best rank-1 triplets of an image found so far is strictly above a bound, that pair and all following pairs of
the image can't enter its list and are not scored. The chunk size limits the memory.

One list serves every number of predicates per pair. A triplet's *rank in its pair* is 1 for the pair's best
predicate, 2 for the second best, and so on. For each r the list contains the `top_k` best triplets of rank at
most r: a triplet of rank r stays if and only if fewer than `top_k` triplets before it have rank at most r.
The list of rank 1 fills last, so its last score decides when to stop for all of them.

The images of a batch are ranked together: a chunk has pairs of every image that has not stopped. What an
image gets does not depend on the others. A GPU waits for the host once before the first chunk, once in each
chunk and once at the end, however many images there are. So which rows stay is kept as a mask until the next
chunk, which reads how many rows there are together with the scores that decide when to stop.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reldn_d2.structures import Pairs

from .fixed_shapes import true_rows

PairScorer = Callable[[Tensor, Tensor], Tensor]


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

    def __getitem__(self, rows: Tensor | slice) -> "Selection":
        return Selection(*(getattr(self, f.name)[rows] for f in fields(self)))


def select_relationships(
    score_pairs: PairScorer,
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

    Raises:
        ValueError: the chunk size is not positive.

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
    (best,) = select_in_batch(
        score_pairs,
        scores,
        first,
        second,
        [len(first)],
        num_predicates=num_predicates,
        top_k=top_k,
        chunk_size=chunk_size,
        stop_early=stop_early,
    )
    return best


def select_in_batch(
    score_pairs: PairScorer,
    scores: Tensor,
    first: Tensor,
    second: Tensor,
    pairs_per_image: Sequence[int],
    *,
    considered: Tensor | None = None,
    num_predicates: int,
    top_k: int = 100,
    chunk_size: int = 256,
    stop_early: bool = True,
) -> list[Selection]:
    """Finds the best relationships of each image of a batch, as `select_relationships` does for one image.

    For given probabilities an image's list is, to the bit, that of the image alone.

    Args:
        score_pairs: see `select_relationships`. The pairs of a chunk are sorted by image.
        scores: (E,) float, scores of the entities of all images, image after image.
        first, second: (U,) long, the unordered pairs of all images, image after image. They are rows of the
            E entities.
        pairs_per_image: for each image the number of its unordered pairs.
        considered: (U,) bool, whether a pair can be in the list. None: all can.
        num_predicates, top_k, chunk_size, stop_early: see `select_relationships`. A chunk is divided among
            the images that have not stopped.

    Returns:
        The list of each image, in rows of the E entities.

    Raises:
        ValueError: the chunk size is not positive.

    Example:
        The only pair of one image, and the three pairs of another one:

        >>> import torch
        >>> from reldn_d2.modeling import select_in_batch
        >>> first, second = torch.tensor([0, 2, 2, 3]), torch.tensor([1, 3, 4, 4])
        >>> table = torch.full((5, 5, 1), 0.5)
        >>> table[4, 2] = 0.75
        >>> def score_pairs(a, b):
        ...     return torch.cat([table[a, b], table[b, a]])
        >>> best = select_in_batch(
        ...     score_pairs, torch.ones(5), first, second, [1, 3], num_predicates=1, top_k=1
        ... )
        >>> [(x.subject.tolist(), x.object.tolist(), x.score.tolist()) for x in best]
        [([0], [1], [0.5]), ([4], [2], [0.75])]
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}: score 1 pair or more at a time")
    bounds, order = _by_falling_bound(scores, first, second, pairs_per_image, considered)
    first, second = first[order], second[order]
    queues = _queues(bounds, pairs_per_image)
    images = torch.arange(len(queues), device=scores.device)
    found = _Found(images, top_k, num_predicates, scores, bounds.dtype)
    while any(queue.left for queue in queues):
        rows = _next_rows(queues, chunk_size)
        sizes = [part.stop - part.start for part in rows]
        a, b, bound = (torch.cat([table[part] for part in rows]) for table in (first, second, bounds))
        image = torch.cat([images[i : i + 1].expand(size) for i, size in enumerate(sizes)])
        probs = score_pairs(a, b).to(bounds.dtype)
        if stop_early:
            probs = probs.clamp(max=1)
        thresholds = found.add(probs, bound, Pairs.both_directions(a, b), image, sizes)
        if stop_early:
            for queue, threshold in zip(queues, thresholds, strict=True):
                queue.stop_below(threshold)
    return found.lists()


def _by_falling_bound(
    scores: Tensor, first: Tensor, second: Tensor, pairs_per_image: Sequence[int], considered: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sorts the pairs of each image by their bounds.

    Returns:
        (U,) falling bounds, minus infinity where a pair is not considered; (U,) long, the order of the pairs.
    """
    bounds = scores[first] * scores[second]
    if considered is not None:
        bounds = bounds.masked_fill(~considered, -torch.inf)
    parts = [part.sort(descending=True, stable=True) for part in torch.split(bounds, list(pairs_per_image))]
    starts = accumulate(pairs_per_image, initial=0)
    order = torch.cat([part.indices + start for part, start in zip(parts, starts, strict=False)])
    return torch.cat([part.values for part in parts]), order


class _Queue:
    """The pairs of one image that are not scored yet, by falling bound. It is on the host."""

    def __init__(self, rising: NDArray[np.float64], start: int) -> None:
        """Makes the queue of all pairs.

        Args:
            rising: bounds with the other sign; infinite for pairs that are not considered.
            start: row of the image's first pair.
        """
        self._rising, self._start = rising, start
        self._next, self._end = 0, len(rising) - int(np.count_nonzero(rising == np.inf))

    @property
    def left(self) -> int:
        """Number of pairs that may have to be scored."""
        return max(self._end - self._next, 0)

    def take(self, count: int) -> slice:
        """Takes the next pairs."""
        rows = slice(self._start + self._next, self._start + self._next + count)
        self._next += count
        return rows

    def stop_below(self, threshold: float) -> None:
        """Drops pairs whose bound is below a score: they can't enter the list any more."""
        self._end = min(self._end, int(np.searchsorted(self._rising, -threshold, side="right")))


def _queues(bounds: Tensor, pairs_per_image: Sequence[int]) -> list[_Queue]:
    # All bounds are read from the device at once.
    rising = -bounds.double().cpu().numpy()
    starts = list(accumulate(pairs_per_image, initial=0))
    return [
        _Queue(part, start) for part, start in zip(np.split(rising, starts[1:-1]), starts[:-1], strict=True)
    ]


def _next_rows(queues: Sequence[_Queue], chunk_size: int) -> list[slice]:
    """The rows of the next chunk: for each image as many pairs as for the others, or all that are left."""
    rows = [queue.take(0) for queue in queues]
    room = chunk_size
    shortest_first = sorted(range(len(queues)), key=lambda image: queues[image].left)
    for place, image in enumerate(shortest_first):
        share = min(queues[image].left, room // (len(queues) - place))
        rows[image] = queues[image].take(share)
        room -= share
    return rows


class _Found:
    """The best triplets so far of all images, sorted by image and then ranked as in `Selection`."""

    def __init__(
        self, images: Tensor, top_k: int, num_predicates: int, scores: Tensor, dtype: torch.dtype
    ) -> None:
        """Starts with no triplet.

        Args:
            images: (N,) long, 0 to N - 1.
            top_k, num_predicates: see `select_relationships`.
            scores: (E,) scores of the entities.
            dtype: type of the triplets' scores.
        """
        self._images, self._top_k, self._num_predicates = images, top_k, num_predicates
        self._num_entities = len(scores)
        # Scores of the best triplets of rank 1 of each image.
        self._rank_one = scores.new_full((len(images), top_k), -torch.inf, dtype=dtype)
        self._score = self._predicate_score = scores.new_zeros(0, dtype=dtype)
        self._image = self._rank = self._key = images[:0]
        # Which of the rows belong to a list.
        self._kept = images[:0].bool()

    def add(
        self, probs: Tensor, bounds: Tensor, pairs: Pairs, image: Tensor, sizes: Sequence[int]
    ) -> list[float]:
        """Adds the triplets of a chunk, and drops those that are in no list any more.

        Args:
            probs: (2u, P) probabilities.
            bounds: (u,) bounds of the unordered pairs.
            pairs: the pairs, in both directions.
            image: (u,) long, the image of each unordered pair, in ascending order.
            sizes: number of unordered pairs of each image.

        Returns:
            For each image the score of the `top_k`-th best triplet of rank 1; minus infinity while there are
            fewer.
        """
        image, bounds = torch.cat([image, image]), torch.cat([bounds, bounds])
        threshold = self._add_rank_one(bounds * probs.amax(dim=1), sizes)
        score = bounds[:, None] * probs
        # A triplet with a lower score than the k-th triplet of rank 1 has k better triplets of no higher
        # rank. `~(<)` keeps NaN, so that a broken model is noticed.
        old = self._kept & ~(self._score < threshold[self._image])
        new = ~(score < threshold[image][:, None]).flatten()
        # The only values of a chunk that the host reads.
        *thresholds, num_old, num_new = torch.cat(
            [threshold.double(), torch.stack([old.sum(), new.sum()])]
        ).tolist()
        rows, cells = true_rows(old, int(num_old)), true_rows(new, int(num_new))
        pair, predicate = cells // self._num_predicates, cells % self._num_predicates
        key = (pairs.subject[pair] * self._num_entities + pairs.object[pair]) * self._num_predicates
        self._key = torch.cat([self._key[rows], key + predicate])
        self._image = torch.cat([self._image[rows], image[pair]])
        self._score = torch.cat([self._score[rows], score.flatten()[cells]])
        self._predicate_score = torch.cat([self._predicate_score[rows], probs.flatten()[cells]])
        self._rank = torch.cat([self._rank[rows], _rank_in_pair(probs[pair], predicate)])
        self._sort()
        self._kept = self._preceding() < self._top_k
        return thresholds

    def lists(self) -> list[Selection]:
        """The list of each image."""
        counts = [0] * len(self._images)
        if len(self._kept):
            counts = (self._kept & (self._image == self._images[:, None])).sum(dim=1).tolist()
        rows = true_rows(self._kept, sum(counts))
        pair, predicate = self._key[rows] // self._num_predicates, self._key[rows] % self._num_predicates
        every = Selection(
            subject=pair // self._num_entities,
            object=pair % self._num_entities,
            predicate=predicate,
            score=self._score[rows],
            rank_in_pair=self._rank[rows],
            predicate_score=self._predicate_score[rows],
        )
        return [every[start:end] for start, end in pairwise(accumulate(counts, initial=0))]

    def _add_rank_one(self, scores: Tensor, sizes: Sequence[int]) -> Tensor:
        """Adds the (2u,) best scores of pairs. Returns (N,) the last of the best `top_k` of each image."""
        parts = torch.split(scores.view(2, -1), list(sizes), dim=1)
        new = pad_sequence([part.flatten() for part in parts], True, -torch.inf)
        self._rank_one = torch.cat([self._rank_one, new], dim=1).topk(self._top_k, dim=1).values
        return self._rank_one[:, -1]

    def _sort(self) -> None:
        """Sorts by image, falling score, subject, object and predicate: stable sorts, the last key first."""
        order = self._key.argsort()
        order = order[self._score[order].argsort(descending=True, stable=True)]
        order = order[self._image[order].argsort(stable=True)]
        for name in ("_key", "_image", "_score", "_predicate_score", "_rank"):
            setattr(self, name, getattr(self, name)[order])

    def _preceding(self) -> Tensor:
        """(K,) how many triplets of no higher rank stand before each triplet in its image."""
        ranks = torch.arange(1, self._num_predicates + 1, device=self._rank.device)
        through = (self._rank[:, None] <= ranks).cumsum(dim=0)
        start = torch.searchsorted(self._image, self._images)
        before_image = through[(start - 1).clamp(min=0)] * (start > 0)[:, None]
        column = self._rank - 1
        return through.gather(1, column[:, None])[:, 0] - 1 - before_image[self._image, column]


def _rank_in_pair(probs: Tensor, predicate: Tensor) -> Tensor:
    """The rank of one predicate in each row of (K, P) probabilities: among equals the lower one is better."""
    probs = probs.masked_fill(probs.isnan(), torch.inf)  # as in a sort
    own, column = probs.gather(1, predicate[:, None]), torch.arange(probs.shape[1], device=probs.device)
    better = (probs > own) | ((probs == own) & (column < predicate[:, None]))
    return better.sum(dim=1) + 1
