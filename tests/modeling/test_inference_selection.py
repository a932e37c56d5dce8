"""The chunked top-k selector equals scoring everything in Python loops, bit for bit."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reldn_d2.modeling.relation_head.selection import Selection, select_relationships
from tests.references.selection import select_from_every_pair

FIELDS = ("subject", "object", "predicate", "score", "rank_in_pair")


class Triplet(NamedTuple):
    subject: int
    object: int
    predicate: int
    score: np.float32
    rank_in_pair: int


class Case(NamedTuple):
    scores: np.ndarray  # (E,) float32
    first: list[int]
    second: list[int]
    table: np.ndarray  # (E, E, P) float32: probabilities of the ordered pair (subject, object)


class Scorer:
    """The callback: looks up probabilities, and records the pairs that it was called with."""

    def __init__(self, case: Case) -> None:
        self.table = torch.from_numpy(case.table)
        self.calls: list[list[tuple[int, int]]] = []

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        assert first.shape == second.shape and first.dim() == 1
        self.calls.append(list(zip(first.tolist(), second.tolist(), strict=True)))
        return torch.cat([self.table[first, second], self.table[second, first]])


def slow_all_triplets(case: Case) -> list[Triplet]:
    """Every triplet with its rank in its pair, in list order."""
    triplets = []
    for a, b in zip(case.first, case.second, strict=True):
        for s, o in ((a, b), (b, a)):
            probs = [min(p, np.float32(1)) for p in case.table[s, o]]
            falling = [-p for p in probs]
            best_first = sorted(range(len(probs)), key=falling.__getitem__)  # stable: equal p by index
            for e, p in enumerate(probs):
                score = np.float32(np.float32(case.scores[s] * case.scores[o]) * p)
                triplets.append(Triplet(s, o, e, score, best_first.index(e) + 1))
    return sorted(triplets, key=lambda t: (-t.score, t.subject, t.object, t.predicate))


def slow_select(case: Case, top_k: int) -> list[Triplet]:
    kept, preceding_by_rank = [], [0] * (case.table.shape[2] + 1)
    for triplet in slow_all_triplets(case):
        if sum(preceding_by_rank[: triplet.rank_in_pair + 1]) < top_k:
            kept.append(triplet)
        preceding_by_rank[triplet.rank_in_pair] += 1
    return kept


def slow_unordered_pairs_scored(case: Case, top_k: int, chunk_size: int) -> int:
    """How many pairs the written stopping rule lets through, when all bounds differ."""
    bounds = [
        np.float32(case.scores[a] * case.scores[b]) for a, b in zip(case.first, case.second, strict=True)
    ]
    order = sorted(range(len(bounds)), key=lambda row: -bounds[row])
    rank_one: list[np.float32] = []
    start = 0
    while start < len(order):
        threshold = sorted(rank_one)[-top_k] if len(rank_one) >= top_k else -np.inf
        chunk = [row for row in order[start : start + chunk_size] if bounds[row] >= threshold]
        if not chunk:
            return start
        start += len(chunk)
        for row in chunk:
            for s, o in ((case.first[row], case.second[row]), (case.second[row], case.first[row])):
                rank_one.append(np.float32(bounds[row] * min(case.table[s, o].max(), np.float32(1))))
    return len(order)


def run(
    case: Case, top_k: int = 100, chunk_size: int = 256, every_pair: bool = False
) -> tuple[Selection, Scorer]:
    scorer = Scorer(case)
    select = select_from_every_pair if every_pair else select_relationships
    selection = select(
        scorer,
        torch.from_numpy(case.scores),
        torch.tensor(case.first, dtype=torch.long),
        torch.tensor(case.second, dtype=torch.long),
        num_predicates=case.table.shape[2],
        top_k=top_k,
        chunk_size=chunk_size,
    )
    return selection, scorer


def assert_selected(selection: Selection, expected: list[Triplet]) -> None:
    for name in FIELDS:
        column = getattr(selection, name)
        assert column.dim() == 1
        assert column.dtype == (torch.float32 if name == "score" else torch.long), name
        assert column.tolist() == [float(getattr(t, name)) for t in expected], name


def make_case(
    seed: int,
    entities: int,
    predicates: int,
    draw_scores: Callable[[np.random.Generator, int], np.ndarray],
    draw_probs: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray],
    keep: float = 1.0,
) -> Case:
    """Pairs in random order and random direction; `keep` is the share of all pairs."""
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(entities) for b in range(a) if rng.random() < keep]
    pairs = [pairs[row] for row in rng.permutation(len(pairs))]
    pairs = [pair if rng.random() < 0.5 else pair[::-1] for pair in pairs]
    return Case(
        scores=draw_scores(rng, entities).astype(np.float32),
        first=[pair[0] for pair in pairs],
        second=[pair[1] for pair in pairs],
        table=draw_probs(rng, (entities, entities, predicates)).astype(np.float32),
    )


def just_below(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(0)))


def softmax_without_background(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    odds = np.exp(rng.normal(size=(*shape[:-1], shape[-1] + 1)) * 2)
    probs: np.ndarray = odds / odds.sum(-1, keepdims=True)
    return probs[..., :-1]


SCORES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "ones": lambda rng, n: np.ones(n),
    "zeros": lambda rng, n: np.zeros(n),
    "quantised": lambda rng, n: rng.choice([0.0, 0.25, 0.5, 1.0], n),
    "two close values": lambda rng, n: rng.choice([0.3, just_below(0.3)], n),
    "uniform": lambda rng, n: rng.uniform(0.05, 1, n),
}
PROBS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "quantised": lambda rng, shape: rng.choice([0.0, 0.25, 0.5, 1.0], shape),
    "equal": lambda rng, shape: np.full(shape, 0.125),
    "all one": lambda rng, shape: np.ones(shape),
    # Different probabilities round to equal scores. The order in the pair must still follow probabilities.
    "close values": lambda rng, shape: rng.choice([0.7, just_below(0.7), just_below(just_below(0.7))], shape),
    "softmax": softmax_without_background,
}


@settings(max_examples=400)
@given(
    seed=st.integers(0, 10**6),
    entities=st.integers(0, 7),
    predicates=st.integers(1, 6),
    scores=st.sampled_from(sorted(SCORES)),
    probs=st.sampled_from(sorted(PROBS)),
    keep=st.sampled_from([0.0, 0.5, 1.0]),
    top_k=st.integers(1, 40),
    chunk_size=st.integers(1, 25),
)
def test_equals_exhaustive_selection(
    seed: int,
    entities: int,
    predicates: int,
    scores: str,
    probs: str,
    keep: float,
    top_k: int,
    chunk_size: int,
) -> None:
    case = make_case(seed, entities, predicates, SCORES[scores], PROBS[probs], keep)
    selection, scorer = run(case, top_k, chunk_size)
    assert_selected(selection, slow_select(case, top_k))
    asked = [frozenset(pair) for call in scorer.calls for pair in call]
    assert len(asked) == len(set(asked)), "a pair was scored twice"
    assert all(len(call) <= chunk_size for call in scorer.calls), "memory is not bounded by the chunk"


@pytest.mark.parametrize("entities", [0, 12])
def test_scoring_every_pair_gives_the_same_list(entities: int) -> None:
    """The reference that the benchmark measures against."""
    case = make_case(3, entities, 4, SCORES["uniform"], PROBS["softmax"])
    expected, stopped = run(case, 5, 4)
    selection, scorer = run(case, 5, 4, every_pair=True)
    assert sum(map(len, scorer.calls)) == len(case.first) >= sum(map(len, stopped.calls))
    assert entities == 0 or sum(map(len, stopped.calls)) < len(case.first)
    assert all(torch.equal(getattr(selection, name), getattr(expected, name)) for name in FIELDS)


@pytest.mark.parametrize("scores", sorted(SCORES))
def test_every_chunk_size_gives_the_same_list(scores: str) -> None:
    case = make_case(11, 7, 4, SCORES[scores], PROBS["quantised"])
    expected = slow_select(case, 10)
    for chunk_size in range(1, len(case.first) + 3):
        assert_selected(run(case, 10, chunk_size)[0], expected)


@settings(max_examples=60)
@given(
    st.integers(0, 10**6), st.sampled_from(sorted(SCORES)), st.sampled_from(sorted(PROBS)), st.integers(1, 12)
)
def test_one_list_serves_every_number_of_predicates_a_pair(
    seed: int, scores: str, probs: str, top_k: int
) -> None:
    case = make_case(seed, 5, 5, SCORES[scores], PROBS[probs])
    selection, _ = run(case, top_k, 3)
    rows = list(zip(*(getattr(selection, name).tolist() for name in FIELDS), strict=True))
    everything = slow_all_triplets(case)
    for k in range(1, 6):
        direct = [tuple(t) for t in everything if t.rank_in_pair <= k][:top_k]
        assert [row for row in rows if row[4] <= k][:top_k] == direct


def test_realistic_size() -> None:
    case = make_case(5, 30, 70, SCORES["uniform"], PROBS["softmax"])
    selection, scorer = run(case, 100, 32)
    assert_selected(selection, slow_select(case, 100))
    # No ties: at most top_k / r rows of rank r, because each is preceded by its r - 1 siblings.
    assert 100 < len(selection.score) <= sum(100 // rank for rank in range(1, 71))
    assert 0 < sum(map(len, scorer.calls)) <= len(case.first)


@pytest.mark.parametrize(("top_k", "chunk_size"), [(1, 1), (1, 4), (5, 3), (10, 7), (30, 16)])
@pytest.mark.parametrize("seed", range(4))
def test_scoring_stops_exactly_when_the_rule_says(seed: int, top_k: int, chunk_size: int) -> None:
    case = make_case(
        seed, 14, 3, lambda rng, n: rng.uniform(0.05, 1, n) ** 3, lambda rng, s: rng.uniform(0.6, 1, s)
    )
    expected = slow_unordered_pairs_scored(case, top_k, chunk_size)
    assert expected < len(case.first), "the example must have something to skip"
    selection, scorer = run(case, top_k, chunk_size)
    assert sum(map(len, scorer.calls)) == expected
    assert_selected(selection, slow_select(case, top_k))


def test_scoring_goes_on_while_a_bound_equals_the_last_place() -> None:
    # Pair {2, 1} fills the list with 0.5; pair {0, 1} has the bound 0.5, reaches it and wins the tie.
    table = np.zeros((3, 3, 1), dtype=np.float32)
    table[2, 1] = 0.5
    table[0, 1] = 1.0
    case = Case(np.array([0.5, 1.0, 1.0], dtype=np.float32), [2, 0], [1, 1], table)
    selection, scorer = run(case, 1, 1)
    assert scorer.calls == [[(2, 1)], [(0, 1)]]
    assert (selection.subject.tolist(), selection.object.tolist(), selection.score.tolist()) == (
        [0],
        [1],
        [0.5],
    )


def test_all_pairs_are_scored_in_chunks_when_every_bound_is_one() -> None:
    case = make_case(2, 9, 2, SCORES["ones"], lambda rng, shape: rng.uniform(0, 0.9, shape))
    _, scorer = run(case, 3, 5)
    assert sum(map(len, scorer.calls)) == len(case.first) == 36
    assert max(map(len, scorer.calls)) == 5


def test_full_list_of_ones_still_yields_to_earlier_rows() -> None:
    case = make_case(3, 6, 2, SCORES["ones"], PROBS["all one"])
    selection, _ = run(case, 2, 1)
    # Ties in everything: rows (0, 1) with predicates 0 and 1, then (0, 2) with rank 1 to fill the k = 1 list.
    rows = list(zip(*(getattr(selection, name).tolist() for name in FIELDS), strict=True))
    assert rows == [(0, 1, 0, 1.0, 1), (0, 1, 1, 1.0, 2), (0, 2, 0, 1.0, 1)]


def test_golden_list() -> None:
    # s = (1, .5, .5). Pair 0->1: bound .5, p (.5, .25): .25 (rank 1), .125 (rank 2).
    # Pair 1->0: p (.25, .75): .125 (rank 2), .375 (rank 1). 1->2: bound .25, p (1, 0): .25, 0. 2->1: p 0.
    table = np.zeros((3, 3, 2), dtype=np.float32)
    table[0, 1], table[1, 0], table[1, 2] = (0.5, 0.25), (0.25, 0.75), (1.0, 0.0)
    case = Case(np.array([1.0, 0.5, 0.5], dtype=np.float32), [0, 2], [1, 1], table)
    selection, _ = run(case, 3)
    rows = list(zip(*(getattr(selection, name).tolist() for name in FIELDS), strict=True))
    # k = 1 list: the first three rows, already full; so nothing of rank 2 is among the three best for k = 2.
    assert rows == [(1, 0, 1, 0.375, 1), (0, 1, 0, 0.25, 1), (1, 2, 0, 0.25, 1)]
    rows = list(zip(*(getattr(run(case, 4)[0], name).tolist() for name in FIELDS), strict=True))
    # For k = 1 the fourth row is 2->1 with score 0, of rank 1; for k = 2 the fourth is 0->1 with .125.
    assert rows[3:] == [(0, 1, 1, 0.125, 2), (2, 1, 0, 0.0, 1)]


def test_probabilities_above_one_by_rounding_are_clamped() -> None:
    table = np.full((2, 2, 2), 0.25, dtype=np.float32)
    table[0, 1, 1] = np.nextafter(np.float32(1), np.float32(2))
    scores = np.array([0.9, 0.7], dtype=np.float32)
    selection, _ = run(Case(scores, [1], [0], table))
    assert selection.score[0].item() == float(scores[0] * scores[1])
    assert (selection.predicate[0].item(), selection.rank_in_pair[0].item()) == (1, 1)


@pytest.mark.parametrize("entities", [0, 1, 5])
def test_no_pairs_give_an_empty_list(entities: int) -> None:
    case = make_case(0, entities, 3, SCORES["uniform"], PROBS["softmax"], keep=0.0)
    assert_selected(run(case)[0], [])


def test_top_k_beyond_everything_returns_every_triplet() -> None:
    case = make_case(1, 4, 3, SCORES["uniform"], PROBS["softmax"])
    selection, _ = run(case, 10_000, 2)
    assert len(selection.score) == 4 * 3 * 3
    assert_selected(selection, slow_all_triplets(case))


def test_result_is_a_frozen_record() -> None:
    selection, _ = run(make_case(1, 3, 2, SCORES["uniform"], PROBS["softmax"]))
    assert {field.name for field in dataclasses.fields(selection)} >= set(FIELDS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(selection, FIELDS[3], torch.zeros(0))
