"""Labels every ordered entity pair of a batch and draws those that the losses use (sections 3.4 and 5 of the paper).

Work is done on tables padded to the largest image, (N, Emax, Emax) with subjects in rows and objects in columns, so
that no loop runs over images or entities. Random subsets come from `topk` of random keys. Shapes are static up to the
last step, the one compaction that turns the drawn table into a list of pairs (and one that lists their labels).
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reldn_d2.structures import EntityBatch, Pairs, PairTargets, boxes_overlap

ContrastiveSampling = Literal["partners", "pairs"]


def label_and_sample_pairs(
    entities: EntityBatch,
    matched: Tensor,
    relations: list[Tensor],
    num_ground_truth: list[int],
    *,
    num_predicates: int,
    batch_size_per_image: int = 512,
    positives_per_image: int = 128,
    anchors_per_image: int = 128,
    partners_per_anchor: int = 64,
    overlap_only: bool = False,
    contrastive: ContrastiveSampling = "partners",
    first_predicate_only: bool = False,
) -> tuple[Pairs, PairTargets]:
    """Draws pairs for each loss on its own and returns their union, so that their features are computed once.

    A pair is related when its ends are matched to the two ends of an annotated relationship, and unrelated when they
    are matched to two different ground-truth entities without a relationship in this order. Two entities matched to
    the same ground truth form neither.

    Args:
        entities: E entities.
        matched: (E,) long, row of the ground-truth entity (inside its image) that each entity stands for.
        relations: for each image (R, 3) long rows (subject, object, predicate) of ground-truth rows.
        num_ground_truth: number of ground-truth entities of each image.
        num_predicates: P.
        batch_size_per_image, positives_per_image: L0 draws up to `positives_per_image` related pairs of an image and
            fills up with unrelated ones. A drawn pair contributes all its labels.
        anchors_per_image, partners_per_anchor: contrastive sets of the "partners" method: up to so many subjects
            with a related object, each with all its related and so many unrelated objects; the same for objects.
        overlap_only: pairs of boxes that do not overlap are left out altogether.
        contrastive: "partners" as above; "pairs", as in the published code: for each side up to
            `anchors_per_image` related and as many unrelated pairs, whatever their anchors.
        first_predicate_only: a pair keeps only its first annotated predicate, as in the published code.

    Returns:
        All unordered pairs of which at least one direction was drawn, in both directions, and their targets.
    """
    boxes = pad_sequence(entities.boxes_per_image(), batch_first=True)
    match = pad_sequence(list(torch.split(matched, entities.counts)), batch_first=True)
    rows, exists = _padded_rows(entities)
    predicates = _predicate_table(relations, num_ground_truth, num_predicates, first_predicate_only)

    image = torch.arange(len(entities.counts), device=match.device)[:, None, None]
    distinct = (match[:, :, None] != match[:, None, :]) & exists[:, :, None] & exists[:, None, :]
    if overlap_only:
        distinct &= boxes_overlap(boxes[:, :, None], boxes[:, None, :])
    annotated = predicates.any(dim=3)[image, match[:, :, None], match[:, None, :]]
    related, unrelated = distinct & annotated, distinct & ~annotated

    in_cross_entropy = _draw_for_cross_entropy(related, unrelated, batch_size_per_image, positives_per_image)
    if contrastive == "partners":
        subject_side = _draw_partners(related, unrelated, anchors_per_image, partners_per_anchor)
        object_side = _draw_partners(related.mT, unrelated.mT, anchors_per_image, partners_per_anchor).mT
    else:
        subject_side = _draw_pairs(related, unrelated, anchors_per_image)
        object_side = _draw_pairs(related, unrelated, anchors_per_image)

    drawn = in_cross_entropy | subject_side | object_side
    image, a, b = (drawn | drawn.mT).triu().nonzero(as_tuple=True)
    pairs = Pairs.both_directions(rows[image, a], rows[image, b])
    ordered = (image.repeat(2), torch.cat([a, b]), torch.cat([b, a]))
    labels = predicates[ordered[0], match[ordered[:2]], match[ordered[::2]]]
    label_pair, label_predicate = labels.nonzero(as_tuple=True)
    return pairs, PairTargets(
        label_pair=label_pair,
        label_predicate=label_predicate,
        related=related[ordered],
        unrelated=unrelated[ordered],
        in_cross_entropy=in_cross_entropy[ordered],
        subject_side=subject_side[ordered],
        object_side=object_side[ordered],
    )


def _padded_rows(entities: EntityBatch) -> tuple[Tensor, Tensor]:
    """(N, Emax) entity rows, and whether each place holds an entity."""
    device = entities.boxes.device
    counts = torch.tensor(entities.counts, device=device)
    position = torch.arange(max(entities.counts), device=device)
    return position + (counts.cumsum(0) - counts)[:, None], position < counts[:, None]


def _predicate_table(
    relations: list[Tensor], num_ground_truth: list[int], num_predicates: int, first_only: bool
) -> Tensor:
    """(N, Gmax, Gmax, P) bool: which predicates are annotated for (subject, object)."""
    size = max(max(num_ground_truth), 1)
    table = torch.zeros(
        len(relations), size, size, num_predicates, dtype=torch.bool, device=relations[0].device
    )
    image = torch.repeat_interleave(
        torch.arange(len(relations)), torch.tensor([len(r) for r in relations])
    ).to(table.device, non_blocking=True)
    subject, object, predicate = torch.cat(relations).unbind(dim=1)
    keep = torch.ones_like(subject, dtype=torch.bool)
    if first_only:
        pair = (image * size + subject) * size + object
        repeated = (pair[:, None] == pair[None, :]).tril(diagonal=-1).any(dim=1)
        keep = ~repeated
    table.index_put_((image, subject, object, predicate), keep, accumulate=True)
    return table


def _draw(eligible: Tensor, limit: int | Tensor, most: int) -> Tensor:
    """Random subset of the eligible places along the last dimension.

    Args:
        eligible: (..., K) bool.
        limit: how many to draw, at most `most`; one number or a (..., 1) tensor of them.
        most: upper bound of `limit`.

    Returns:
        (..., K) bool, with min(limit, eligible places) of each row set, every subset of that size equally likely.
    """
    keys = torch.rand(eligible.shape, device=eligible.device).masked_fill_(~eligible, -1.0)
    top, place = keys.topk(min(most, eligible.shape[-1]), dim=-1)
    taken = (top >= 0) & (torch.arange(top.shape[-1], device=top.device) < limit)
    return torch.zeros_like(eligible).scatter(-1, place, taken)


def _draw_for_cross_entropy(related: Tensor, unrelated: Tensor, size: int, positives: int) -> Tensor:
    positive = _draw(related.flatten(1), min(positives, size), positives)
    free = size - positive.sum(dim=1, keepdim=True)
    return (positive | _draw(unrelated.flatten(1), free, size)).view_as(related)


def _draw_partners(related: Tensor, unrelated: Tensor, anchors: int, partners: int) -> Tensor:
    """Anchors lie along dimension 1, their partners along dimension 2."""
    anchor = _draw(related.any(dim=2), anchors, anchors)
    return anchor[:, :, None] & (related | _draw(unrelated, partners, partners))


def _draw_pairs(related: Tensor, unrelated: Tensor, size: int) -> Tensor:
    return (_draw(related.flatten(1), size, size) | _draw(unrelated.flatten(1), size, size)).view_as(related)
