"""The three contrastive losses, forward and backward, from given logits and drawn pairs."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from reldn_d2.modeling.relation_head.losses import (
    ClassAgnosticTerm,
    ContrastiveLosses,
    ContrastiveTerm,
    EntityClassTerm,
    PredicateClassTerm,
)
from reldn_d2.structures import EntityBatch, Pairs, PairTargets
from tests.references.losses import Batch, slow_contrastive

from .timing import Row, Skipped, Timer

_SIZES = ((30, 9, 57), (64, 9, 57), (30, 50, 150), (64, 50, 150))  # entities, predicates, entity classes
_PAIRS_A_SIDE, _RELATED = 512, 128
_MARGINS, _WEIGHTS = (0.2, 0.2, 0.2), (1.0, 0.5, 0.1)


def rows(timer: Timer) -> Iterator[Row | Skipped]:
    """Measures the losses beside two slower versions, for images of several sizes."""
    for entities, predicates, classes in _SIZES:
        name = f"losses, {entities} entities, {predicates} predicates"
        batch = _batch(entities, predicates, classes)
        together = partial(_together, batch)
        yield timer.measure(
            name, together, slow=partial(_slow, batch), slow_name="loops over scalars", same=_same
        )
        yield timer.measure(
            name, together, slow=partial(_one_by_one, batch), slow_name="one by one", same=_same
        )


def _together(batch: Batch) -> list[Tensor]:
    return _with_gradient(batch, ContrastiveLosses(terms=_terms(batch))(*batch[:4]))


def _slow(batch: Batch) -> list[Tensor]:
    return _with_gradient(batch, slow_contrastive(batch, _MARGINS, _WEIGHTS, "anchors", False))


def _one_by_one(batch: Batch) -> list[Tensor]:
    """Each loss with a softmax and a reduction of its own."""
    losses: dict[str, Tensor] = {}
    for name, term in _terms(batch).items():
        losses |= ContrastiveLosses(terms={name: term})(*batch[:4])
    return _with_gradient(batch, losses)


def _terms(batch: Batch) -> dict[str, ContrastiveTerm]:
    kinds = {
        "class_agnostic": ClassAgnosticTerm,
        "entity_class": EntityClassTerm,
        "predicate_class": PredicateClassTerm,
    }
    return {
        name: kind(
            weight=weight,
            margin=margin,
            num_classes=batch.num_classes,
            num_predicates=batch.logits.shape[1] - 1,
        )
        for (name, kind), weight, margin in zip(kinds.items(), _WEIGHTS, _MARGINS, strict=True)
    }


def _with_gradient(batch: Batch, losses: dict[str, Tensor]) -> list[Tensor]:
    (gradient,) = torch.autograd.grad(sum(losses.values(), start=batch.logits.new_zeros(())), batch.logits)
    return [*losses.values(), gradient]


def _same(fast: list[Tensor], slow: list[Tensor]) -> None:
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-6)


def _batch(entities: int, predicates: int, classes: int) -> Batch:
    """One image: 128 related pairs and, for each side, 384 unrelated ones."""
    g = torch.Generator().manual_seed(0)
    ends = torch.cartesian_prod(torch.arange(entities), torch.arange(entities))
    ends = ends[ends[:, 0] != ends[:, 1]]
    ends = ends[torch.randperm(len(ends), generator=g)]
    related = torch.arange(len(ends)) < _RELATED
    sides = []
    for _ in range(2):
        others = _RELATED + torch.randperm(len(ends) - _RELATED, generator=g)[: _PAIRS_A_SIDE - _RELATED]
        sides.append(related.scatter(0, others, True))
    drawn = sides[0] | sides[1]
    ends, related = ends[drawn], related[drawn]
    label_pair = related.nonzero()[:, 0]
    return Batch(
        torch.randn(len(ends), predicates + 1, generator=g).requires_grad_(),
        EntityBatch(
            boxes=torch.zeros(entities, 4),
            regions=torch.zeros(entities, 4),
            classes=torch.randint(classes, (entities,), generator=g),
            scores=torch.ones(entities),
            image=torch.zeros(entities, dtype=torch.long),
            image_sizes=torch.ones(1, 2),
            frames=[(1, 1)],
            counts=[entities],
        ),
        Pairs.one_direction(ends[:, 0], ends[:, 1]),
        PairTargets(
            label_pair=label_pair,
            label_predicate=torch.randint(predicates, label_pair.shape, generator=g),
            related=related,
            unrelated=~related,
            in_cross_entropy=torch.ones_like(related),
            subject_side=sides[0][drawn],
            object_side=sides[1][drawn],
        ),
        classes,
    )
