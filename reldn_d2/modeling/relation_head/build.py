"""The registry of relation heads."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import nn

ROI_RELATION_HEAD_REGISTRY = Registry("ROI_RELATION_HEAD")
ROI_RELATION_HEAD_REGISTRY.__doc__ = """
Registry for relation heads: modules that find relationships between the entities of an image.

A registered object is called with `obj(cfg, input_shape)`; `input_shape` holds the `ShapeSpec`s of the
backbone. It returns a module with

* `uses_detector_features`, `uses_relation_features`: whether it needs feature maps of the detector's
  backbone, and of the predicate backbone;
* `set_predicate_counts(counts)`: takes the (C, C, P+1) counts of the training set, before training;
* `losses(features, relation_features, entities, matched, ground_truth, relations)`: returns a dict of scalar
  losses;
* `inference(features, relation_features, entities, *, entities_given, queries)`: returns one dict per image.

`entities` is an `EntityBatch`: the entities of all images of the batch, flattened. `queries` is None, or a
list of `reldn_d2.structures.Queries`, one per image, whose subjects and objects are rows of the entities of
that image. The dict of an image has

* "relations": the ranked relationships;
* "pair_answers", if there are queries: the scores of each pair asked about;
* "triplet_answers", if there are queries: the score of each triplet asked about, and whether the head
  considers its pair at all (`considered`).

The answers for an image without queries (`Queries.nothing()`) are empty. `RelDNHead` describes all arguments
and fields.
"""


def build_relation_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Builds the relation head named by `cfg.MODEL.ROI_RELATION_HEAD.NAME`."""
    head: nn.Module = ROI_RELATION_HEAD_REGISTRY.get(cfg.MODEL.ROI_RELATION_HEAD.NAME)(cfg, input_shape)
    return head
