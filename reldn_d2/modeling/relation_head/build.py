"""The registry of relation heads."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import nn

ROI_RELATION_HEAD_REGISTRY = Registry("ROI_RELATION_HEAD")
ROI_RELATION_HEAD_REGISTRY.__doc__ = """
Registry for relation heads: modules that find relationships between the entities of an image.

A registered object is called with `obj(cfg, input_shape)`, `input_shape` being the `ShapeSpec`s of the backbone, and
returns a module with

* `uses_detector_features`, `uses_relation_features`: whether it wants feature maps of the detector's backbone, and
  of the predicate backbone;
* `set_predicate_counts(counts)`: takes the (C, C, P+1) counts of the training set, before training;
* `losses(features, relation_features, entities, matched, ground_truth, relations)`: dict of scalar losses;
* `inference(features, relation_features, entities, *, entities_given, named_pairs, named_triplets)`: one dict per
  image, with ranked "relations" and, if pairs or triplets were named, their scores.

`RelDNHead` states the arguments in full.
"""


def build_relation_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Builds the relation head named by `cfg.MODEL.ROI_RELATION_HEAD.NAME`."""
    head: nn.Module = ROI_RELATION_HEAD_REGISTRY.get(cfg.MODEL.ROI_RELATION_HEAD.NAME)(cfg, input_shape)
    return head
