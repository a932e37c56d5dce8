"""The losses on the logits of another model: from plain tensors, without a config and without RelDN."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reldn_d2.modeling import (
    ClassAgnosticTerm,
    ContrastiveLosses,
    EntityBatch,
    EntityClassTerm,
    Pairs,
    PairTargets,
    PredicateClassTerm,
    predicate_cross_entropy,
)
from tests.references.losses import L1, L2, L3, Batch, slow_contrastive, slow_cross_entropy

C, P = 3, 4
COUNTS = [4, 1, 5]
MARGINS, WEIGHTS = (0.2, 0.3, 0.4), (1.0, 0.5, 0.1)


def paper_losses() -> ContrastiveLosses:
    sizes = {"num_classes": C, "num_predicates": P}
    kinds = {
        "class_agnostic": ClassAgnosticTerm,
        "entity_class": EntityClassTerm,
        "predicate_class": PredicateClassTerm,
    }
    return ContrastiveLosses(
        terms={
            name: kind(weight=weight, margin=margin, **sizes)
            for (name, kind), weight, margin in zip(kinds.items(), WEIGHTS, MARGINS, strict=True)
        }
    )


def plain_batch(seed: int) -> tuple[EntityBatch, Pairs, Tensor, Tensor]:
    """All ordered pairs of each image, random logits (M, P+1), and labels of which half are background."""
    g = torch.Generator().manual_seed(seed)
    rows = [
        torch.tensor([(a, b) for a in range(n) for b in range(n) if a != b]).reshape(-1, 2) for n in COUNTS
    ]
    entities = EntityBatch.from_images(
        boxes=[torch.rand(n, 4, generator=g) for n in COUNTS],
        classes=[torch.randint(0, C, (n,), generator=g) for n in COUNTS],
        image_sizes=[(1, 1)] * len(COUNTS),
    )
    pairs = Pairs.from_images([table.long() for table in rows], entities.counts)
    logits = 2 * torch.randn(len(pairs), P + 1, generator=g, dtype=torch.float64)
    labels = torch.randint(0, P, (len(pairs),), generator=g)
    labels[torch.rand(len(pairs), generator=g) < 0.5] = P
    return entities, pairs, logits.requires_grad_(), labels


@pytest.mark.parametrize("seed", range(5))
def test_losses_of_plain_tensors_equal_the_definitions(seed: int) -> None:
    entities, pairs, logits, labels = plain_batch(seed)
    targets = PairTargets.from_labels(labels, P)
    batch = Batch(logits, entities, pairs, targets, C)
    found = paper_losses()(logits, entities, pairs, targets)
    expected = slow_contrastive(batch, MARGINS, WEIGHTS, "anchors", False)
    assert list(found) == [L1, L2, L3]
    for name, loss in found.items():
        assert loss > 0
        torch.testing.assert_close(loss, expected[name])
    cross_entropy = predicate_cross_entropy(logits, targets)
    torch.testing.assert_close(cross_entropy, slow_cross_entropy(batch))
    torch.testing.assert_close(cross_entropy, torch.nn.functional.cross_entropy(logits, labels))


def test_a_first_background_is_rolled_to_the_end() -> None:
    entities, pairs, logits, labels = plain_batch(0)
    first_logits, first_labels = logits.roll(1, dims=1), (labels + 1) % (P + 1)  # as in the other model
    assert ((first_labels == 0) == (labels == P)).all()
    rolled = first_logits.roll(-1, dims=1)
    targets = PairTargets.from_labels((first_labels - 1) % (P + 1), P)
    found = paper_losses()(rolled, entities, pairs, targets)
    expected = paper_losses()(logits, entities, pairs, PairTargets.from_labels(labels, P))
    for name, loss in found.items():
        torch.testing.assert_close(loss, expected[name])


def test_no_loss_reads_the_classes_of_roles() -> None:
    """They are for the semantic table."""
    entities, pairs, logits, labels = plain_batch(2)
    targets = PairTargets.from_labels(labels, P)
    other = (entities.classes + 1) % 2
    roles = replace(pairs, subject_classes=other[pairs.subject], object_classes=other[pairs.object])
    found = paper_losses()(logits, entities, roles, targets)
    assert found == paper_losses()(logits, entities, pairs, targets)


def test_ignored_pairs_change_no_loss() -> None:
    entities, pairs, logits, labels = plain_batch(1)
    ignored = torch.arange(len(pairs)) % 3 == 0
    targets = PairTargets.from_labels(labels, P, ignored=ignored)
    losses = paper_losses()(logits, entities, pairs, targets)
    total = sum(losses.values(), predicate_cross_entropy(logits, targets))
    (gradient,) = torch.autograd.grad(total, logits)
    assert not gradient[ignored].any() and gradient[~ignored].any(dim=1).all()


@pytest.mark.parametrize(
    ("columns", "rows", "labels", "message"),
    [
        (P, 32, 32, r"logits are \(32, 4\), but must be \(32, 5\): one row for each of the 32 pairs"),
        (P + 1, 31, 32, r"logits are \(31, 5\), but must be \(32, 5\)"),
        (P + 1, 32, 30, "the targets are of 30 pairs, but there are 32 pairs"),
    ],
)
def test_tensors_of_other_sizes_are_refused(columns: int, rows: int, labels: int, message: str) -> None:
    entities, pairs, logits, all_labels = plain_batch(0)
    assert len(pairs) == 32
    targets = PairTargets.from_labels(all_labels[:labels], P)
    with pytest.raises(ValueError, match=message):
        paper_losses()(logits[:rows, :columns], entities, pairs, targets)


def test_cross_entropy_of_other_sizes_is_refused() -> None:
    _, _, logits, labels = plain_batch(0)
    with pytest.raises(ValueError, match=r"31 rows of logits, but the targets are of 32 pairs"):
        predicate_cross_entropy(logits[:31], PairTargets.from_labels(labels, P))
