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

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from reldn_d2.structures import EntityBatch, Pairs, PairTargets

Normalization = Literal["anchors", "published"]


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
    """
    num_predicates = logits.shape[1] - 1
    affinity = 1 - logits.softmax(dim=1)[:, num_predicates]
    if background_in_argmax:
        likely = logits.detach().argmax(dim=1)
    else:
        likely = logits.detach()[:, :num_predicates].argmax(dim=1)
    # A pair whose argmax is ∅ is a negative of no predicate.
    wrongly_predicted = targets.unrelated & (likely < num_predicates)
    likely = likely.clamp(max=num_predicates - 1)

    names = ("loss_rel_class_agnostic", "loss_rel_entity_class", "loss_rel_predicate_class")
    cells_per_anchor = (1, num_classes, num_predicates)
    sides = (
        (pairs.subject, entities.classes[pairs.object], targets.subject_side),
        (pairs.object, entities.classes[pairs.subject], targets.object_side),
    )
    reduction = _CellMinima(affinity, num_anchors=len(entities))
    for anchor, partner_class, drawn in sides:
        label_anchor, label_drawn = anchor[targets.label_pair], drawn[targets.label_pair]
        related, unrelated = drawn & targets.related, drawn & targets.unrelated
        if weights[0]:
            reduction.add_cells(1)
            reduction.positives(anchor, related)
            reduction.negatives(anchor, unrelated)
        if weights[1]:
            cell = anchor * num_classes + partner_class
            reduction.add_cells(num_classes)
            reduction.positives(cell, related)
            reduction.negatives(cell, unrelated)
        if weights[2]:
            reduction.add_cells(num_predicates)
            label_cell = label_anchor * num_predicates + targets.label_predicate
            reduction.positives(label_cell, label_drawn, pair=targets.label_pair)
            reduction.negatives(anchor * num_predicates + likely, drawn & wrongly_predicted)

    active = [i for i in range(3) if weights[i]]
    margins_of_cells = reduction.margins()
    losses: dict[str, Tensor] = {}
    for position, i in enumerate(active):
        total = affinity.new_zeros(())
        for side in range(2):
            margin = margins_of_cells[side * len(active) + position].view(len(entities), cells_per_anchor[i])
            total = total + _mean_hinge(margin, margins[i], normalization)
        losses[names[i]] = weights[i] * total
    return losses


class _CellMinima:
    """Collects entries (pair, cell, sign), then takes the minimum of every (cell, sign) at once."""

    def __init__(self, affinity: Tensor, num_anchors: int) -> None:
        self._affinity = affinity
        self._num_anchors = num_anchors
        self._sizes: list[int] = []
        self._offset = 0
        self._next_offset = 0
        self._values: list[Tensor] = []
        self._slots: list[Tensor] = []

    def add_cells(self, cells_per_anchor: int) -> None:
        """Opens the next block of cells; entries that follow belong to it."""
        self._sizes.append(self._num_anchors * cells_per_anchor)
        self._offset = self._next_offset
        self._next_offset += 2 * self._sizes[-1]

    def positives(self, cell: Tensor, mask: Tensor, pair: Tensor | None = None) -> None:
        values = self._affinity if pair is None else self._affinity[pair]
        self._add(values, cell + self._offset, mask)

    def negatives(self, cell: Tensor, mask: Tensor) -> None:
        self._add(-self._affinity, cell + (self._offset + self._sizes[-1]), mask)

    def _add(self, values: Tensor, slots: Tensor, mask: Tensor) -> None:
        self._values.append(values.masked_fill(~mask, torch.inf))
        self._slots.append(slots)

    def margins(self) -> list[Tensor]:
        """The margin of every cell, block by block; infinite where a cell lacks a positive or a negative."""
        if not self._sizes:
            return []
        minima = self._affinity.new_full((self._next_offset,), torch.inf)
        minima = minima.scatter_reduce(0, torch.cat(self._slots), torch.cat(self._values), "amin")
        blocks = torch.split(minima, [size for size in self._sizes for _ in range(2)])
        return [positive + negative for positive, negative in zip(blocks[::2], blocks[1::2], strict=True)]


def _mean_hinge(margin: Tensor, alpha: float, normalization: Normalization) -> Tensor:
    """max(0, α - margin) of an (anchors, cells) table, averaged over the cells that have one."""
    valid = margin != torch.inf  # a NaN counts as valid, so that a diverged model shows
    hinge = (alpha - margin).clamp(min=0).where(valid, 0.0)
    if normalization == "published":
        return hinge.sum() / (valid.sum() + 1)
    cells = valid.sum(dim=1)
    anchors = (cells > 0).sum()
    return (hinge.sum(dim=1) / cells.clamp(min=1)).sum() / anchors.clamp(min=1)
