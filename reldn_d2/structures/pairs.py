"""Entities and entity pairs of a batch as flat tensors over all images, so that no code loops over images.

Legend of shape letters, used everywhere in the relation head:

    N  images in the batch
    E  entities of the batch, image after image; entity rows index this list
    U  unordered entity pairs; each has one enclosing box
    M  ordered (subject, object) pairs
    L  labels: one (pair, predicate) entry for every annotated predicate of a pair
    P  predicate classes; the background predicate (no relationship) is index P, the last
    C  entity classes
    D  channels of a region feature
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class EntityBatch:
    """Entities of a batch of images.

    Attributes:
        boxes: (E, 4) float, XYXY in pixels of `frames`.
        regions: (E, 4) float, regions that features are pooled from, XYXY in pixels of the network input;
            normally the boxes.
        classes: (E,) long in [0, C).
        scores: (E,) float in [0, 1].
        image: (E,) long, the image of each entity, in ascending order.
        image_sizes: (N, 2) float, (height, width) by which positions are divided; normally `frames`.
        frames: for each image the (height, width) in whose pixels the boxes are; normally those of the
            network input without padding.
        counts: number of entities of each image; a Python list, so that splitting needs no device sync.
        extra: (E, ...) tensors that a relation head keeps for itself, by name; normally empty.
    """

    boxes: Tensor
    regions: Tensor
    classes: Tensor
    scores: Tensor
    image: Tensor
    image_sizes: Tensor
    frames: list[tuple[int, int]]
    counts: list[int]
    extra: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.boxes.shape[0]

    def of_image(self, index: int) -> "EntityBatch":
        """The entities of one image, as a batch of one image."""
        start = sum(self.counts[:index])
        rows = slice(start, start + self.counts[index])
        return EntityBatch(
            boxes=self.boxes[rows],
            regions=self.regions[rows],
            classes=self.classes[rows],
            scores=self.scores[rows],
            image=torch.zeros_like(self.image[rows]),
            image_sizes=self.image_sizes[index : index + 1],
            frames=[self.frames[index]],
            counts=[self.counts[index]],
            extra={name: value[rows] for name, value in self.extra.items()},
        )

    def regions_per_image(self) -> list[Tensor]:
        """The regions of each image."""
        return list(torch.split(self.regions, self.counts))


@dataclass(frozen=True)
class Pairs:
    """Ordered pairs of entity rows, and the unordered pair (= enclosing box) of each.

    Attributes:
        first, second: (U,) long, the two entity rows of each unordered pair.
        subject, object: (M,) long, entity rows.
        union: (M,) long, row of the unordered pair in `first` / `second`.
    """

    first: Tensor
    second: Tensor
    subject: Tensor
    object: Tensor
    union: Tensor

    @staticmethod
    def both_directions(first: Tensor, second: Tensor) -> "Pairs":
        """The 2U ordered pairs of U unordered ones: all `first -> second`, then all `second -> first`."""
        rows = torch.arange(len(first), device=first.device)
        return Pairs(
            first=first,
            second=second,
            subject=torch.cat([first, second]),
            object=torch.cat([second, first]),
            union=torch.cat([rows, rows]),
        )

    @staticmethod
    def one_direction(subject: Tensor, object: Tensor) -> "Pairs":
        """Exactly the given ordered pairs, in the given order; a pair of an entity with itself is allowed."""
        rows = torch.arange(len(subject), device=subject.device)
        return Pairs(first=subject, second=object, subject=subject, object=object, union=rows)

    def __len__(self) -> int:
        return self.subject.shape[0]


@dataclass(frozen=True)
class PairTargets:
    """Labels of M ordered training pairs, and which losses drew them.

    Each entity of training is matched to an annotated entity. A pair is *related* when its subject and its
    object are matched to those of an annotated relationship, and *unrelated* when they are matched to two
    different entities without a relationship in this order. A pair of entities matched to the same annotated
    entity is neither.

    Attributes:
        label_pair, label_predicate: (L,) long; pair `label_pair[l]` is annotated with predicate
            `label_predicate[l]`. A pair with several annotated predicates has several labels.
        related, unrelated: (M,) bool.
        in_cross_entropy: (M,) bool, drawn for L0.
        subject_side: (M,) bool, drawn as a partner of its subject for L1, L2 and L3.
        object_side: (M,) bool, drawn as a partner of its object for L1, L2 and L3.
    """

    label_pair: Tensor
    label_predicate: Tensor
    related: Tensor
    unrelated: Tensor
    in_cross_entropy: Tensor
    subject_side: Tensor
    object_side: Tensor
