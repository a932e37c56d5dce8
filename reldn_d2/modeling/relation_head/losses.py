"""The four losses of RelDN (Zhang et al., CVPR 2019, section 3). Shape letters: see `reldn_d2.structures.pairs`.

All contrastive losses are margins inside *cells*. A cell of an anchor holds

    L1  all drawn partners of the anchor                                     (eq. 2, 3)
    L2  those of one entity class                                            (eq. 4, 5)
    L3  positives of one predicate, negatives wrongly predicted as it        (eq. 6, 7)

and its margin is `min over positives of Φ - max over negatives of Φ`, with the affinity
`Φ(s, o) = 1 - p(∅ | s, o)` (eq. 1). Since `max Φ = -min(-Φ)`, one minimum per (cell, sign) is all that is needed:
every margin of every loss and both sides comes out of a single segment reduction, without a loop, a
data-dependent shape or a device sync.
"""

import math
from itertools import accumulate
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from reldn_d2.structures import EntityBatch, Pairs, PairTargets

Normalization = Literal["anchors", "published"]
_NORMALIZATIONS = get_args(Normalization)

# Rows shorter than a vector register of a CPU take PyTorch longer than the same numbers down the columns.
_SHORT_ROW = 16


def predicate_cross_entropy(logits: Tensor, targets: PairTargets) -> Tensor:
    """L0: cross entropy over the P predicates and ∅, one sample per drawn (pair, predicate).

    Args:
        logits: (M, P+1).
        targets: which pairs were drawn and their labels; a pair with several labels gives several samples.

    Returns:
        Scalar, the mean over samples; a zero that keeps the graph if nothing was drawn.
    """
    log_probs = F.log_softmax(logits, dim=1)
    background = logits.shape[1] - 1
    label_drawn = targets.in_cross_entropy[targets.label_pair]
    unrelated_drawn = targets.in_cross_entropy & targets.unrelated
    log_likelihood = (log_probs[targets.label_pair, targets.label_predicate] * label_drawn).sum() + (
        log_probs[:, background] * unrelated_drawn
    ).sum()
    samples = label_drawn.sum() + unrelated_drawn.sum()
    return -log_likelihood / samples.clamp(min=1)


def contrastive_losses(
    logits: Tensor,
    entities: EntityBatch,
    pairs: Pairs,
    targets: PairTargets,
    *,
    num_classes: int,
    margins: tuple[float, float, float] = (0.2, 0.2, 0.2),
    weights: tuple[float, float, float] = (1.0, 0.5, 0.1),
    normalization: Normalization = "anchors",
    background_in_argmax: bool = False,
) -> dict[str, Tensor]:
    """L1, L2 and L3, each times its weight (λ1, λ2, λ3 of eq. 8).

    Args:
        logits: (M, P+1) fused predicate logits.
        entities: the E entities; their classes form the cells of L2.
        pairs: the M ordered pairs.
        targets: related and unrelated pairs, and the partners drawn for each side.
        num_classes: number of entity classes C.
        margins: α1, α2, α3.
        weights: λ1, λ2, λ3. A weight of 0 switches a loss off: it is neither computed nor returned.
        normalization: "anchors" averages the cells of an anchor and then the anchors that have a valid cell, over
            the whole batch; "published" divides the sum over all valid cells of a side by their number plus one.
        background_in_argmax: whether ∅ competes in the argmax that makes a negative of L3. Off, every unrelated
            pair is a negative of the real predicate it is most like.

    Returns:
        "loss_rel_class_agnostic", "loss_rel_entity_class", "loss_rel_predicate_class": scalars. A loss without any
        valid cell is a zero that keeps the graph.

    Raises:
        ValueError: an unknown normalization.
    """
    if normalization not in _NORMALIZATIONS:
        raise ValueError(f"unknown normalization {normalization!r}: use one of {_NORMALIZATIONS}")
    names = ("loss_rel_class_agnostic", "loss_rel_entity_class", "loss_rel_predicate_class")
    num_predicates = logits.shape[1] - 1
    active = [i for i in range(3) if weights[i]]
    if not active:
        return {}
    # A slot of this table for every (sign, side, anchor, cell of the anchor): positives of Φ, then negatives of -Φ.
    sizes = [(1, num_classes, num_predicates)[i] for i in active]
    shape = (2, 2, len(entities), sum(sizes))
    first_cell = dict(zip(active, accumulate(sizes, initial=0), strict=False))
    values, slots = _entries(logits, entities, pairs, targets, shape, first_cell, background_in_argmax)
    minima = values.new_full((math.prod(shape),), torch.inf).scatter_reduce(0, slots, values, "amin")
    positive, negative = minima.view(shape)
    losses = _mean_hinges(positive + negative, sizes, [margins[i] for i in active], normalization)
    return {names[i]: weights[i] * loss for i, loss in zip(active, losses, strict=True)}


def _entries(
    logits: Tensor,
    entities: EntityBatch,
    pairs: Pairs,
    targets: PairTargets,
    shape: tuple[int, int, int, int],
    first_cell: dict[int, int],
    background_in_argmax: bool,
) -> tuple[Tensor, Tensor]:
    """What competes for the minimum of which slot: ±Φ of a pair, infinite if the pair was not drawn."""
    # Rows of these (2, M) tables are the two sides: subjects as anchors, then objects.
    anchor = torch.stack([pairs.subject, pairs.object])
    drawn = torch.stack([targets.subject_side, targets.object_side])
    affinity = _affinity(logits)
    signed = torch.where(targets.related, affinity, -affinity)
    signed = signed.expand(2, -1).masked_fill(~(drawn & (targets.related | targets.unrelated)), torch.inf)

    slots_per_sign = math.prod(shape[1:])
    side = torch.arange(2, device=logits.device)[:, None]
    positive = (side * shape[2] + anchor) * shape[3]
    own_sign = positive + slots_per_sign * ~targets.related
    entries = []
    if 0 in first_cell:
        entries.append((signed, own_sign + first_cell[0]))
    if 1 in first_cell:
        partner_class = entities.classes[anchor.flip(0)]
        entries.append((signed, own_sign + (first_cell[1] + partner_class)))
    if 2 in first_cell:
        label_slot = positive[:, targets.label_pair] + (first_cell[2] + targets.label_predicate)
        entries.append((signed.index_select(1, targets.label_pair), label_slot))
        num_predicates = logits.shape[1] - 1
        scores = logits.detach() if background_in_argmax else logits.detach()[:, :num_predicates]
        likely = scores.argmax(dim=1)
        # A pair whose argmax is ∅ is a negative of no predicate.
        no_negative = targets.related | (likely == num_predicates)
        likely_slot = positive + (slots_per_sign + first_cell[2] + likely.clamp(max=num_predicates - 1))
        entries.append((signed.masked_fill(no_negative, torch.inf), likely_slot))
    values, slots = (torch.cat(parts, dim=1).flatten() for parts in zip(*entries, strict=True))
    return values, slots


def _affinity(logits: Tensor) -> Tensor:
    """Φ = 1 - p(∅) of each row, eq. 1."""
    if logits.device.type == "cpu" and logits.shape[1] < _SHORT_ROW:
        return 1 - logits.t().softmax(dim=0)[-1]
    return 1 - logits.softmax(dim=1)[:, -1]


def _mean_hinges(
    margins: Tensor, sizes: list[int], alphas: list[float], normalization: Normalization
) -> tuple[Tensor, ...]:
    """max(0, α - margin) of (sides, anchors, cells) tables side by side, each averaged over the cells that have one.

    Where a positive or a negative is missing the margin is infinite, so that its hinge is 0.
    """
    valid = (margins != torch.inf).to(margins.dtype)
    # (losses, sides, anchors)
    cells = torch.stack([table.sum(dim=2) for table in torch.split(valid, sizes, dim=2)])
    hinges = torch.stack(
        [
            (alpha - table).clamp(min=0).sum(dim=2)
            for alpha, table in zip(alphas, torch.split(margins, sizes, dim=2), strict=True)
        ]
    )
    if normalization == "published":
        means = hinges.sum(dim=2) / (cells.sum(dim=2) + 1)
    else:
        anchors = cells.sign().sum(dim=2)
        means = (hinges / cells.clamp(min=1)).sum(dim=2) / anchors.clamp(min=1)
    return means.sum(dim=1).unbind()
