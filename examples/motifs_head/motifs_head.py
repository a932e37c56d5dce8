"""A relation head in the style of Neural Motifs (Zellers et al., CVPR 2018), outside the package.

Entities are read as a sequence, from left to right. A first bidirectional LSTM gives each of them the context
of the others, which corrects its label. A second one, which also reads the labels, gives the context of its
relationships. A pair multiplies the contexts of subject and object with the features of their enclosing box.
The frequency of predicates between the two classes is added as a bias.

This file is all that a project needs: `reldn train --import motifs_head.py --config-file motifs.yaml`.
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import build_roi_heads
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from reldn_d2 import register_config
from reldn_d2.modeling import (
    ROI_RELATION_HEAD_REGISTRY,
    ClassRows,
    DetectorCopy,
    FeatureMaps,
    PairwiseRelationHead,
    SemanticModule,
    pool_regions,
    region_parts,
)
from reldn_d2.modeling.relation_head import spatial_features
from reldn_d2.structures import EntityBatch, Pairs, enclosing_boxes
from reldn_d2.structures.predicate_counts import PredicateCounts


@register_config
def add_motifs_config(cfg: CfgNode) -> None:
    """Adds the keys of this head."""
    cfg.MODEL.MOTIFS_HEAD = CfgNode()
    cfg.MODEL.MOTIFS_HEAD.HIDDEN_SIZE = 128  # of each direction of both LSTMs
    cfg.MODEL.MOTIFS_HEAD.LABEL_SIZE = 32  # length of the vector of an entity class
    cfg.MODEL.MOTIFS_HEAD.LABEL_WEIGHT = 1.0  # weight of the loss of the entities' labels


@dataclass(frozen=True)
class Context:
    """What is computed once for each of E entities.

    Attributes:
        label_logits: (E, C+1) refined class scores, background last.
        edge: (E, 2H) context of the entity's relationships.
        maps: feature maps to pool the enclosing boxes of pairs from.
    """

    label_logits: Tensor
    edge: Tensor
    maps: FeatureMaps


@ROI_RELATION_HEAD_REGISTRY.register()
class MotifsHead(PairwiseRelationHead[Context]):
    """Object context, label refinement, edge context, and a frequency bias."""

    uses_detector_features = True

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        in_features: list[str],
        pooler: ROIPooler,
        box_head: nn.Module,
        feature_size: int,
        hidden_size: int = 128,
        label_size: int = 32,
        label_weight: float = 1.0,
        **pairwise: Any,
    ) -> None:
        """Makes the layers.

        Args:
            num_classes: C.
            in_features: names of the detector's feature maps to pool from.
            pooler: pools regions from these maps.
            box_head: the detector's box head, from pooled regions to D features. It is copied twice.
            feature_size: D.
            hidden_size: H, of each direction of both LSTMs.
            label_size: length of the vector of an entity class.
            label_weight: weight of the loss of the entities' labels.
            pairwise: arguments of `PairwiseRelationHead`.
        """
        super().__init__(**pairwise)
        self.in_features, self.pooler, self.label_weight = in_features, pooler, label_weight
        self.box_head, self.union_head = deepcopy(box_head), deepcopy(box_head)
        self.classifier = nn.Linear(feature_size, num_classes + 1)

        def lstm(inputs: int) -> nn.LSTM:
            return nn.LSTM(inputs, hidden_size, bidirectional=True)

        context = 2 * hidden_size
        self.label_vectors = nn.Embedding(num_classes + 1, label_size)
        self.object_context = lstm(feature_size + label_size + 4)
        self.label_change = nn.Linear(context, num_classes + 1, bias=False)
        nn.init.zeros_(self.label_change.weight)  # at first the labels are the detector's
        self.edge_context = lstm(context + label_size)
        self.as_subject, self.as_object = (nn.Linear(context, feature_size) for _ in range(2))
        self.geometry = nn.Linear(28, feature_size)
        self.predicate_scores = nn.Linear(feature_size, self.num_predicates + 1)
        self.frequency = SemanticModule(
            num_classes=num_classes, num_predicates=self.num_predicates, learnable=True
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Builds the parts that the config describes."""
        parts = region_parts(build_roi_heads(cfg, input_shape))
        return {
            **super().from_config(cfg, input_shape),
            "num_classes": parts.num_classes,
            "in_features": parts.in_features,
            "pooler": parts.pooler,
            "box_head": parts.head,
            "feature_size": parts.feature_size,
            "hidden_size": cfg.MODEL.MOTIFS_HEAD.HIDDEN_SIZE,
            "label_size": cfg.MODEL.MOTIFS_HEAD.LABEL_SIZE,
            "label_weight": cfg.MODEL.MOTIFS_HEAD.LABEL_WEIGHT,
        }

    # ---------------------------------------------------------------- what RelDN and its trainer ask

    def detector_copies(self) -> Iterable[DetectorCopy]:
        """Both box heads and the classifier start as the detector's."""
        heads = [DetectorCopy(head, "box_head") for head in (self.box_head, self.union_head)]
        return [*heads, DetectorCopy(self.classifier, "classifier")]

    def slow_parameters(self) -> Iterable[nn.Parameter]:
        """What the labels start from stays close to the detector."""
        return [*self.box_head.parameters(), *self.classifier.parameters()]

    def bias_like_parameters(self) -> Iterable[nn.Parameter]:
        """The frequency bias."""
        return self.counted_parameters()

    def counted_parameters(self) -> Iterable[nn.Parameter]:
        """The frequency bias."""
        return [self.frequency.log_prior]

    def class_rows(self) -> Iterable[ClassRows]:
        """The layers with a row for each entity class or predicate."""
        things = (self.classifier, self.label_vectors, self.label_change)
        rows = [ClassRows(layer, "thing_classes", background=True) for layer in things]
        return [*rows, ClassRows(self.predicate_scores, "predicate_classes", background=True)]

    def set_predicate_counts(self, counts: PredicateCounts) -> None:
        """Fills the frequency bias."""
        self.frequency.set_counts(counts)

    # ---------------------------------------------------------------- the method

    def refine_entities(
        self, features: FeatureMaps, entities: EntityBatch, *, task: Literal["sgdet", "sgcls"]
    ) -> EntityBatch:
        """Takes the most probable label in context, if boxes are given (sgcls).

        Detections keep their labels: each box was moved for its label, and suppressed others of this label.
        """
        if task == "sgdet":
            return entities
        context, logits = self._object_context(features, entities)
        scores, classes = logits.softmax(dim=1)[:, :-1].max(dim=1)
        kept = {"object_context": context, "label_logits": logits}
        return replace(entities, classes=classes, scores=scores, extra=kept)

    def encode_entities(self, features: FeatureMaps, entities: EntityBatch) -> Context:
        """Reads the entities twice: for their labels, and, with their labels, for their relationships."""
        if "object_context" in entities.extra:
            context, logits = entities.extra["object_context"], entities.extra["label_logits"]
        else:
            context, logits = self._object_context(features, entities)
        labelled = torch.cat([context, self.label_vectors(entities.classes)], dim=1)
        return Context(logits, _read(self.edge_context, labelled, entities), features)

    def entity_losses(self, entities: EntityBatch, encoded: Context) -> dict[str, Tensor]:
        """Cross entropy of the refined labels."""
        loss = F.cross_entropy(encoded.label_logits, entities.classes, reduction="sum") / max(
            len(entities), 1
        )
        return {"loss_rel_labels": self.label_weight * loss}

    def predicate_logits(
        self, relation_features: FeatureMaps | None, entities: EntityBatch, encoded: Context, pairs: Pairs
    ) -> Tensor:
        """Multiplies both contexts with the features of the enclosing box, and adds the frequency bias."""
        subject_boxes, object_boxes = entities.boxes[pairs.subject], entities.boxes[pairs.object]
        sizes = entities.image_sizes[entities.image[pairs.subject]]
        union = self._union_features(encoded.maps, entities, pairs)[pairs.union]
        union = F.relu(union + self.geometry(spatial_features(subject_boxes, object_boxes, sizes)))
        context = _normalised(self.as_subject(encoded.edge))[pairs.subject]
        context = context * _normalised(self.as_object(encoded.edge))[pairs.object]
        logits = self.predicate_scores(context * union).float()
        return logits + self.frequency(entities.classes[pairs.subject], entities.classes[pairs.object])

    def _object_context(self, features: FeatureMaps, entities: EntityBatch) -> tuple[Tensor, Tensor]:
        """(E, 2H) context of each entity among the others, and (E, C+1) class scores in this context."""
        regions = self._pool(features, entities.regions, entities.image)
        vectors = self.box_head(regions)
        logits = self.classifier(vectors)
        labels = logits.softmax(dim=1) @ self.label_vectors.weight
        places = entities.boxes / entities.image_sizes[entities.image].flip(1).repeat(1, 2)
        context = _read(self.object_context, torch.cat([vectors, labels, places], dim=1), entities)
        return context, logits + self.label_change(context)

    def _union_features(self, maps: FeatureMaps, entities: EntityBatch, pairs: Pairs) -> Tensor:
        """(U, D) features of the enclosing boxes."""
        boxes = enclosing_boxes(entities.regions[pairs.first], entities.regions[pairs.second])
        vectors: Tensor = self.union_head(self._pool(maps, boxes, entities.image[pairs.first]))
        return vectors

    def _pool(self, maps: FeatureMaps, boxes: Tensor, image: Tensor) -> Tensor:
        return pool_regions(self.pooler, [maps[name] for name in self.in_features], boxes, image)


def _read(lstm: nn.LSTM, vectors: Tensor, entities: EntityBatch) -> Tensor:
    """Reads the entities of each image from left to right. (E, inputs) -> (E, 2H); rows keep their order."""
    centres = entities.boxes[:, 0::2].sum(dim=1)
    order = centres.argsort(stable=True)
    order = order[entities.image[order].argsort(stable=True)]
    images = [part for part in torch.split(vectors[order], entities.counts) if len(part)]
    # Without any entity something is read nevertheless, so that all parameters have a gradient.
    output, _ = lstm(pack_sequence(images or [vectors.new_zeros(1, lstm.input_size)], enforce_sorted=False))
    return torch.cat(unpack_sequence(output))[: len(order)][order.argsort()]


def _normalised(vectors: Tensor) -> Tensor:
    """Mean 0 and variance 1 in each row, since products of small numbers would hardly learn."""
    return F.layer_norm(vectors, vectors.shape[1:])
