"""L0 to L3 (eq. 1 to 8) as loops over scalars that follow the text, for tests and the benchmark."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from reldn_d2.structures import EntityBatch, Pairs, PairTargets

L1, L2, L3 = "loss_rel_class_agnostic", "loss_rel_entity_class", "loss_rel_predicate_class"
Normalization = Literal["anchors", "published"]


class Batch(NamedTuple):
    logits: Tensor
    entities: EntityBatch
    pairs: Pairs
    targets: PairTargets
    num_classes: int


def zeros_like_graph(logits: Tensor) -> Tensor:
    return logits.sum() * 0


def mean(values: Sequence[Tensor], extra: int = 0) -> Tensor:
    return sum(values[1:], start=values[0]) / (len(values) + extra)


def slow_cross_entropy(batch: Batch) -> Tensor:
    logits, targets = batch.logits, batch.targets
    background = logits.shape[1] - 1
    samples = []
    for pair in range(len(logits)):
        if not targets.in_cross_entropy[pair]:
            continue
        log_probs = logits[pair].log_softmax(0)
        for row in range(len(targets.label_pair)):
            if targets.label_pair[row] == pair:
                samples.append(-log_probs[int(targets.label_predicate[row])])
        if targets.unrelated[pair]:
            samples.append(-log_probs[background])
    return mean(samples) if samples else zeros_like_graph(logits)


class Side(NamedTuple):
    anchor: list[int]
    partner: list[int]
    drawn: list[bool]


def slow_sides(batch: Batch) -> list[Side]:
    subject, object = batch.pairs.subject.tolist(), batch.pairs.object.tolist()
    return [
        Side(subject, object, batch.targets.subject_side.tolist()),
        Side(object, subject, batch.targets.object_side.tolist()),
    ]


def hinge(positives: list[Tensor], negatives: list[Tensor], margin: float) -> Tensor | None:
    """max(0, margin - (min positive - max negative)), or None if the cell is not valid."""
    if not positives or not negatives:
        return None
    slack = margin - (min(positives) - max(negatives))
    return slack if slack > 0 else slack * 0


def slow_cells(
    batch: Batch,
    phi: Tensor,
    side: Side,
    anchor: int,
    groups: Callable[[int], Iterable[int]],
    wrong: Callable[[int], int],
    margin: float,
) -> list[Tensor]:
    """Valid cells of one anchor. A related pair is in all its `groups`, an unrelated one in `wrong`."""
    rows = [m for m in range(len(phi)) if side.drawn[m] and side.anchor[m] == anchor]
    positives = [m for m in rows if batch.targets.related[m]]
    negatives = [m for m in rows if batch.targets.unrelated[m]]
    cells = []
    for group in sorted({g for m in positives for g in groups(m)}):
        cell = hinge(
            [phi[m] for m in positives if group in groups(m)],
            [phi[m] for m in negatives if wrong(m) == group],
            margin,
        )
        if cell is not None:
            cells.append(cell)
    return cells


def slow_loss(
    batch: Batch,
    grouping: Callable[[Side], tuple[Callable[[int], Iterable[int]], Callable[[int], int]]],
    margin: float,
    normalization: str,
) -> Tensor:
    total = zeros_like_graph(batch.logits)
    phi = 1 - batch.logits.softmax(1)[:, -1]
    for side in slow_sides(batch):
        groups, wrong = grouping(side)
        per_anchor = [
            slow_cells(batch, phi, side, anchor, groups, wrong, margin)
            for anchor in range(len(batch.entities))
        ]
        per_anchor = [cells for cells in per_anchor if cells]
        if not per_anchor:
            continue
        if normalization == "published":
            total = total + mean([cell for cells in per_anchor for cell in cells], extra=1)
        else:
            total = total + mean([mean(cells) for cells in per_anchor])
    return total


def slow_contrastive(
    batch: Batch,
    margins: tuple[float, float, float],
    weights: tuple[float, float, float],
    normalization: str,
    background_in_argmax: bool,
) -> dict[str, Tensor]:
    classes = batch.entities.classes.tolist()
    labels: dict[int, set[int]] = {}
    for pair, predicate in zip(
        batch.targets.label_pair.tolist(), batch.targets.label_predicate.tolist(), strict=True
    ):
        labels.setdefault(pair, set()).add(predicate)
    rows = batch.logits.tolist()
    candidates = rows if background_in_argmax else [row[:-1] for row in rows]
    predicted = [row.index(max(row)) for row in candidates]
    losses = [
        slow_loss(batch, lambda side: (lambda m: {0}, lambda m: 0), margins[0], normalization),
        slow_loss(
            batch,
            lambda side: (lambda m: {classes[side.partner[m]]}, lambda m: classes[side.partner[m]]),
            margins[1],
            normalization,
        ),
        slow_loss(
            batch, lambda side: (lambda m: labels[m], lambda m: predicted[m]), margins[2], normalization
        ),
    ]
    named = zip((L1, L2, L3), weights, losses, strict=True)
    return {name: weight * loss for name, weight, loss in named if weight != 0}
