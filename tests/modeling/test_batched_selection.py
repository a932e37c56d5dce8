"""The images of a batch, ranked together, get what each of them gets alone, bit for bit."""

import dataclasses
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reldn_d2.modeling import Selection, select_in_batch, select_relationships
from tests.modeling.test_inference_selection import PROBS, SCORES, Case, Scorer, make_case
from tests.references.selection import select_image_by_image


class Batch(NamedTuple):
    """The images of a batch: entities and pairs, with rows of all entities."""

    cases: list[Case]
    first: Tensor
    second: Tensor
    offsets: list[int]
    probs: Tensor  # (E, E, P), NaN between entities of different images
    scores: Tensor


class BatchScorer:
    """Looks up probabilities, and records the pairs of each chunk."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.calls: list[list[tuple[int, int]]] = []

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        self.calls.append(list(zip(first.tolist(), second.tolist(), strict=True)))
        return torch.cat([self.batch.probs[first, second], self.batch.probs[second, first]])

    def image(self, pair: tuple[int, int]) -> int:
        ends = self.batch.offsets[1:]
        (image,) = {int(np.searchsorted(ends, row, side="right")) for row in pair}
        return image


def make_batch(cases: list[Case]) -> Batch:
    offsets = list(accumulate((len(case.scores) for case in cases), initial=0))
    size, predicates = offsets[-1], cases[0].table.shape[2]
    probs = torch.full((size, size, predicates), torch.nan)
    for case, (start, end) in zip(cases, pairwise(offsets), strict=True):
        probs[start:end, start:end] = torch.from_numpy(case.table)

    def rows(column: str) -> Tensor:
        parts = zip(cases, offsets, strict=False)
        return torch.tensor([row + start for case, start in parts for row in getattr(case, column)]).long()

    scores = torch.from_numpy(np.concatenate([case.scores for case in cases]))
    return Batch(cases, rows("first"), rows("second"), offsets, probs, scores)


def select(
    batch: Batch, top_k: int, chunk_size: int, considered: Tensor | None = None, stop_early: bool = True
) -> tuple[list[Selection], BatchScorer]:
    scorer = BatchScorer(batch)
    found = select_in_batch(
        scorer,
        batch.scores,
        batch.first,
        batch.second,
        [len(case.first) for case in batch.cases],
        considered=considered,
        num_predicates=batch.probs.shape[2],
        top_k=top_k,
        chunk_size=chunk_size,
        stop_early=stop_early,
    )
    return found, scorer


def assert_same(found: Selection, expected: Selection, offset: int = 0) -> None:
    for field in dataclasses.fields(Selection):
        ours, theirs = getattr(found, field.name), getattr(expected, field.name)
        if field.name in ("subject", "object"):
            theirs = theirs + offset
        assert ours.dtype == theirs.dtype, field.name
        # As bits, so that NaN equals NaN.
        assert ours.numpy().tobytes() == theirs.numpy().tobytes(), field.name


def alone(case: Case, top_k: int, chunk_size: int, stop_early: bool = True) -> tuple[Selection, Selection]:
    """The list of one image by the package, and by the reference."""
    pairs = (torch.tensor(rows, dtype=torch.long) for rows in (case.first, case.second))
    scores, (first, second) = torch.from_numpy(case.scores), pairs
    options = {"num_predicates": case.table.shape[2], "top_k": top_k, "chunk_size": chunk_size}
    return (
        select_relationships(Scorer(case), scores, first, second, **options, stop_early=stop_early),
        select_image_by_image(Scorer(case), scores, first, second, **options, stop_early=stop_early),
    )


def subset(case: Case, keep: np.ndarray) -> Case:
    rows = np.flatnonzero(keep)
    return case._replace(first=[case.first[i] for i in rows], second=[case.second[i] for i in rows])


IMAGE = st.tuples(
    st.integers(0, 7), st.sampled_from(sorted(SCORES)), st.sampled_from(sorted(PROBS)), st.booleans()
)


@settings(max_examples=300)
@given(
    seed=st.integers(0, 10**6),
    images=st.lists(IMAGE, min_size=1, max_size=5),
    predicates=st.integers(1, 5),
    considered=st.sampled_from([None, 0.0, 0.5, 1.0]),
    top_k=st.integers(1, 30),
    chunk_size=st.integers(1, 25),
    other_chunk_size=st.integers(1, 25),
    stop_early=st.booleans(),
)
def test_an_image_gets_what_it_gets_alone(
    seed: int,
    images: list[tuple[int, str, str, bool]],
    predicates: int,
    considered: float | None,
    top_k: int,
    chunk_size: int,
    other_chunk_size: int,
    stop_early: bool,
) -> None:
    random = np.random.default_rng(seed)
    cases = []
    for place, (entities, scores, probs, broken) in enumerate(images):
        case = make_case(seed + place, entities, predicates, SCORES[scores], PROBS[probs])
        if broken and case.table.size:
            case.table[random.random(case.table.shape) < 0.1] = np.nan
        cases.append(case)
    batch = make_batch(cases)
    kept = np.ones(len(batch.first), dtype=bool)
    if considered is not None:
        kept = random.random(len(kept)) < considered
    mask = None if considered is None else torch.from_numpy(kept)
    found, scorer = select(batch, top_k, chunk_size, mask, stop_early)
    parts = np.split(kept, np.cumsum([len(case.first) for case in cases])[:-1])
    for case, part, one, offset in zip(cases, parts, found, batch.offsets, strict=False):
        ours, reference = alone(subset(case, part), top_k, other_chunk_size, stop_early)
        assert_same(ours, reference)
        # A list with NaN has no order, so where to stop depends on the chunks.
        if not (stop_early and np.isnan(case.table).any()):
            assert_same(one, reference, offset)
    asked = [frozenset(pair) for call in scorer.calls for pair in call]
    assert len(asked) == len(set(asked)), "a pair was scored twice"
    for call in scorer.calls:
        assert 1 <= len(call) <= chunk_size, "memory is not bounded by the chunk"
        order = [scorer.image(pair) for pair in call]
        assert order == sorted(order)


def test_an_image_stops_on_its_own() -> None:
    """Two images of equal size: one stops after its first pairs, all pairs of the other are needed."""
    certain = make_case(0, 8, 1, lambda rng, n: np.geomspace(1, 1e-3, n), lambda rng, s: np.full(s, 0.9))
    flat = make_case(0, 8, 1, SCORES["ones"], lambda rng, s: rng.uniform(0, 0.9, s))
    _, scorer = select(make_batch([certain, flat]), 2, 4)
    scored = [scorer.image(pair) for call in scorer.calls for pair in call]
    assert scored.count(0) <= 4 < scored.count(1) == 28
    images = [sorted({scorer.image(pair) for pair in call}) for call in scorer.calls]
    assert images[0] == [0, 1] and images[-1] == [1]
    # An image that has stopped leaves its room to the others.
    assert all(len(call) == 4 for call in scorer.calls[:-1])


@pytest.mark.parametrize("sizes", [[0, 0], [1, 5, 0], [1], [0, 6], [2, 2, 2, 2, 2]])
def test_images_without_pairs_and_chunks_smaller_than_the_batch(sizes: list[int]) -> None:
    cases = [make_case(size, size, 3, SCORES["uniform"], PROBS["softmax"]) for size in sizes]
    batch = make_batch(cases)
    for chunk_size in (1, 2, 100):
        found, scorer = select(batch, 4, chunk_size)
        assert len(found) == len(sizes)
        assert sum(map(len, scorer.calls)) <= sum(len(case.first) for case in cases)
        for one, case, offset in zip(found, cases, batch.offsets, strict=False):
            assert_same(one, alone(case, 4, 7)[1], offset)


def test_ties_between_images_and_inside_them_follow_the_rows() -> None:
    case = make_case(3, 4, 2, SCORES["ones"], PROBS["all one"])
    found, _ = select(make_batch([case, case]), 2, 3)
    for one, offset in zip(found, (0, 4), strict=True):
        rows = torch.stack(
            [one.subject - offset, one.object - offset, one.predicate, one.rank_in_pair], dim=1
        )
        assert rows.tolist() == [[0, 1, 0, 1], [0, 1, 1, 2], [0, 2, 0, 1]]
