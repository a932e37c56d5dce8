"""Triplets between annotated entities that the model is asked for by name, whose scores confusion metrics compare.

The model scores pairs of its own entities. So each annotated entity first gets the entity that stands for it: in
SGCLS and PRDCLS the one in its row, in SGDET a detection. A triplet is *detected* if its two ends have different ones.
"""

from dataclasses import dataclass

import torch
from detectron2.structures import Instances
from torch import Tensor

from .relation_head.entities import match_to_detections

MIN_IOU = 0.5


@dataclass(frozen=True)
class NamedTriplets:
    """What one image's input asks for.

    Attributes:
        triplets: (Q, 3) long (subject, object, predicate) of annotated entities.
        of_entities: (Q, 3) long, the same triplets between the model's entities; only rows of detected triplets mean
            something.
        detected: (Q,) bool.
    """

    triplets: Tensor
    of_entities: Tensor
    detected: Tensor

    @staticmethod
    def between_given(triplets: Tensor) -> "NamedTriplets":
        """SGCLS and PRDCLS: the entities are the annotated ones, row by row."""
        return NamedTriplets(triplets, triplets, triplets[:, 0] != triplets[:, 1])

    @staticmethod
    def between_detections(
        triplets: Tensor, ground_truth: Instances, detections: Instances
    ) -> "NamedTriplets":
        """SGDET: an annotated entity is the detection that `match_to_detections` assigns to it.

        Args:
            triplets: (Q, 3) long.
            ground_truth: with `gt_boxes` and `gt_classes`.
            detections: with `pred_boxes` and `pred_classes`, in the same pixels.
        """
        row, found = match_to_detections(ground_truth, detections, MIN_IOU)
        ends = row[triplets[:, :2]]
        detected = found[triplets[:, :2]].all(dim=1) & (ends[:, 0] != ends[:, 1])
        return NamedTriplets(triplets, torch.cat([ends, triplets[:, 2:]], dim=1), detected)

    def to_score(self) -> Tensor:
        """(D, 3) the detected triplets, between the model's entities."""
        return self.of_entities[self.detected]

    def answer(self, scored: Instances) -> Instances:
        """Row by row what the input asked for.

        Args:
            scored: with `scores` and `considered` (D,) of `to_score`. A triplet that the model never considers is as
                good as not detected.
        """
        scores = scored.scores.new_zeros(len(self.triplets))
        scores[self.detected] = scored.scores
        detected = self.detected.clone()
        detected[self.detected] = scored.considered
        subject, object, predicate = self.triplets.unbind(dim=1)
        return Instances(
            scored.image_size,
            subject_index=subject,
            object_index=object,
            pred_predicates=predicate,
            scores=scores,
            detected=detected,
        )
