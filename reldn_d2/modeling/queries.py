"""Translates queries about annotated entities into queries about the model's entities, and the answers back.

The relation head scores pairs of the model's entities. In sgcls and prdcls these are the annotated entities,
row by row. In sgdet they are detections, so each annotated entity is represented by a detection of its class
that overlaps it.
"""

from dataclasses import dataclass

import torch
from detectron2.structures import Instances
from torch import Tensor

from reldn_d2.structures import Queries

from .relation_head.entities import match_to_detections

MIN_IOU = 0.5


@dataclass(frozen=True)
class TranslatedQueries:
    """The queries of one image.

    Attributes:
        asked: the original queries, about annotated entities.
        entity_pairs: (A, 2) long, the pairs as rows of the model's entities; None in sgdet, where pairs are
            not answered.
        entity_triplets: (Q, 3) long, the triplets as rows of the model's entities. Only the rows of detected
            triplets have a meaning.
        detected: (Q,) bool, whether subject and object are represented by two different entities.
    """

    asked: Queries
    entity_pairs: Tensor | None
    entity_triplets: Tensor
    detected: Tensor

    @staticmethod
    def to_given(asked: Queries) -> "TranslatedQueries":
        """Translates queries in sgcls and prdcls, where the model's entities are the annotated ones.

        Args:
            asked: the queries.
        """
        triplets = asked.triplets
        return TranslatedQueries(asked, asked.pairs, triplets, triplets[:, 0] != triplets[:, 1])

    @staticmethod
    def to_detections(asked: Queries, ground_truth: Instances, detections: Instances) -> "TranslatedQueries":
        """Translates queries in sgdet, where detections represent the annotated entities.

        `match_to_detections` assigns the detections.

        Args:
            asked: the queries.
            ground_truth: annotated entities with `gt_boxes` and `gt_classes`.
            detections: detections with `pred_boxes` and `pred_classes`, in the same pixels.
        """
        row, found = match_to_detections(ground_truth, detections, MIN_IOU)
        annotated = asked.triplets[:, :2]
        entities = row[annotated]
        detected = found[annotated].all(dim=1) & (entities[:, 0] != entities[:, 1])
        triplets = torch.cat([entities, asked.triplets[:, 2:]], dim=1)
        return TranslatedQueries(asked, None, triplets, detected)

    def for_head(self) -> Queries:
        """The queries for the relation head: pairs and detected triplets in rows of the model's entities."""
        pairs = self.asked.pairs[:0] if self.entity_pairs is None else self.entity_pairs
        return Queries(pairs, self.entity_triplets[self.detected])

    def answers(self, output: dict[str, Instances]) -> dict[str, Instances]:
        """Translates the relation head's answers, row by row.

        Args:
            output: the relation head's output for `for_head`.

        Returns:
            "pair_answers" (not in sgdet) and "triplet_answers", see `RelDN.inference`. A triplet counts as
            not detected if the head does not consider its pair.
        """
        scored = output["triplet_answers"]
        scores = scored.scores.new_zeros(len(self.detected))
        scores[self.detected] = scored.scores
        detected = self.detected.clone()
        if scored.has("considered"):
            detected[self.detected] = scored.considered
        subject, object, predicate = self.asked.triplets.unbind(dim=1)
        answers = {
            "triplet_answers": Instances(
                scored.image_size,
                subject_index=subject,
                object_index=object,
                pred_predicates=predicate,
                scores=scores,
                detected=detected,
            )
        }
        if self.entity_pairs is not None:
            subject, object = self.asked.pairs.unbind(dim=1)
            pairs = output["pair_answers"]
            answers["pair_answers"] = Instances(
                pairs.image_size,
                subject_index=subject,
                object_index=object,
                pair_scores=pairs.pair_scores,
                predicate_probs=pairs.predicate_probs,
            )
        return answers
