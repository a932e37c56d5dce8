"""Labelling and sampling of training pairs, against the definitions in loops and by statistics."""

import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reldn_d2.modeling.relation_head.pair_tables import draw
from reldn_d2.modeling.relation_head.sampling import PairSampler
from reldn_d2.structures import Pairs, PairTargets
from tests.references.sampling import Case, Edge, make_case, slow_labels

UNLIMITED = {
    "batch_size_per_image": 10**6,
    "positives_per_image": 10**6,
    "anchors_per_image": 10**6,
    "partners_per_anchor": 10**6,
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Images with 0 to 6 entities; relations with repeats, self relations and several predicates a pair."""
    matched, relations, truths = [], [], []
    num_predicates = draw(st.integers(1, 4))
    for _ in range(draw(st.integers(1, 4))):
        truth = draw(st.integers(0, 4))
        rows = st.integers(0, max(truth - 1, 0))
        size = 6 if truth else 0
        truths.append(truth)
        matched.append(draw(st.lists(rows, max_size=size)))
        relations.append(
            draw(st.lists(st.tuples(rows, rows, st.integers(0, num_predicates - 1)), max_size=size))
        )
    total = sum(map(len, matched))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    corner = torch.randint(0, 5, (total, 2), generator=generator).float()
    extent = torch.randint(1, 4, (total, 2), generator=generator).float()
    return make_case(matched, relations, truths, num_predicates, torch.cat([corner, corner + extent], 1))


def sample(case: Case, **options: Any) -> tuple[Pairs, PairTargets]:
    sampler = PairSampler(num_predicates=case.num_predicates, **options)
    return sampler(case.entities, case.matched, case.relations, case.num_ground_truth)


class Drawn(NamedTuple):
    ordered: list[Edge]
    in_cross_entropy: set[Edge]
    subject_side: set[Edge]
    object_side: set[Edge]


def read(pairs: Pairs, targets: PairTargets) -> Drawn:
    ordered = list(zip(pairs.subject.tolist(), pairs.object.tolist(), strict=True))

    def chosen(mask: Tensor) -> set[Edge]:
        return {pair for pair, flag in zip(ordered, mask.tolist(), strict=True) if flag}

    return Drawn(
        ordered, chosen(targets.in_cross_entropy), chosen(targets.subject_side), chosen(targets.object_side)
    )


def check_structure(case: Case, pairs: Pairs, targets: PairTargets, overlap_only: bool) -> None:
    """Checks types, the two directions and labels, and that every kept pair was drawn by a loss."""
    both = Pairs.both_directions(pairs.first, pairs.second)
    for name in ("subject", "object", "union"):
        assert getattr(pairs, name).dtype == torch.long
        assert torch.equal(getattr(pairs, name), getattr(both, name))
    for field in dataclasses.fields(targets):
        value: Tensor = getattr(targets, field.name)
        is_label = field.name.startswith("label_")
        assert value.dtype == (torch.long if is_label else torch.bool)
        assert value.dim() == 1 and (is_label or len(value) == len(pairs))
    drawn = read(pairs, targets)
    assert len(set(drawn.ordered)) == len(drawn.ordered), "a pair is listed twice"
    used = drawn.in_cross_entropy | drawn.subject_side | drawn.object_side
    assert all((a, b) in used or (b, a) in used for a, b in drawn.ordered)
    related, unrelated = slow_labels(case, overlap_only)
    labels = sorted(
        (drawn.ordered[pair], predicate)
        for pair, predicate in zip(targets.label_pair.tolist(), targets.label_predicate.tolist(), strict=True)
    )
    assert labels == sorted((pair, p) for pair in drawn.ordered for p in related.get(pair, ()))
    for row, pair in enumerate(drawn.ordered):
        assert bool(targets.related[row]) == (pair in related)
        assert bool(targets.unrelated[row]) == (pair in unrelated)


def check_side(
    case: Case, chosen: set[Edge], end: int, related: set[Edge], unrelated: set[Edge], options: Any
) -> None:
    """Checks that a drawn anchor has all its positives and as many negatives as allowed, and nothing more."""
    image = case.entities.image.tolist()
    assert chosen <= related | unrelated
    for number in range(len(case.entities.counts)):
        anchors = {pair[end] for pair in related if image[pair[end]] == number}
        drawn = {pair[end] for pair in chosen if image[pair[end]] == number}
        assert drawn <= anchors
        assert len(drawn) == min(len(anchors), options["anchors_per_image"])
        for anchor in drawn:
            assert {p for p in chosen & related if p[end] == anchor} == {
                p for p in related if p[end] == anchor
            }
            available = sum(p[end] == anchor for p in unrelated)
            partners = sum(p[end] == anchor for p in chosen & unrelated)
            assert partners == min(available, options["partners_per_anchor"])


@settings(max_examples=250)
@given(cases(), st.integers(0, 10), st.integers(0, 10), st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_every_draw_obeys_the_definitions(
    case: Case, positives: int, rest: int, anchors: int, partners: int, overlap_only: bool
) -> None:
    options = {
        "batch_size_per_image": positives + rest,
        "positives_per_image": positives,
        "anchors_per_image": anchors,
        "partners_per_anchor": partners,
        "overlap_only": overlap_only,
    }
    torch.manual_seed(0)
    pairs, targets = sample(case, **options)
    check_structure(case, pairs, targets, overlap_only)
    drawn = read(pairs, targets)
    labels, unrelated = slow_labels(case, overlap_only)
    related = set(labels)
    image = case.entities.image.tolist()
    assert drawn.in_cross_entropy <= related | unrelated
    for number in range(len(case.entities.counts)):
        here = [pair for pair in drawn.in_cross_entropy if image[pair[0]] == number]
        num_related = sum(pair in related for pair in here)
        assert num_related == min(positives, sum(image[pair[0]] == number for pair in related))
        available = sum(image[pair[0]] == number for pair in unrelated)
        assert len(here) - num_related == min(positives + rest - num_related, available)
    check_side(case, drawn.subject_side, 0, related, unrelated, options)
    check_side(case, drawn.object_side, 1, related, unrelated, options)


@settings(max_examples=60)
@given(cases(), st.booleans())
def test_without_limits_everything_is_drawn(case: Case, overlap_only: bool) -> None:
    drawn = read(*sample(case, **UNLIMITED, overlap_only=overlap_only))
    labels, unrelated = slow_labels(case, overlap_only)
    related = set(labels)
    assert drawn.in_cross_entropy == related | unrelated == set(drawn.ordered)
    subjects, objects = {pair[0] for pair in related}, {pair[1] for pair in related}
    assert drawn.subject_side == {pair for pair in related | unrelated if pair[0] in subjects}
    assert drawn.object_side == {pair for pair in related | unrelated if pair[1] in objects}


def test_golden_example() -> None:
    # Image 0: entities 0, 1 are both ground truth 0, entity 2 is ground truth 1; 0 -> 1 by predicates 2 and 0
    # (2 written twice), and 1 -> 1, which is no pair of distinct entities. Image 1: nothing related.
    case = make_case([[0, 0, 1], [1, 0]], [[(0, 1, 2), (0, 1, 0), (0, 1, 2), (1, 1, 1)], []], [2, 2], 3)
    pairs, targets = sample(case, **UNLIMITED)
    drawn = read(pairs, targets)
    assert set(drawn.ordered) == {(0, 2), (2, 0), (1, 2), (2, 1), (3, 4), (4, 3)}
    labels = zip(targets.label_pair.tolist(), targets.label_predicate.tolist(), strict=True)
    assert sorted((drawn.ordered[pair], p) for pair, p in labels) == [
        ((0, 2), 0), ((0, 2), 2), ((1, 2), 0), ((1, 2), 2),
    ]  # fmt: skip
    assert drawn.in_cross_entropy == set(drawn.ordered)
    assert drawn.subject_side == {(0, 2), (1, 2)}
    assert drawn.object_side == {(0, 2), (1, 2)}


def test_detections_of_the_same_ground_truth_are_never_a_pair() -> None:
    case = make_case([[0, 0, 0]], [[(0, 0, 0)]], [1], 1)
    pairs, targets = sample(case, **UNLIMITED)
    assert len(pairs) == 0 and len(targets.label_pair) == 0


def test_overlap_only_removes_related_pairs_too() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 20.0, 10.0], [5.0, 5.0, 15.0, 15.0]])
    case = make_case([[0, 1, 2]], [[(0, 1, 0), (2, 0, 0)]], [3], 1, boxes)
    pairs, targets = sample(case, **UNLIMITED, overlap_only=True)
    drawn = read(pairs, targets)
    assert set(drawn.ordered) == {(0, 2), (2, 0), (1, 2), (2, 1)}
    assert [drawn.ordered[row] for row in targets.related.nonzero().flatten().tolist()] == [(2, 0)]
    assert len(sample(case, **UNLIMITED)[0]) == 6


@pytest.mark.parametrize(
    "matched", [[[]], [[], []], [[0]], [[0], [], [0]], [[], [0, 1], []]], ids=lambda rows: str(rows)
)
def test_images_with_few_entities(matched: list[list[int]]) -> None:
    truths = [2] * len(matched)
    case = make_case(matched, [[] for _ in matched], truths, 5)
    pairs, targets = sample(case)
    check_structure(case, pairs, targets, overlap_only=False)
    assert len(pairs) == (2 if [0, 1] in matched else 0)
    assert not targets.related.any() and not targets.subject_side.any() and not targets.object_side.any()
    assert targets.in_cross_entropy.all()


def test_images_without_any_ground_truth() -> None:
    case = make_case([[], [0, 1], []], [[], [(1, 0, 0)], []], [0, 2, 0], 1)
    pairs, targets = sample(case)
    assert len(pairs) == 2
    assert read(pairs, targets).subject_side == {(1, 0)}


def test_draws_follow_the_global_generator_and_differ() -> None:
    case = make_case([list(range(12))], [[(0, 1, 0), (2, 3, 0), (4, 5, 0)]], [12], 1)
    limits = {
        "batch_size_per_image": 8, "positives_per_image": 2, "anchors_per_image": 2, "partners_per_anchor": 3
    }  # fmt: skip

    def drawn(seed: int) -> tuple[frozenset[Edge], ...]:
        torch.manual_seed(seed)
        return tuple(map(frozenset, read(*sample(case, **limits))[1:]))

    assert drawn(0) == drawn(0)
    draws = [drawn(seed) for seed in range(6)]
    for loss in range(3):
        assert len({one[loss] for one in draws}) > 1


# Statistics: one batch of many equal images is as many independent draws.
IMAGES = 1000
ENTITIES = 14
RELATIONS = [(0, 2, 0), (3, 1, 0)]
# Subjects with a relation: 0 and 3. Objects with one: 2 and 1. All other ordered pairs are unrelated.


def local_frequencies(chosen: set[Edge]) -> dict[Edge, int]:
    counts: dict[Edge, int] = {}
    for a, b in chosen:
        edge = (a % ENTITIES, b % ENTITIES)
        counts[edge] = counts.get(edge, 0) + 1
    return counts


def assert_near(count: int, probability: float, what: object) -> None:
    sigma = (IMAGES * probability * (1 - probability)) ** 0.5
    assert abs(count - IMAGES * probability) < 5 * sigma, (what, count, IMAGES * probability)


@pytest.fixture(scope="module")
def many_draws() -> Drawn:
    torch.manual_seed(1234)
    case = make_case([list(range(ENTITIES))] * IMAGES, [RELATIONS] * IMAGES, [ENTITIES] * IMAGES, 1)
    limits = {
        "batch_size_per_image": 46, "positives_per_image": 1, "anchors_per_image": 2, "partners_per_anchor": 3
    }  # fmt: skip
    return read(*sample(case, **limits))


def test_every_unrelated_partner_is_equally_likely(many_draws: Drawn) -> None:
    for chosen, anchors, end in (
        (many_draws.subject_side, {0: 2, 3: 1}, 0),
        (many_draws.object_side, {2: 0, 1: 3}, 1),
    ):
        counts = local_frequencies(chosen)
        for anchor, positive in anchors.items():
            for partner in range(ENTITIES):
                if partner == anchor:
                    continue
                edge = (anchor, partner) if end == 0 else (partner, anchor)
                if partner == positive:
                    assert counts[edge] == IMAGES
                else:
                    assert_near(counts.get(edge, 0), 3 / 12, edge)


def test_partners_of_an_anchor_are_drawn_as_sets_of_equal_chance(many_draws: Drawn) -> None:
    per_image: list[set[int]] = [set() for _ in range(IMAGES)]
    for a, b in many_draws.subject_side:
        if a % ENTITIES == 0 and b % ENTITIES != 2:
            per_image[a // ENTITIES].add(b % ENTITIES)
    partners = [row for row in range(ENTITIES) if row not in (0, 2)]
    for position, x in enumerate(partners):
        for y in partners[:position]:
            assert_near(sum({x, y} <= chosen for chosen in per_image), 3 / 12 * 2 / 11, (x, y))


def test_cross_entropy_draws_are_uniform(many_draws: Drawn) -> None:
    counts = local_frequencies(many_draws.in_cross_entropy)
    unrelated = ENTITIES * (ENTITIES - 1) - len(RELATIONS)
    for a in range(ENTITIES):
        for b in range(ENTITIES):
            if a != b:
                related = any((a, b) == relation[:2] for relation in RELATIONS)
                assert_near(counts.get((a, b), 0), 0.5 if related else 45 / unrelated, (a, b))


def test_the_losses_draw_independently(many_draws: Drawn) -> None:
    """Pair (0, 1) is unrelated, both its entities are anchors, and the cross entropy may draw it."""
    hits = [
        {pair for pair in chosen if (pair[0] % ENTITIES, pair[1] % ENTITIES) == (0, 1)}
        for chosen in (many_draws.subject_side, many_draws.object_side, many_draws.in_cross_entropy)
    ]
    assert_near(len(hits[0] & hits[1]), 1 / 4 * 1 / 4, "subject and object side")
    assert_near(len(hits[0] & hits[2]), 1 / 4 * 45 / 180, "subject side and cross entropy")
    assert_near(len(hits[1] & hits[2]), 1 / 4 * 45 / 180, "object side and cross entropy")


def test_anchors_and_positives_are_drawn_uniformly() -> None:
    torch.manual_seed(99)
    # Six subjects 0..5 with one object each; two are drawn. Subject 0 also has a second object.
    relations = [(row, row + 6, 0) for row in range(6)] + [(0, 12, 0)]
    case = make_case([list(range(ENTITIES))] * IMAGES, [relations] * IMAGES, [ENTITIES] * IMAGES, 1)
    limits = {
        "batch_size_per_image": 4, "positives_per_image": 3, "anchors_per_image": 2, "partners_per_anchor": 2
    }  # fmt: skip
    drawn = read(*sample(case, **limits))
    subject_side, object_side = local_frequencies(drawn.subject_side), local_frequencies(drawn.object_side)
    cross_entropy = local_frequencies(drawn.in_cross_entropy)
    for a, b, _ in relations:
        assert_near(subject_side.get((a, b), 0), 2 / 6, ("subject", a))
        assert_near(object_side.get((a, b), 0), 2 / 7, ("object", b))
        assert_near(cross_entropy.get((a, b), 0), 3 / 7, ("cross entropy", a, b))


@pytest.mark.parametrize("eligible", [0, 300, 320, 400])
def test_each_row_draws_its_own_number(eligible: int) -> None:
    torch.manual_seed(0)
    places = torch.rand(30, 400).argsort(dim=1) < eligible
    drawn = draw(places, 350, torch.tensor([[310], [5], [0]]).repeat(10, 1))
    assert drawn.sum(dim=1).tolist() == [min(310, eligible), min(5, eligible), 0] * 10
    assert not (drawn & ~places).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap_only": 1}, "overlap_only of PairSampler is 1.*OVERLAP_ONLY"),
        ({"partners_per_anchor": -1}, "partners_per_anchor of PairSampler is -1.*PARTNERS_PER_ANCHOR"),
    ],
)
def test_wrong_options_are_refused_at_construction(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairSampler(num_predicates=3, **options)


def test_memory_does_not_grow_with_the_number_of_predicates() -> None:
    # a table with a column for each predicate would take 2 TB
    last = 10**6 - 1
    case = make_case([[0, 1, 2]], [[(0, 1, last), (0, 1, 5), (0, 1, last)]], [1000], 10**6)
    pairs, targets = sample(case, **UNLIMITED)
    labelled = pairs.subject[targets.label_pair], pairs.object[targets.label_pair]
    assert [ends.tolist() for ends in labelled] == [[0, 0], [1, 1]]
    assert targets.label_predicate.tolist() == [5, last]
