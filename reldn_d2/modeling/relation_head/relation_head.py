"""The relation head of RelDN: entity pairs → features → predicate logits → losses or ranked relationships."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import build_box_head
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from reldn_d2.structures import EntityBatch, Pairs, PairTargets, boxes_overlap, enclosing_boxes

from .build import ROI_RELATION_HEAD_REGISTRY
from .entities import entity_batch
from .losses import contrastive_losses, predicate_cross_entropy
from .predictor import EntityTerms, SemanticModule, SpatialModule, VisualModule
from .sampling import label_and_sample_pairs
from .selection import select_relationships

PairSampler = Callable[..., tuple[Pairs, PairTargets]]
ContrastiveLosses = Callable[..., dict[str, Tensor]]


@ROI_RELATION_HEAD_REGISTRY.register()
class RelDNHead(nn.Module):
    """Predicts the relationships between the entities of each image (sections 3 and 4 of the paper).

    Subject and object features are pooled from the detector's feature maps once per entity, predicate features from
    the predicate backbone's once per unordered pair. Shape letters: see `reldn_d2.structures.pairs`.
    """

    @configurable
    def __init__(
        self,
        *,
        num_predicates: int,
        semantic: SemanticModule | None,
        spatial: SpatialModule | None,
        visual: VisualModule | None,
        in_features: list[str],
        pooler: ROIPooler,
        subject_head: nn.Module | None,
        object_head: nn.Module | None,
        predicate_head: nn.Module | None,
        sample_pairs: PairSampler,
        cross_entropy_weight: float,
        contrastive_losses: ContrastiveLosses,
        overlap_only: bool,
        top_k: int,
        chunk_size: int,
    ) -> None:
        """
        Args:
            num_predicates: P, without the background.
            semantic, spatial, visual: the three modules; None switches one off.
            in_features: names of the feature maps to pool from.
            pooler: region pooler for these maps.
            subject_head, object_head, predicate_head: box heads from pooled regions to D features; None where the
                visual module does not need them.
            sample_pairs: `label_and_sample_pairs` with its options bound.
            cross_entropy_weight: weight of L0.
            contrastive_losses: the function of that name with its options bound.
            overlap_only: SGDET considers only pairs whose boxes overlap.
            top_k: relationships kept per image, for each number of predicates a pair.
            chunk_size: unordered pairs scored at a time in inference; bounds the memory.

        Raises:
            ValueError: all three modules are off.
        """
        super().__init__()
        if semantic is None and spatial is None and visual is None:
            raise ValueError(
                "the semantic, spatial and visual modules are all switched off: enable at least one in "
                "MODEL.ROI_RELATION_HEAD"
            )
        self.num_predicates = num_predicates
        self.semantic, self.spatial, self.visual = semantic, spatial, visual
        self.in_features, self.pooler = in_features, pooler
        self.subject_head, self.object_head = subject_head, object_head
        self.predicate_head = predicate_head
        self.sample_pairs = sample_pairs
        self.cross_entropy_weight, self.contrastive_losses = cross_entropy_weight, contrastive_losses
        self.overlap_only, self.top_k, self.chunk_size = overlap_only, top_k, chunk_size

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        head, box_head = cfg.MODEL.ROI_RELATION_HEAD, cfg.MODEL.ROI_BOX_HEAD
        num_classes, num_predicates = cfg.MODEL.ROI_HEADS.NUM_CLASSES, head.NUM_PREDICATES
        in_features = cfg.MODEL.ROI_HEADS.IN_FEATURES
        shapes = [input_shape[f] for f in in_features]
        region = ShapeSpec(
            channels=shapes[0].channels, height=box_head.POOLER_RESOLUTION, width=box_head.POOLER_RESOLUTION
        )

        visual, heads = None, dict.fromkeys(("subject_head", "object_head", "predicate_head"))
        if head.VISUAL.FUSED or head.VISUAL.SUBJECT_SKIP or head.VISUAL.OBJECT_SKIP:
            subject_head = build_box_head(cfg, region)
            visual = VisualModule(
                feature_size=subject_head.output_shape.channels,
                num_predicates=num_predicates,
                fused=head.VISUAL.FUSED,
                subject_skip=head.VISUAL.SUBJECT_SKIP,
                object_skip=head.VISUAL.OBJECT_SKIP,
            )
            heads["subject_head"] = subject_head if visual.needs_subject else None
            heads["object_head"] = build_box_head(cfg, region) if visual.needs_object else None
            heads["predicate_head"] = build_box_head(cfg, region) if visual.needs_predicate else None

        return {
            "num_predicates": num_predicates,
            "semantic": SemanticModule(
                num_classes=num_classes,
                num_predicates=num_predicates,
                learnable=head.SEMANTIC.LEARNABLE,
                eps=head.SEMANTIC.EPS,
            )
            if head.SEMANTIC.ENABLED
            else None,
            "spatial": SpatialModule(num_predicates=num_predicates) if head.SPATIAL.ENABLED else None,
            "visual": visual,
            "in_features": in_features,
            "pooler": ROIPooler(
                output_size=box_head.POOLER_RESOLUTION,
                scales=tuple(1.0 / shape.stride for shape in shapes),
                sampling_ratio=box_head.POOLER_SAMPLING_RATIO,
                pooler_type=box_head.POOLER_TYPE,
            ),
            **heads,
            "sample_pairs": _sampler_from_config(cfg),
            "cross_entropy_weight": head.LOSS.CROSS_ENTROPY_WEIGHT,
            "contrastive_losses": _losses_from_config(cfg),
            "overlap_only": head.OVERLAP_ONLY,
            "top_k": head.TEST.TOP_K,
            "chunk_size": head.TEST.CHUNK_SIZE,
        }

    @property
    def uses_relation_features(self) -> bool:
        """Whether predicate features are pooled from a backbone of their own."""
        return self.predicate_head is not None

    def losses(
        self,
        features: dict[str, Tensor],
        relation_features: dict[str, Tensor] | None,
        entities: list[Instances],
        matched: Tensor,
        ground_truth: list[Instances],
        relations: list[Tensor],
    ) -> dict[str, Tensor]:
        """
        Args:
            features: feature maps of the frozen detector's backbone.
            relation_features: feature maps of the predicate backbone, if `uses_relation_features`.
            entities: per image, `pred_boxes`, `pred_classes` and `scores`.
            matched: (E,) long, the ground-truth row (inside its image) that each entity stands for.
            ground_truth: per image.
            relations: per image (R, 3) long rows (subject, object, predicate) of ground-truth rows.

        Returns:
            `loss_rel_cross_entropy` and those of `contrastive_losses`: weighted scalars; a loss of weight 0 is
            absent.
        """
        batch = entity_batch(entities)
        pairs, targets = self.sample_pairs(batch, matched, relations, [len(x) for x in ground_truth])
        get_event_storage().put_scalar("relation_head/num_pairs", len(pairs))

        terms = self._entity_terms(features, batch)
        logits = _at_least_float32(self._logits(relation_features, batch, terms, pairs))
        losses = self.contrastive_losses(logits, batch, pairs, targets)
        if self.cross_entropy_weight:
            cross_entropy = predicate_cross_entropy(logits, targets)
            losses["loss_rel_cross_entropy"] = self.cross_entropy_weight * cross_entropy
        return losses

    def inference(
        self,
        features: dict[str, Tensor],
        relation_features: dict[str, Tensor] | None,
        entities: list[Instances],
        *,
        entities_given: bool,
    ) -> list[Instances]:
        """Ranks the relationships of each image.

        Args:
            features, relation_features, entities: as in `losses`.
            entities_given: SGCLS and PRDCLS. The overlap filter is for detected entities only.

        Returns:
            One Instances per image: rows are relationships by falling score with `subject_index`, `object_index`
            (rows of the entities), `pred_predicates`, `scores` and `rank_in_pair`. The list is complete for any
            number of predicates a pair, see `selection`; the first `top_k` rows of `rank_in_pair <= k` are the
            answer for k.
        """
        results = []
        for i, found in enumerate(entities):
            batch, terms, image_features = self._one_image(features, relation_features, found, i)
            rows = torch.arange(len(batch), device=batch.boxes.device)
            first, second = torch.combinations(rows).unbind(dim=1)
            if self.overlap_only and not entities_given:
                overlap = boxes_overlap(batch.boxes[first], batch.boxes[second])
                first, second = first[overlap], second[overlap]

            def score_pairs(
                a: Tensor,
                b: Tensor,
                # Bound now: the loop goes on to the next image.
                maps: dict[str, Tensor] | None = image_features,
                batch: EntityBatch = batch,
                terms: EntityTerms = terms,
            ) -> Tensor:
                return self._probabilities(maps, batch, terms, Pairs.both_directions(a, b))

            ranked = select_relationships(
                score_pairs,
                batch.scores,
                first,
                second,
                num_predicates=self.num_predicates,
                top_k=self.top_k,
                chunk_size=self.chunk_size,
            )
            results.append(
                Instances(
                    found.image_size,
                    subject_index=ranked.subject,
                    object_index=ranked.object,
                    pred_predicates=ranked.predicate,
                    scores=ranked.score,
                    rank_in_pair=ranked.rank_in_pair,
                )
            )
        return results

    def score_given_pairs(
        self,
        features: dict[str, Tensor],
        relation_features: dict[str, Tensor] | None,
        entities: list[Instances],
        pairs: list[Tensor],
    ) -> list[Instances]:
        """Scores named pairs instead of ranking all of them.

        Args:
            features, relation_features, entities: as in `losses`.
            pairs: per image (R, 2) long (subject row, object row); repeats and self pairs are allowed.

        Returns:
            One Instances per image, row by row as asked: `subject_index`, `object_index`, `pair_scores` (the product
            of the two entity scores) and `predicate_probs` (R, P), the background left out.
        """
        results = []
        for i, (found, rows) in enumerate(zip(entities, pairs, strict=True)):
            batch, terms, image_features = self._one_image(features, relation_features, found, i)
            subject, object = rows.unbind(dim=1)
            probs = [
                self._probabilities(image_features, batch, terms, Pairs.one_direction(s, o))
                for s, o in zip(subject.split(self.chunk_size), object.split(self.chunk_size), strict=True)
            ]
            results.append(
                Instances(
                    found.image_size,
                    subject_index=subject,
                    object_index=object,
                    pair_scores=batch.scores[subject] * batch.scores[object],
                    predicate_probs=torch.cat(probs),
                )
            )
        return results

    def _one_image(
        self,
        features: dict[str, Tensor],
        relation_features: dict[str, Tensor] | None,
        entities: Instances,
        image: int,
    ) -> tuple[EntityBatch, EntityTerms, dict[str, Tensor] | None]:
        def maps_of(maps: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: x[image : image + 1] for name, x in maps.items()}

        batch = entity_batch([entities])
        relation_maps = None if relation_features is None else maps_of(relation_features)
        return batch, self._entity_terms(maps_of(features), batch), relation_maps

    def _entity_terms(self, features: dict[str, Tensor], batch: EntityBatch) -> EntityTerms:
        if self.visual is None:
            return EntityTerms(None, None, None, None)
        maps = [features[name] for name in self.in_features]
        regions = self.pooler(maps, [Boxes(boxes) for boxes in batch.boxes_per_image()])
        return self.visual.entity_terms(
            None if self.subject_head is None else self.subject_head(regions),
            None if self.object_head is None else self.object_head(regions),
        )

    def _predicate_features(
        self, relation_features: dict[str, Tensor] | None, batch: EntityBatch, pairs: Pairs
    ) -> Tensor | None:
        if self.predicate_head is None:
            return None
        assert relation_features is not None
        maps = [relation_features[name] for name in self.in_features]
        boxes = enclosing_boxes(batch.boxes[pairs.first], batch.boxes[pairs.second])
        if len(batch.counts) > 1:
            # The pooler takes boxes image by image; pairs are sorted by image.
            sizes = torch.bincount(batch.image[pairs.first], minlength=len(batch.counts)).tolist()
            per_image = [Boxes(x) for x in boxes.split(sizes)]
        else:
            per_image = [Boxes(boxes)]
        features: Tensor = self.predicate_head(self.pooler(maps, per_image))
        return features

    def _logits(
        self,
        relation_features: dict[str, Tensor] | None,
        batch: EntityBatch,
        terms: EntityTerms,
        pairs: Pairs,
    ) -> Tensor:
        """(M, P+1) fused logits, eq. 12."""
        logits = []
        if self.visual is not None:
            predicate_features = self._predicate_features(relation_features, batch, pairs)
            logits.append(self.visual(terms, predicate_features, pairs))
        if self.spatial is not None:
            sizes = batch.image_sizes[batch.image[pairs.subject]]
            logits.append(self.spatial(batch.boxes[pairs.subject], batch.boxes[pairs.object], sizes))
        if self.semantic is not None:
            logits.append(self.semantic(batch.classes[pairs.subject], batch.classes[pairs.object]))
        return torch.stack(logits).sum(dim=0)

    def _probabilities(
        self,
        relation_features: dict[str, Tensor] | None,
        batch: EntityBatch,
        terms: EntityTerms,
        pairs: Pairs,
    ) -> Tensor:
        """(M, P) probabilities of the real predicates."""
        logits = _at_least_float32(self._logits(relation_features, batch, terms, pairs))
        return logits.softmax(dim=1)[:, : self.num_predicates]


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _sampler_from_config(cfg: CfgNode) -> PairSampler:
    head = cfg.MODEL.ROI_RELATION_HEAD
    published = head.SAMPLING.METHOD == "published"
    return partial(
        label_and_sample_pairs,
        num_predicates=head.NUM_PREDICATES,
        batch_size_per_image=head.SAMPLING.BATCH_SIZE_PER_IMAGE,
        positives_per_image=head.SAMPLING.POSITIVES_PER_IMAGE,
        anchors_per_image=head.SAMPLING.ANCHORS_PER_IMAGE,
        partners_per_anchor=head.SAMPLING.PARTNERS_PER_ANCHOR,
        overlap_only=head.OVERLAP_ONLY,
        contrastive="pairs" if published else "partners",
        first_predicate_only=published,
    )


def _losses_from_config(cfg: CfgNode) -> ContrastiveLosses:
    loss = cfg.MODEL.ROI_RELATION_HEAD.LOSS
    if loss.NORMALIZATION not in ("anchors", "published"):
        raise ValueError(
            f"MODEL.ROI_RELATION_HEAD.LOSS.NORMALIZATION is {loss.NORMALIZATION!r}: use 'anchors' or 'published'"
        )
    return partial(
        contrastive_losses,
        num_classes=cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        margins=(loss.CLASS_AGNOSTIC.MARGIN, loss.ENTITY_CLASS.MARGIN, loss.PREDICATE_CLASS.MARGIN),
        weights=(loss.CLASS_AGNOSTIC.WEIGHT, loss.ENTITY_CLASS.WEIGHT, loss.PREDICATE_CLASS.WEIGHT),
        normalization=loss.NORMALIZATION,
        background_in_argmax=loss.PREDICATE_CLASS.BACKGROUND_IN_ARGMAX,
    )
