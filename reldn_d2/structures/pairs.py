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

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

# One tensor for each image; or one for all images, if they have equally many rows.
PerImage = Sequence[Tensor] | Tensor


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

    @staticmethod
    def from_images(
        *,
        boxes: PerImage,
        classes: PerImage,
        image_sizes: Sequence[tuple[int, int]],
        scores: PerImage | None = None,
        num_classes: int | None = None,
    ) -> "EntityBatch":
        """Makes a batch from the tensors of each image. Features are pooled from the boxes.

        If all images have equally many entities, lists may be tensors whose first dimension is the image.

        Args:
            boxes: for each image (E_i, 4) float, XYXY in pixels.
            classes: for each image (E_i,) integers in [0, C).
            image_sizes: for each image (height, width) in pixels. For boxes that are shares of the image, as
                in DETR, all are (1, 1).
            scores: for each image (E_i,) float in [0, 1]. None: all are 1.
            num_classes: C, to check the range of the classes. None: they are not checked, which saves
                a device sync.

        Raises:
            ValueError: there is no image, the lists or shapes do not fit each other, or a class is not an
                integer or out of range.

        Example:
            >>> import torch
            >>> from reldn_d2.structures import EntityBatch
            >>> boxes = [torch.tensor([[0.0, 0.0, 40.0, 80.0], [30.0, 20.0, 50.0, 60.0]]), torch.zeros(0, 4)]
            >>> classes = [torch.tensor([0, 2]), torch.zeros(0, dtype=torch.long)]
            >>> batch = EntityBatch.from_images(
            ...     boxes=boxes, classes=classes, image_sizes=[(100, 60), (80, 80)], num_classes=3
            ... )
            >>> batch.counts, batch.scores.tolist()
            ([2, 0], [1.0, 1.0])
        """
        if not len(boxes):
            raise ValueError("there is no image: give the boxes of at least one image")
        if not len(boxes) == len(classes) == len(image_sizes):
            raise ValueError(
                f"{len(boxes)} images have boxes, {len(classes)} classes and {len(image_sizes)} image_sizes: "
                "give one of each for every image"
            )
        if scores is None:
            scores = [table.new_ones(len(table)) for table in boxes]
        elif len(scores) != len(boxes):
            raise ValueError(f"{len(boxes)} images have boxes, but {len(scores)} scores: give one for each")
        for image, (box, label, score) in enumerate(zip(boxes, classes, scores, strict=True)):
            _check_form(f"boxes of image {image}", box, (len(box), 4))
            _check_form(f"classes of image {image}", label, (len(box),), "integers")
            _check_form(f"scores of image {image}", score, (len(box),))
        counts, frames, device = [len(x) for x in boxes], list(image_sizes), boxes[0].device
        all_boxes, all_classes = torch.cat(list(boxes)), torch.cat(list(classes)).long()
        if num_classes is not None:
            outside = all_classes[(all_classes < 0) | (all_classes >= num_classes)]
            if len(outside):
                raise ValueError(
                    f"an entity has class {int(outside[0])}, but there are {num_classes} classes, 0 to "
                    f"{num_classes - 1}: number the classes from 0, and leave the background out"
                )
        # In tracing, as for counting FLOPs, the sizes of Detectron2's images are tensors.
        sizes = torch.stack([torch.as_tensor(frame) for frame in frames]).float()
        image_of_entity = torch.from_numpy(np.arange(len(counts)).repeat(counts))
        return EntityBatch(
            boxes=all_boxes,
            regions=all_boxes,
            classes=all_classes,
            scores=torch.cat(list(scores)),
            image=image_of_entity.to(device, non_blocking=True),
            image_sizes=sizes.to(device, non_blocking=True),
            frames=frames,
            counts=counts,
        )

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
        subject_classes, object_classes: (M,) long in [0, C), classes of the subjects and of the objects that
            the semantic table reads, where they depend on the role. None, as usual: those of the entities.
    """

    first: Tensor
    second: Tensor
    subject: Tensor
    object: Tensor
    union: Tensor
    subject_classes: Tensor | None = None
    object_classes: Tensor | None = None

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

    @staticmethod
    def from_images(rows: PerImage, counts: Sequence[int]) -> "Pairs":
        """Exactly the ordered pairs of each image, image after image, in the given order.

        Args:
            rows: for each image (M_i, 2) integers (subject, object), positions among the entities of the
                image.
            counts: for each image the number of its entities, `EntityBatch.counts`.

        Raises:
            ValueError: there is no image, the lists have different lengths, or a pair is not two entities of
                its image.

        Example:
            >>> import torch
            >>> from reldn_d2.structures import Pairs
            >>> pairs = Pairs.from_images([torch.tensor([[0, 1], [1, 0]]), torch.tensor([[2, 0]])], [2, 3])
            >>> pairs.subject.tolist(), pairs.object.tolist()
            ([0, 1, 4], [1, 0, 2])
        """
        if not len(rows):
            raise ValueError("there is no image: give the pairs of at least one image")
        if len(rows) != len(counts):
            raise ValueError(
                f"the pairs are of {len(rows)} images, the entities of {len(counts)}: give (0, 2) integers "
                "for an image without pairs"
            )
        for image, table in enumerate(rows):
            _check_form(f"pairs of image {image}", table, (len(table), 2), "integers", shown="(M, 2)")
        table = torch.cat(list(rows))
        sizes, count = torch.tensor([len(x) for x in rows]), torch.tensor(list(counts))
        image_of_pair = torch.arange(len(rows)).repeat_interleave(sizes)
        known = torch.stack([count, count.cumsum(0) - count], dim=1)[image_of_pair].to(table.device)
        outside = ((table < 0) | (table >= known[:, :1])).any(dim=1)
        if outside.any():
            pair = int(outside.long().argmax())
            image = int(image_of_pair[pair])
            raise ValueError(
                f"pair {table[pair].tolist()} of image {image} must be two of its {counts[image]} entities, "
                "numbered from 0 in each image"
            )
        return Pairs.one_direction(*(table + known[:, 1:]).unbind(dim=1))

    def __len__(self) -> int:
        return self.subject.shape[0]

    def classes(self, entities: EntityBatch) -> tuple[Tensor, Tensor]:
        """(M,), (M,) the classes of the subjects and of the objects."""
        subject = entities.classes[self.subject] if self.subject_classes is None else self.subject_classes
        object = entities.classes[self.object] if self.object_classes is None else self.object_classes
        return subject, object


@dataclass(frozen=True)
class PairTargets:
    """Labels of M ordered training pairs, and which losses drew them.

    Each entity of training is matched to an annotated entity. A pair is *related* when its subject and its
    object are matched to those of an annotated relationship, and *unrelated* when they are matched to two
    different entities without a relationship in this order. A pair of entities matched to the same annotated
    entity is neither. (The published code decides otherwise, see `PublishedPairSampler`.)

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

    @staticmethod
    def from_labels(labels: Tensor, num_predicates: int, *, ignored: Tensor | None = None) -> "PairTargets":
        """Targets of pairs with one label each. All losses use all pairs, but for the ignored ones.

        Args:
            labels: (M,) integers in [0, P], where P is the background ∅: the pair is unrelated. Where the
                background is 0 and predicates begin at 1, take `(labels - 1) % (P + 1)`, and
                `logits.roll(-1, dims=1)`.
            num_predicates: P, without the background.
            ignored: (M,) bool, pairs that are neither related nor unrelated, such as two detections of the
                same annotated entity; their labels are not read. None: there is none.

        Raises:
            ValueError: an argument has another form, or a label that is read is out of range.

        Example:
            >>> import torch
            >>> from reldn_d2.structures import PairTargets
            >>> targets = PairTargets.from_labels(torch.tensor([1, 2, 2, 0]), num_predicates=2)
            >>> targets.related.tolist(), targets.label_predicate.tolist()
            ([True, False, False, True], [1, 0])
        """
        _check_form("labels", labels, (len(labels),), "integers", shown="(M,)")
        outside = (labels < 0) | (labels > num_predicates)
        if ignored is not None:
            _check_form("ignored", ignored, (len(labels),), "bool")
            outside &= ~ignored
        if outside.any():
            pair = int(outside.long().argmax())
            raise ValueError(
                f"label {int(labels[pair])} of pair {pair} is out of range: predicates are 0 to "
                f"{num_predicates - 1}, the background is {num_predicates}. If your background is 0, take "
                f"(labels - 1) % {num_predicates + 1} and logits.roll(-1, dims=1)"
            )
        predicates = torch.arange(num_predicates, device=labels.device)
        return PairTargets.from_table(labels[:, None] == predicates, ignored=ignored)

    @staticmethod
    def from_table(annotated: Tensor, *, ignored: Tensor | None = None) -> "PairTargets":
        """Targets of pairs with any number of predicates. All losses use all pairs, but for the ignored ones.

        Args:
            annotated: (M, P) bool, the annotated predicates of each pair, without the background. A pair
                without any is unrelated.
            ignored: see `from_labels`.

        Raises:
            ValueError: an argument has another form.

        Example:
            >>> import torch
            >>> from reldn_d2.structures import PairTargets
            >>> targets = PairTargets.from_table(torch.tensor([[True, True], [False, False]]))
            >>> targets.label_pair.tolist(), targets.label_predicate.tolist(), targets.unrelated.tolist()
            ([0, 0], [0, 1], [False, True])
        """
        if annotated.dim() != 2 or annotated.dtype != torch.bool:
            raise ValueError(
                f"annotated must be (M, P) bool, not {annotated.dtype} of {tuple(annotated.shape)}: for one "
                "label a pair take PairTargets.from_labels"
            )
        drawn = torch.ones(len(annotated), dtype=torch.bool, device=annotated.device)
        if ignored is not None:
            _check_form("ignored", ignored, (len(annotated),), "bool")
            drawn = ~ignored
        annotated = annotated & drawn[:, None]
        related = annotated.any(dim=1)
        label_pair, label_predicate = annotated.nonzero(as_tuple=True)
        return PairTargets(
            label_pair=label_pair,
            label_predicate=label_predicate,
            related=related,
            unrelated=drawn & ~related,
            in_cross_entropy=drawn,
            subject_side=drawn,
            object_side=drawn,
        )


def _check_form(
    what: str, values: Tensor, shape: tuple[int, ...], kind: str = "numbers", *, shown: str | None = None
) -> None:
    """Checks the shape and the kind of a tensor of the user, without a device sync.

    Args:
        what: name of the tensor, for the message.
        values: the tensor.
        shape: the wanted shape.
        kind: "numbers", "integers" or "bool".
        shown: the shape in the message, if it should have letters.
    """
    is_bool = values.dtype == torch.bool
    fits = {
        "numbers": not is_bool,
        "integers": not is_bool and not values.is_floating_point(),
        "bool": is_bool,
    }
    if values.shape != shape or not fits[kind]:
        raise ValueError(
            f"{what} must be {shown or shape} {kind}, not {values.dtype} of {tuple(values.shape)}"
        )
