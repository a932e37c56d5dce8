"""Matches Detectron2 `Instances` and converts them to the flattened entities that the relation head takes."""

import torch
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor

from reldn_d2.structures import EntityBatch

from .fixed_shapes import true_rows_of_each


def entity_batch(entities: list[Instances]) -> EntityBatch:
    """Flattens the entities of a batch.

    Args:
        entities: for each image Instances with `pred_boxes`, `pred_classes` and `scores`. Features are pooled
            from the boxes, and positions are divided by `image_size`.
    """
    return EntityBatch.from_images(
        boxes=[x.pred_boxes.tensor for x in entities],
        classes=[x.pred_classes for x in entities],
        scores=[x.scores for x in entities],
        image_sizes=[x.image_size for x in entities],
    )


def match_to_ground_truth(
    candidates: Boxes, ground_truth: Instances, iou_threshold: float
) -> tuple[Tensor, Tensor]:
    """Assigns each box of an image to the ground-truth entity that it overlaps most, of any class.

    Args:
        candidates: K boxes.
        ground_truth: G entities with `gt_boxes`.
        iou_threshold: boxes whose best IoU is below it match no entity.

    Returns:
        (K,) long ground-truth rows: the lowest row among equals, 0 if there is no ground truth; (K,) bool,
        whether the best IoU reaches the threshold.
    """
    return _best_column(pairwise_iou(candidates, ground_truth.gt_boxes), iou_threshold)


def match_to_detections(
    ground_truth: Instances, detections: Instances, iou_threshold: float
) -> tuple[Tensor, Tensor]:
    """Assigns to each ground-truth entity of an image the detection of its class that overlaps it most.

    Several entities may get the same detection.

    Args:
        ground_truth: G entities with `gt_boxes` and `gt_classes`.
        detections: K detections with `pred_boxes` and `pred_classes`.
        iou_threshold: entities whose best IoU is below it count as not detected.

    Returns:
        (G,) long rows of the detections: among equals the lowest row, which in a detector's output has the
        highest score, 0 if there are no detections; (G,) bool, whether the entity is detected.
    """
    iou = pairwise_iou(ground_truth.gt_boxes, detections.pred_boxes)
    same_class = ground_truth.gt_classes[:, None] == detections.pred_classes
    return _best_column(iou * same_class, iou_threshold)


def _best_column(iou: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Finds the column of the highest IoU in each row of a (K, G) table.

    Returns:
        (K,) long columns: the lowest among equals, 0 if there is no column; (K,) bool, whether the highest
        IoU reaches the threshold.
    """
    if iou.shape[1] == 0:
        none = torch.zeros(len(iou), dtype=torch.long, device=iou.device)
        return none, none.bool()
    best = iou.amax(dim=1)
    columns = torch.arange(iou.shape[1], device=iou.device)
    column = torch.where(iou == best[:, None], columns, iou.shape[1]).amin(dim=1)
    return column, best >= iou_threshold


def training_entities(
    detections: list[Instances], ground_truth: list[Instances], iou_threshold: float
) -> tuple[list[Instances], Tensor]:
    """Entities of relation training: the ground truth, and every detection that overlaps it enough.

    A detection is matched to the ground-truth entity of highest IoU, regardless of the predicted class, and
    gets the class of that entity. Empty boxes are left out.

    Args:
        detections: for each image Instances with `pred_boxes`.
        ground_truth: for each image Instances with `gt_boxes` and `gt_classes`.
        iou_threshold: least IoU of a detection that is kept.

    Returns:
        For each image Instances with `pred_boxes`, `pred_classes` and `scores` (all 1), the ground truth
        first; and (E,) long, for each entity the ground-truth row in its image that it is matched to.
    """
    matches = [
        match_to_ground_truth(found.pred_boxes, truth, iou_threshold)
        for found, truth in zip(detections, ground_truth, strict=True)
    ]
    # An empty box has no finite geometry.
    kept = true_rows_of_each(
        [
            overlaps & found.pred_boxes.nonempty()
            for found, (_, overlaps) in zip(detections, matches, strict=True)
        ]
    )
    entities, matched = [], []
    for found, truth, (row, _), used in zip(detections, ground_truth, matches, kept, strict=True):
        rows = torch.cat([torch.arange(len(truth), device=row.device), row[used]])
        boxes = Boxes.cat([truth.gt_boxes, found.pred_boxes[used]])
        entities.append(
            Instances(
                truth.image_size,
                pred_boxes=boxes,
                pred_classes=truth.gt_classes[rows],
                scores=boxes.tensor.new_ones(len(boxes)),
            )
        )
        matched.append(rows)
    return entities, torch.cat(matched)


def sampled_proposals(
    proposals: list[Instances], ground_truth: list[Instances], num_classes: int
) -> tuple[list[Instances], Tensor]:
    """Entities of relation training as in the published code: the box head's foreground proposals.

    The ground truth follows, row by row, because its annotated pairs are drawn apart, see
    `PublishedPairSampler`. Some of its boxes are also among the proposals.

    Args:
        proposals: for each image Instances, labelled and sampled as for training the box head, with
            `proposal_boxes`, `gt_classes` (the background is `num_classes`) and `gt_rows`, the ground-truth
            row that each proposal is matched to.
        ground_truth: for each image Instances with `gt_boxes` and `gt_classes`.
        num_classes: C.

    Returns:
        As `training_entities`, but the ground truth comes last.
    """
    foreground = true_rows_of_each([found.gt_classes < num_classes for found in proposals])
    entities, matched = [], []
    for found, truth, rows in zip(proposals, ground_truth, foreground, strict=True):
        found = found[rows]
        boxes = Boxes.cat([found.proposal_boxes, truth.gt_boxes])
        entities.append(
            Instances(
                found.image_size,
                pred_boxes=boxes,
                pred_classes=torch.cat([found.gt_classes, truth.gt_classes]),
                scores=boxes.tensor.new_ones(len(boxes)),
            )
        )
        # Without ground truth in the image, Detectron2 adds no fields, and there is no foreground.
        of_proposals = found.gt_rows if found.has("gt_rows") else found.gt_classes
        matched.append(torch.cat([of_proposals, torch.arange(len(truth), device=rows.device)]))
    return entities, torch.cat(matched)


def given_entities(ground_truth: Instances) -> Instances:
    """Entities of score 1 with ground-truth boxes and classes, in the same order (prdcls)."""
    return Instances(
        ground_truth.image_size,
        pred_boxes=ground_truth.gt_boxes,
        pred_classes=ground_truth.gt_classes,
        scores=ground_truth.gt_boxes.tensor.new_ones(len(ground_truth)),
    )


def refined_entities(entities: list[Instances], refined: EntityBatch) -> list[Instances]:
    """Writes boxes, classes and scores of a batch back to the entities of each image.

    Args:
        entities: for each image Instances with `pred_boxes`, `pred_classes` and `scores`, and other fields,
            which stay.
        refined: the same entities, flattened, with other values.
    """
    parts = zip(
        entities,
        torch.split(refined.boxes, refined.counts),
        torch.split(refined.classes, refined.counts),
        torch.split(refined.scores, refined.counts),
        strict=True,
    )
    results = []
    for found, boxes, classes, scores in parts:
        changed = {"pred_boxes": Boxes(boxes), "pred_classes": classes, "scores": scores}
        results.append(Instances(found.image_size, **{**found.get_fields(), **changed}))
    return results
