"""Labelling all pairs of an image and drawing the pairs of each loss."""

from collections.abc import Iterator
from functools import partial

import torch

from reldn_d2.modeling.relation_head.sampling import PairSampler
from reldn_d2.structures import Pairs, PairTargets
from tests.references.sampling import Case, Edge, make_case, slow_draws, slow_labels

from .timing import Row, Skipped, Timer

_PREDICATES, _RELATIONS = 50, 20
_Drawn = tuple[Pairs, PairTargets]
_SlowDrawn = tuple[list[Edge], list[Edge], list[Edge]]


def rows(timer: Timer) -> Iterator[Row | Skipped]:
    """Measures the sampler beside loops."""
    for entities in (64, 128):
        case = _case(entities)
        yield timer.measure(
            f"labelling and sampling, {entities} entities",
            partial(_fast, case),
            slow=partial(slow_draws, case),
            slow_name="loops",
            same=partial(_same, case),
        )


def _fast(case: Case) -> _Drawn:
    draw = PairSampler(num_predicates=case.num_predicates)
    drawn: _Drawn = draw(case.entities, case.matched, case.relations, case.num_ground_truth)
    return drawn


def _case(entities: int) -> Case:
    """A quarter of the entities are the ground truth, the others are detections of these."""
    g = torch.Generator().manual_seed(0)
    truth = entities // 4
    matched = [*range(truth), *torch.randint(truth, (entities - truth,), generator=g).tolist()]
    ends = torch.randint(truth, (2, _RELATIONS), generator=g)
    predicate = torch.randint(_PREDICATES, (1, _RELATIONS), generator=g)
    relations = [(s, o, p) for s, o, p in torch.cat([ends, predicate]).t().tolist()]
    return make_case([matched], [relations], [truth], _PREDICATES)


def _same(case: Case, fast: _Drawn, slow: _SlowDrawn) -> None:
    """Compares how many pairs were drawn, and the labels of drawn pairs. Which pairs are drawn is random."""
    pairs, targets = fast
    ordered = list(zip(pairs.subject.tolist(), pairs.object.tolist(), strict=True))
    drawn = (targets.in_cross_entropy, targets.subject_side, targets.object_side)
    assert [int(mask.sum()) for mask in drawn] == [len(x) for x in slow], "other numbers of pairs were drawn"
    related, unrelated = slow_labels(case, overlap_only=False)
    labels: dict[Edge, set[int]] = {}
    for pair, predicate in zip(targets.label_pair.tolist(), targets.label_predicate.tolist(), strict=True):
        labels.setdefault(ordered[pair], set()).add(predicate)
    assert labels == {pair: related[pair] for pair in ordered if pair in related}, "other labels"
    kinds = zip(ordered, targets.related.tolist(), targets.unrelated.tolist(), strict=True)
    assert all((pair in related, pair in unrelated) == (a, b) for pair, a, b in kinds), "other kinds of pairs"
