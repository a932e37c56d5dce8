"""Labels every ordered entity pair of a batch and draws those that the losses use (sections 3.4 and 5).

This is the sampling of the paper. That of the published code is in `published_sampling.py`.

The sampler works on (N, Emax, Emax) tables, with subjects in rows and objects in columns, padded to the image
with the most entities. So no loop runs over images or entities. Random subsets come from `topk` of random
keys. Shapes are static up to the last step, which makes lists of pairs and labels from the drawn table. It
reads their lengths at once, so a GPU waits once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor

from reldn_d2.config_values import check_arguments
from reldn_d2.structures import EntityBatch, Pairs, PairTargets, boxes_overlap

from .fixed_shapes import true_rows
from .pair_tables import draw, draw_for_cross_entropy, padded_rows


class PairSampler:
    """Draws the training pairs of each loss independently of the other losses.

    A pair is related if its subject and its object are matched to those of an annotated relationship. It is
    unrelated if they are matched to two different ground-truth entities without a relationship in this order.
    A pair of entities that are matched to the same ground-truth entity is neither.

    Example:
        An image with three annotated entities, of which the first has relationship 1 with the second. The
        fourth box is a detection of the second entity. So pairs (0, 1) and (0, 3) are related:

        >>> import torch
        >>> from reldn_d2.modeling import EntityBatch, PairSampler
        >>> boxes = torch.tensor([[0.0, 0, 9, 9], [5, 5, 9, 9], [0, 0, 4, 4], [5, 4, 9, 9]])
        >>> classes = torch.tensor([0, 1, 1, 1])
        >>> entities = EntityBatch.from_images(boxes=[boxes], classes=[classes], image_sizes=[(10, 10)])
        >>> sample = PairSampler(num_predicates=2, partners_per_anchor=64)
        >>> matched, relations = torch.tensor([0, 1, 2, 1]), [torch.tensor([[0, 1, 1]])]
        >>> pairs, targets = sample(entities, matched, relations, num_ground_truth=[3])
        >>> related = targets.related.nonzero()[:, 0]
        >>> pairs.subject[related].tolist(), pairs.object[related].tolist(), targets.label_predicate.tolist()
        ([0, 0], [1, 3], [1, 1])
        >>> int(targets.unrelated.sum()), len(pairs)  # (1, 3) and (3, 1) are neither, so they are not drawn
        (8, 10)
    """

    @configurable
    def __init__(
        self,
        *,
        num_predicates: int,
        batch_size_per_image: int = 512,
        positives_per_image: int = 128,
        anchors_per_image: int = 128,
        partners_per_anchor: int = 64,
        overlap_only: bool = False,
    ) -> None:
        """Sets the numbers of pairs to draw.

        Args:
            num_predicates: P.
            batch_size_per_image: number of pairs that L0 draws from an image. A pair has all its labels.
            positives_per_image: largest number of related pairs among them; the others are unrelated.
            anchors_per_image: number of subjects with a related object that the contrastive losses draw, each
                with all its related objects; the same for objects.
            partners_per_anchor: largest number of unrelated objects (or subjects) of each of them.
            overlap_only: whether to exclude pairs whose boxes do not overlap from all losses.

        Raises:
            ValueError: an argument is not possible (`SETTINGS`).
        """
        check_arguments(
            "PairSampler",
            num_predicates=num_predicates,
            batch_size_per_image=batch_size_per_image,
            positives_per_image=positives_per_image,
            anchors_per_image=anchors_per_image,
            partners_per_anchor=partners_per_anchor,
            overlap_only=overlap_only,
        )
        self.num_predicates = num_predicates
        self.batch_size_per_image, self.positives_per_image = batch_size_per_image, positives_per_image
        self.anchors_per_image, self.partners_per_anchor = anchors_per_image, partners_per_anchor
        self.overlap_only = overlap_only

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Reads SAMPLING and OVERLAP_ONLY from the config."""
        head = cfg.MODEL.ROI_RELATION_HEAD
        return {
            "num_predicates": head.NUM_PREDICATES,
            "batch_size_per_image": head.SAMPLING.BATCH_SIZE_PER_IMAGE,
            "positives_per_image": head.SAMPLING.POSITIVES_PER_IMAGE,
            "anchors_per_image": head.SAMPLING.ANCHORS_PER_IMAGE,
            "partners_per_anchor": head.SAMPLING.PARTNERS_PER_ANCHOR,
            "overlap_only": head.OVERLAP_ONLY,
        }

    def __call__(
        self, entities: EntityBatch, matched: Tensor, relations: list[Tensor], num_ground_truth: list[int]
    ) -> tuple[Pairs, PairTargets]:
        """Draws the pairs of each loss and returns their union, so that their features are computed once.

        Args:
            entities: E entities.
            matched: (E,) long, for each entity the ground-truth row in its image that it is matched to.
            relations: for each image (R, 3) long rows (subject, object, predicate) of ground-truth rows.
            num_ground_truth: number of ground-truth entities of each image.

        Returns:
            All unordered pairs with at least one drawn direction, in both directions, and their targets.
        """
        rows, exists = padded_rows(entities)
        match = matched[rows]
        annotated = _Annotations.of(relations, num_ground_truth, self.num_predicates)

        image = torch.arange(len(entities.counts), device=match.device)[:, None, None]
        distinct = (match[:, :, None] != match[:, None, :]) & exists[:, :, None] & exists[:, None, :]
        if self.overlap_only:
            boxes = entities.boxes[rows]
            distinct &= boxes_overlap(boxes[:, :, None], boxes[:, None, :])
        # How many predicates each pair of entities is annotated with.
        labels = annotated.counts[image, match[:, :, None], match[:, None, :]]
        known = labels > 0
        related, unrelated = distinct & known, distinct & ~known

        in_cross_entropy = draw_for_cross_entropy(
            related, unrelated, self.batch_size_per_image, self.positives_per_image
        )
        anchors, partners = self.anchors_per_image, self.partners_per_anchor
        subject_side = _draw_partners(related, unrelated, anchors, partners)
        object_side = _draw_partners(related.mT, unrelated.mT, anchors, partners).mT

        # Related pairs have labels. They are few, so the labels of the other pairs are not looked at.
        either = in_cross_entropy | subject_side | object_side
        either = either | either.mT
        undirected, labelled = either.triu().flatten(), either & related
        # The only values that the host reads.
        num_pairs, num_related, num_labels = torch.stack(
            [undirected.sum(), labelled.sum(), (labels * labelled).sum()]
        ).tolist()

        size = rows.shape[1]
        place = true_rows(undirected, num_pairs)
        image, a, b = place // size**2, place // size % size, place % size
        pairs = Pairs.both_directions(rows[image, a], rows[image, b])
        image, subject, object = image.repeat(2), torch.cat([a, b]), torch.cat([b, a])
        tables = torch.stack([related, unrelated, in_cross_entropy, subject_side, object_side])
        masks = tables.flatten(1)[:, (image * size + subject) * size + object]
        pair = true_rows(masks[0], num_related)
        image, subject, object = image[pair], subject[pair], object[pair]
        row, label_predicate = annotated.labels(
            image, match[image, subject], match[image, object], num_labels
        )
        return pairs, PairTargets(pair[row], label_predicate, *masks)


@dataclass(frozen=True)
class _Annotations:
    """The annotated relationships of a batch, without repeats.

    A table with a column for each predicate would take gigabytes where images have many entities.

    Attributes:
        counts: (N, Gmax, Gmax) long, the number of predicates of each (subject, object).
        keys: (R,) long, ascending: ((image * Gmax + subject) * Gmax + object) * P + predicate. The last ones
            are N * Gmax * Gmax * P, one for each repeated row.
        num_predicates: P.
    """

    counts: Tensor
    keys: Tensor
    num_predicates: int

    @staticmethod
    def of(relations: list[Tensor], num_ground_truth: list[int], num_predicates: int) -> "_Annotations":
        """Reads the relationships of each image. For the arguments, see `PairSampler`."""
        size = max(max(num_ground_truth), 1)
        device = relations[0].device
        image_of_row = np.arange(len(relations)).repeat([len(rows) for rows in relations])
        image = torch.from_numpy(image_of_row).to(device, non_blocking=True)
        subject, object, predicate = torch.cat(relations).unbind(dim=1)
        pair = (image * size + subject) * size + object
        cells = len(relations) * size**2
        keys = pair * num_predicates + predicate
        keys = keys.sort().values
        repeated = torch.zeros_like(keys, dtype=torch.bool)
        repeated[1:] = keys[1:] == keys[:-1]
        keys = keys.masked_fill(repeated, cells * num_predicates).sort().values
        # The last cell counts the repeated rows.
        counts = pair.new_zeros(cells + 1).index_add(0, keys // num_predicates, torch.ones_like(keys))
        return _Annotations(counts[:-1].view(len(relations), size, size), keys, num_predicates)

    def labels(self, image: Tensor, subject: Tensor, object: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The predicates of pairs of annotated entities, pair by pair, in ascending order.

        Args:
            image, subject, object: (K,) long.
            count: L, the number of predicates of all these pairs.

        Returns:
            (L,) the row of the pair, (L,) the predicate.
        """
        size = self.counts.shape[1]
        pair = (image * size + subject) * size + object
        start = torch.searchsorted(self.keys, pair * self.num_predicates)
        end = self.counts.flatten()[pair].cumsum(dim=0)
        label = torch.arange(count, device=pair.device)
        row = torch.searchsorted(end, label, right=True)
        place = start[row] + label - (end - self.counts.flatten()[pair])[row]
        return row, self.keys[place] % self.num_predicates


def _draw_partners(related: Tensor, unrelated: Tensor, anchors: int, partners: int) -> Tensor:
    """Draws anchors (dimension 1) and their partners (dimension 2)."""
    anchor = draw(related.any(dim=2), anchors)
    return anchor[:, :, None] & (related | draw(unrelated, partners))
