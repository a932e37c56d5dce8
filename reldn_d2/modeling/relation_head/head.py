"""The relation head of RelDN: entities → pairs → predicate logits → losses or ranked relationships."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from reldn_d2.structures import EntityBatch, Pairs, Queries, boxes_overlap

from .build import ROI_RELATION_HEAD_REGISTRY
from .losses import ContrastiveLosses, predicate_cross_entropy
from .modules import EntityTerms, SpatialFeatures
from .pair_classifier import FeatureMaps, PairClassifier
from .sampling import PairSampler
from .selection import select_relationships
from .spatial import spatial_features

PairScorer = Callable[[Pairs], Tensor]


@ROI_RELATION_HEAD_REGISTRY.register()
class RelDNHead(nn.Module):
    """Predicts the relationships between the entities of each image (sections 3 and 4 of the paper)."""

    @configurable
    def __init__(
        self,
        *,
        num_predicates: int,
        pair_classifier: PairClassifier,
        sample_pairs: PairSampler,
        cross_entropy_weight: float,
        contrastive_losses: ContrastiveLosses,
        overlap_only: bool,
        top_k: int,
        chunk_size: int,
    ) -> None:
        """Puts the parts together.

        Args:
            num_predicates: P, without the background.
            pair_classifier: computes predicate logits of pairs.
            sample_pairs: draws the training pairs.
            cross_entropy_weight: weight of L0; 0 switches it off.
            contrastive_losses: L1, L2 and L3, or other contrastive terms.
            overlap_only: whether sgdet considers only pairs whose boxes overlap.
            top_k: number of relationships kept per image, for each number of predicates per pair.
            chunk_size: number of unordered pairs scored at a time in inference; limits the memory.
        """
        super().__init__()
        self.num_predicates = num_predicates
        self.pair_classifier = pair_classifier
        self.sample_pairs = sample_pairs
        self.cross_entropy_weight, self.contrastive_losses = cross_entropy_weight, contrastive_losses
        self.overlap_only, self.top_k, self.chunk_size = overlap_only, top_k, chunk_size

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        input_shape: dict[str, ShapeSpec],
        *,
        spatial_features: SpatialFeatures = spatial_features,
    ) -> dict[str, Any]:
        """Builds the parts that the config describes."""
        head = cfg.MODEL.ROI_RELATION_HEAD
        return {
            "num_predicates": head.NUM_PREDICATES,
            "pair_classifier": PairClassifier(cfg, input_shape, spatial_features=spatial_features),
            "sample_pairs": PairSampler(cfg),
            "cross_entropy_weight": head.LOSS.CROSS_ENTROPY_WEIGHT,
            "contrastive_losses": ContrastiveLosses(cfg),
            "overlap_only": head.OVERLAP_ONLY,
            "top_k": head.TEST.TOP_K,
            "chunk_size": head.TEST.CHUNK_SIZE,
        }

    @property
    def uses_detector_features(self) -> bool:
        """Whether `losses` and `inference` need feature maps of the detector's backbone."""
        return self.pair_classifier.uses_detector_features

    @property
    def uses_relation_features(self) -> bool:
        """Whether `losses` and `inference` need feature maps of a predicate backbone."""
        return self.pair_classifier.uses_relation_features

    def set_predicate_counts(self, counts: np.ndarray) -> None:
        """Sets the semantic module's table, if there is one; see `SemanticModule.set_counts`."""
        if self.pair_classifier.semantic is not None:
            self.pair_classifier.semantic.set_counts(counts)

    def losses(
        self,
        features: FeatureMaps,
        relation_features: FeatureMaps | None,
        entities: EntityBatch,
        matched: Tensor,
        ground_truth: list[Instances],
        relations: list[Tensor],
    ) -> dict[str, Tensor]:
        """Draws training pairs and computes their losses.

        Args:
            features: feature maps of the frozen detector's backbone, if `uses_detector_features`.
            relation_features: feature maps of the predicate backbone, if `uses_relation_features`.
            entities: the E entities of all images.
            matched: (E,) long, for each entity the ground-truth row in its image that it is matched to.
            ground_truth: annotated entities of each image.
            relations: for each image (R, 3) long rows (subject, object, predicate) of ground-truth rows.

        Returns:
            `loss_rel_cross_entropy` and the losses of `contrastive_losses`: weighted scalars. Losses of
            weight 0 are absent.
        """
        pairs, targets = self.sample_pairs(entities, matched, relations, [len(x) for x in ground_truth])
        get_event_storage().put_scalar("relation_head/num_pairs", len(pairs))

        terms = self.pair_classifier.entity_terms(features, entities)
        logits = self.pair_classifier(relation_features, entities, terms, pairs)
        losses = self.contrastive_losses(logits, entities, pairs, targets)
        if self.cross_entropy_weight:
            cross_entropy = predicate_cross_entropy(logits, targets)
            losses["loss_rel_cross_entropy"] = self.cross_entropy_weight * cross_entropy
        return losses

    def inference(
        self,
        features: FeatureMaps,
        relation_features: FeatureMaps | None,
        entities: EntityBatch,
        *,
        entities_given: bool,
        queries: list[Queries] | None = None,
    ) -> list[dict[str, Instances]]:
        """Ranks the relationships of each image and answers queries.

        Args:
            features, relation_features, entities: see `losses`.
            entities_given: whether the entities are annotated (sgcls and prdcls). The overlap filter is for
                detected entities only.
            queries: queries about each image, in rows of the entities of that image. Pairs may repeat, and
                subject and object of a pair may be the same entity. In a triplet they are two different
                entities.

        Returns:
            One dict for each image, with Instances. Their `image_size` is the image's entry in `frames` of
            the entities, and `subject_index` and `object_index` are rows of the entities of the image.

            * "relations": relationships by falling score with `subject_index`, `object_index`,
              `pred_predicates`, `scores` and `rank_in_pair`. The list is complete for any number k of
              predicates per pair, see `selection`: the result for k is the first `top_k` rows among those of
              `rank_in_pair <= k`.
            * "pair_answers", if there are queries: for each pair `subject_index`, `object_index`,
              `pair_scores` (product of the two entity scores) and `predicate_probs` (A, P), without the
              background.
            * "triplet_answers", if there are queries: for each triplet `subject_index`, `object_index`,
              `pred_predicates` and `scores`, as in "relations", and `considered`, which is False (and the
              score 0) if the overlap filter excludes the pair.
        """
        results = []
        for i in range(len(entities.counts)):
            batch = entities.of_image(i)
            terms = self.pair_classifier.entity_terms(_maps_of_image(features, i), batch)
            maps = None if relation_features is None else _maps_of_image(relation_features, i)
            classify = partial(self._probabilities, maps, batch, terms)
            result = {"relations": self._rank(batch, classify, entities_given)}
            if queries is not None:
                result["pair_answers"] = self._score_pairs(batch, classify, queries[i].pairs)
                result["triplet_answers"] = self._score_triplets(
                    batch, classify, queries[i].triplets, entities_given
                )
            results.append(result)
        return results

    def _rank(self, batch: EntityBatch, classify: PairScorer, entities_given: bool) -> Instances:
        rows = torch.arange(len(batch), device=batch.boxes.device)
        first, second = torch.combinations(rows).unbind(dim=1)
        considered = self._considered(batch, first, second, entities_given)
        first, second = first[considered], second[considered]
        ranked = select_relationships(
            lambda a, b: classify(Pairs.both_directions(a, b)),
            batch.scores,
            first,
            second,
            num_predicates=self.num_predicates,
            top_k=self.top_k,
            chunk_size=self.chunk_size,
        )
        return Instances(
            batch.frames[0],
            subject_index=ranked.subject,
            object_index=ranked.object,
            pred_predicates=ranked.predicate,
            scores=ranked.score,
            rank_in_pair=ranked.rank_in_pair,
        )

    def _considered(
        self, batch: EntityBatch, subject: Tensor, object: Tensor, entities_given: bool
    ) -> Tensor:
        """(M,) bool, whether each of M pairs of entities can be in a relationship."""
        if entities_given or not self.overlap_only:
            return torch.ones_like(subject, dtype=torch.bool)
        return boxes_overlap(batch.boxes[subject], batch.boxes[object])

    def _score_pairs(self, batch: EntityBatch, classify: PairScorer, pairs: Tensor) -> Instances:
        subject, object = pairs.unbind(dim=1)
        chunks = torch.split(pairs, self.chunk_size)
        return Instances(
            batch.frames[0],
            subject_index=subject,
            object_index=object,
            pair_scores=batch.scores[subject] * batch.scores[object],
            predicate_probs=torch.cat([classify(Pairs.one_direction(*x.unbind(dim=1))) for x in chunks]),
        )

    def _score_triplets(
        self,
        batch: EntityBatch,
        classify: PairScorer,
        triplets: Tensor,
        entities_given: bool,
    ) -> Instances:
        subject, object, predicate = triplets.unbind(dim=1)
        considered = self._considered(batch, subject, object, entities_given)
        # Several triplets of a pair share its probabilities.
        pairs, pair = torch.unique(triplets[considered, :2], dim=0, return_inverse=True)
        scored = self._score_pairs(batch, classify, pairs)
        probs = scored.predicate_probs[pair, predicate[considered]]
        scores = batch.scores.new_zeros(len(triplets))
        # Clamped as in `select_relationships`.
        scores[considered] = scored.pair_scores[pair] * probs.to(scores.dtype).clamp(max=1)
        return Instances(
            batch.frames[0],
            subject_index=subject,
            object_index=object,
            pred_predicates=predicate,
            scores=scores,
            considered=considered,
        )

    def _probabilities(
        self, relation_features: FeatureMaps | None, batch: EntityBatch, terms: EntityTerms, pairs: Pairs
    ) -> Tensor:
        """(M, P) probabilities of the predicates, without the background."""
        logits: Tensor = self.pair_classifier(relation_features, batch, terms, pairs)
        return logits.softmax(dim=1)[:, : self.num_predicates]


def _maps_of_image(maps: FeatureMaps, image: int) -> FeatureMaps:
    return {name: x[image : image + 1] for name, x in maps.items()}
