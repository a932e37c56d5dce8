"""Labels and draws training pairs as the code published with the paper does.

docs/architecture.md shows this sampling and that of the paper (`sampling.py`) side by side. Shape letters
beside those of `reldn_d2.structures.pairs`:

    R  largest number of relationships of an image

As in `sampling.py`, no loop runs over images or entities, and a GPU waits once.
"""

from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from reldn_d2.config_values import check_arguments
from reldn_d2.structures import EntityBatch, Pairs, PairTargets, boxes_iou, boxes_overlap

from .fixed_shapes import true_rows
from .pair_tables import draw, draw_for_cross_entropy, padded_rows

# Least IoU of a box with that of an annotated entity that it matches.
_MATCHED = 0.5
# About how many numbers of pairs and relationships are compared at once. This limits the memory.
_NUMBERS_AT_ONCE = 2**24


class PublishedPairSampler:
    """Draws the training pairs of each loss as the published code does.

    The entities of an image are proposals, which may include annotated boxes, and then all of its annotated
    boxes, row by row (`sampled_proposals`). Candidates are

    * all ordered pairs of two proposals. With `overlap_only` the boxes must share area, unless one of them is
      an annotated box;
    * the annotated pairs of annotated boxes, whether they overlap or not. A pair that is also one of two
      proposals is a candidate twice, and L0 may draw it twice.

    The label of a pair is the relationship of its image with the largest `min(IoU of the subjects, IoU of the
    objects)`, the first one among equals. The pair is related if this number is at least 0.5, and unrelated
    otherwise. So a pair has one predicate: of two boxes with several predicates, the first annotated one.

    An entity has a class for each role: that of the annotated subject (or object) of a relationship which it
    overlaps most, even if it overlaps none. In an image without relationships it keeps its own class.

    Example:
        An image with two annotated boxes, of which the first has relationship 1 with the second. They do not
        overlap. The only proposal beside them is a box near the second one:

        >>> import torch
        >>> from reldn_d2.modeling import EntityBatch, PublishedPairSampler
        >>> annotated = [[0.0, 0, 4, 4], [5, 5, 9, 9]]
        >>> boxes = torch.tensor([*annotated, [5, 6, 9, 9], *annotated])
        >>> classes = torch.tensor([0, 1, 1, 0, 1])
        >>> entities = EntityBatch.from_images(boxes=[boxes], classes=[classes], image_sizes=[(10, 10)])
        >>> sample = PublishedPairSampler(overlap_only=True)
        >>> matched, relations = torch.tensor([0, 1, 1, 0, 1]), [torch.tensor([[0, 1, 1]])]
        >>> pairs, targets = sample(entities, matched, relations, num_ground_truth=[2])
        >>> related = targets.related.nonzero()[:, 0]
        >>> pairs.subject[related].tolist(), pairs.object[related].tolist(), targets.label_predicate.tolist()
        ([0, 0, 0], [1, 2, 1], [1, 1, 1])
        >>> int(targets.unrelated.sum())  # the reverse directions, (1, 2) and (2, 1)
        4
    """

    @configurable
    def __init__(
        self,
        *,
        batch_size_per_image: int = 2048,
        positives_per_image: int = 512,
        anchors_per_image: int = 128,
        overlap_only: bool = False,
    ) -> None:
        """Sets the numbers of pairs to draw.

        Args:
            batch_size_per_image: number of pairs that L0 draws from an image.
            positives_per_image: largest number of related pairs among them; the others are unrelated.
            anchors_per_image: number of related pairs, and of unrelated pairs, that the contrastive losses
                draw for each side, regardless of their anchors. Unrelated pairs whose subject has an IoU of
                at least 0.5 with an annotated subject, and whose object has one with an annotated object,
                come first.
            overlap_only: whether two proposals must overlap.

        Raises:
            ValueError: an argument is not possible (`SETTINGS`).
        """
        check_arguments(
            "PublishedPairSampler",
            batch_size_per_image=batch_size_per_image,
            positives_per_image=positives_per_image,
            anchors_per_image=anchors_per_image,
            overlap_only=overlap_only,
        )
        self.batch_size_per_image, self.positives_per_image = batch_size_per_image, positives_per_image
        self.anchors_per_image, self.overlap_only = anchors_per_image, overlap_only

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Reads SAMPLING and OVERLAP_ONLY from the config."""
        head = cfg.MODEL.ROI_RELATION_HEAD
        return {
            "batch_size_per_image": head.SAMPLING.BATCH_SIZE_PER_IMAGE,
            "positives_per_image": head.SAMPLING.POSITIVES_PER_IMAGE,
            "anchors_per_image": head.SAMPLING.ANCHORS_PER_IMAGE,
            "overlap_only": head.OVERLAP_ONLY,
        }

    def __call__(
        self, entities: EntityBatch, _: Tensor, relations: list[Tensor], num_ground_truth: list[int]
    ) -> tuple[Pairs, PairTargets]:
        """Draws the pairs of each loss and returns their union, so that their features are computed once.

        Args:
            entities: E entities: of each image the proposals, and then the annotated boxes.
            _: (E,) the ground-truth rows that the entities are matched to. This sampling asks for the IoU
                with relationships instead.
            relations: for each image (R_i, 3) long rows (subject, object, predicate) of ground-truth rows.
            num_ground_truth: number of ground-truth entities of each image.

        Returns:
            The drawn ordered pairs with the classes of their roles, and their targets. Entities with equal
            boxes are the same anchor: pairs have the first of their rows.

        Raises:
            ValueError: an image has fewer entities than annotated boxes.
        """
        if not len(entities):
            none = entities.classes
            return Pairs.one_direction(none, none), PairTargets(none, none, *[none.bool()] * 5)
        table = _Table.of(entities, relations, num_ground_truth)
        best, label = table.nearest_relationship()
        candidate = table.candidates(self.overlap_only)
        related, unrelated = candidate & (best >= _MATCHED), candidate & (best < _MATCHED)
        preferred = unrelated & table.in_matched_roles()

        in_cross_entropy = draw_for_cross_entropy(
            related, unrelated, self.batch_size_per_image, self.positives_per_image
        )
        sides = [_draw_side(related, unrelated, preferred, self.anchors_per_image) for _ in range(2)]
        drawn = in_cross_entropy | sides[0] | sides[1]
        undirected = (drawn | drawn.mT).triu().flatten()
        # The only values that the host reads.
        num_unordered, num_ordered, num_related = torch.stack(
            [undirected.sum(), drawn.sum(), (drawn & related).sum()]
        ).tolist()

        pairs, place = table.pairs(undirected, num_unordered, drawn.flatten(), num_ordered)
        masks = torch.stack([related, unrelated, in_cross_entropy, *sides]).flatten(1)[:, place]
        pair = true_rows(masks[0], num_related)
        return pairs, PairTargets(pair, label.flatten()[place[pair]], *masks)


@dataclass(frozen=True)
class _Table:
    """The ordered pairs of each image as a table of its entities, and the relationships of each image.

    Attributes:
        rows: (N, Emax) long, entity rows.
        boxes: (N, Emax, 4).
        classes: (2, N, Emax) long, classes of the entities as subjects and as objects.
        is_proposal, is_annotated: (N, Emax) bool, which of the two an entity is; neither in padding.
        relations: (N, R, 3) long rows (subject, object, predicate), where subject and object are places in
            [0, Emax).
        exists: (N, R) bool, whether this is a relationship, not padding.
        iou: (2, N, Emax, R) IoU of each entity with the subject, and with the object, of each relationship;
            -1 for padding.
    """

    rows: Tensor
    boxes: Tensor
    classes: Tensor
    is_proposal: Tensor
    is_annotated: Tensor
    relations: Tensor
    exists: Tensor
    iou: Tensor

    @staticmethod
    def of(entities: EntityBatch, relations: list[Tensor], num_ground_truth: list[int]) -> "_Table":
        """Reads a batch, see `PublishedPairSampler`."""
        device = entities.boxes.device
        starts = [count - truth for count, truth in zip(entities.counts, num_ground_truth, strict=True)]
        if min(starts) < 0:
            raise ValueError(
                f"the images have {entities.counts} entities and {num_ground_truth} annotated boxes, which "
                "PublishedPairSampler expects as the last entities of each image: append them "
                "(SAMPLING.METHOD published does so)"
            )
        rows, known = padded_rows(entities)
        start = torch.tensor(starts).to(device, non_blocking=True)[:, None]
        is_proposal = torch.arange(rows.shape[1], device=device) < start

        # One row more, so that a batch without relationships has the same shapes.
        padded = pad_sequence([*relations, relations[0].new_zeros(1, 3)], batch_first=True)[:-1]
        lengths = torch.tensor([len(x) for x in relations]).to(device, non_blocking=True)
        exists = torch.arange(padded.shape[1], device=device) < lengths[:, None]
        ends = (padded[..., :2] + start[..., None]).clamp(max=rows.shape[1] - 1)

        image = torch.arange(len(starts), device=device)[:, None]
        boxes, classes = entities.boxes[rows], entities.classes[rows]
        of_ends = [boxes[image, end][:, None] for end in ends.unbind(-1)]
        iou = torch.stack([boxes_iou(boxes[:, :, None], of_end) for of_end in of_ends])
        iou = iou.masked_fill(~exists[:, None], -1.0)
        of_roles = [
            torch.where(exists.any(dim=1, keepdim=True), classes[image, end.gather(1, nearest)], classes)
            for end, nearest in zip(ends.unbind(-1), iou.argmax(dim=3), strict=True)
        ]
        return _Table(
            rows=rows,
            boxes=boxes,
            classes=torch.stack(of_roles),
            is_proposal=is_proposal,
            is_annotated=known & ~is_proposal,
            relations=torch.cat([ends, padded[..., 2:]], dim=2),
            exists=exists,
            iou=iou,
        )

    def nearest_relationship(self) -> tuple[Tensor, Tensor]:
        """Finds the relationship with the largest min(IoU of subjects, IoU of objects) of each pair.

        Returns:
            (N, Emax, Emax) this number, -1 in an image without relationships; and the predicate of the first
            relationship that has it.
        """
        subject, object = self.iou.unbind()
        size = self.rows.shape[1]
        best = subject.new_full((len(self.rows), size, size), -1.0)
        predicate = torch.zeros_like(best, dtype=torch.long)
        step = max(_NUMBERS_AT_ONCE // best.numel(), 1)
        for start in range(0, subject.shape[2], step):
            part = slice(start, start + step)
            least = torch.minimum(subject[:, :, None, part], object[:, None, :, part])
            highest, place = least.max(dim=3)  # the first one among equals
            labels = self.relations[:, part, 2].gather(1, place.flatten(1)).view_as(place)
            predicate = torch.where(highest > best, labels, predicate)
            best = torch.maximum(best, highest)
        return best, predicate

    def candidates(self, overlap_only: bool) -> Tensor:
        """(N, Emax, Emax) bool, the pairs that may be drawn."""
        count, size = self.rows.shape
        distinct = ~torch.eye(size, dtype=torch.bool, device=self.rows.device)
        proposals = self.is_proposal[:, :, None] & self.is_proposal[:, None] & distinct
        if overlap_only:
            annotated = (self._equal_boxes() & self.is_annotated[:, None]).any(dim=2)
            overlap = boxes_overlap(self.boxes[:, :, None], self.boxes[:, None])
            proposals &= overlap | annotated[:, :, None] | annotated[:, None]
        subject, object, _ = self.relations.unbind(dim=2)
        # The last place is for padding.
        place = torch.where(self.exists, subject * size + object, size**2)
        related = proposals.new_zeros(count, size**2 + 1).scatter(1, place, True)[:, :-1]
        return proposals | related.view_as(proposals)

    def in_matched_roles(self) -> Tensor:
        """(N, Emax, Emax) bool, whether subject and object match an annotated subject and object."""
        subject, object = (self.iou >= _MATCHED).any(dim=3).unbind()
        return subject[:, :, None] & object[:, None]

    def pairs(
        self, undirected: Tensor, num_unordered: int, drawn: Tensor, num_ordered: int
    ) -> tuple[Pairs, Tensor]:
        """Lists pairs.

        Args:
            undirected: (N * Emax * Emax,) bool, unordered pairs with a drawn direction, on and above the
                diagonal.
            num_unordered: how many there are.
            drawn: (N * Emax * Emax,) bool, the drawn pairs.
            num_ordered: how many there are.

        Returns:
            The drawn pairs, and their places in the table.
        """
        size = self.rows.shape[1]
        # Of entities with equal boxes, the first one. The rest of the table, padding, is not asked for.
        place = torch.arange(size, device=self.rows.device)
        same = torch.where(self._equal_boxes(), place, size - 1).amin(dim=2)
        rows = self.rows.gather(1, same)

        both = true_rows(undirected, num_unordered)
        image, low, high = both // size**2, both // size % size, both % size
        first, second = rows[image, low], rows[image, high]
        ordered = true_rows(drawn, num_ordered)
        image, subject, object = ordered // size**2, ordered // size % size, ordered % size
        above = (image * size + torch.minimum(subject, object)) * size + torch.maximum(subject, object)
        pairs = Pairs(
            first=first,
            second=second,
            subject=rows[image, subject],
            object=rows[image, object],
            union=torch.searchsorted(both, above),
            subject_classes=self.classes[0, image, subject],
            object_classes=self.classes[1, image, object],
        )
        return pairs, ordered

    def _equal_boxes(self) -> Tensor:
        """(N, Emax, Emax) bool, which entities have equal boxes."""
        return (self.boxes[:, :, None] == self.boxes[:, None]).all(dim=3)


def _draw_side(related: Tensor, unrelated: Tensor, preferred: Tensor, most: int) -> Tensor:
    """Draws up to `most` related pairs of each image, and as many unrelated pairs, preferred ones first."""
    first = draw(preferred.flatten(1), most)
    free = most - first.sum(dim=1, keepdim=True)
    rest = draw((unrelated & ~preferred).flatten(1), most, free)
    return (draw(related.flatten(1), most) | first | rest).view_as(related)
