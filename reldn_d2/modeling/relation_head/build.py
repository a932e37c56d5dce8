"""The registry of relation heads."""

from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

from .contract import RelationHead, check_relation_head

ROI_RELATION_HEAD_REGISTRY = Registry("ROI_RELATION_HEAD")
ROI_RELATION_HEAD_REGISTRY.__doc__ = """
Registry for relation heads: modules that find relationships between the entities of an image.

A registered object is called with `obj(cfg, input_shape)`; `input_shape` holds the `ShapeSpec`s of the
backbone. It must return a `RelationHead`, whose docstrings describe what a head gets and must return:

* `losses(...)`: entities and annotated relationships of a batch -> dict of scalar losses;
* `inference(...)`: entities of a batch -> for each image the ranked relationships and the answers to queries.

Everything else has a default: `refine_entities` (labels and boxes that the head changes),
`set_predicate_counts` (statistics of the training set), `detector_copies` (what starts as a copy of the
detector's layers), `slow_parameters` and `bias_like_parameters` (learning rates), `class_rows` and
`counted_parameters` (what a checkpoint of other classes can give), `uses_detector_features`,
`uses_relation_features` and `relation_in_features` (the feature maps that it reads).

A head that scores pairs of entities derives from `PairwiseRelationHead`, and needs to say only how
(docs/relation_heads.md shows one in about 40 lines).
"""


def build_relation_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> RelationHead:
    """Builds the relation head named by `cfg.MODEL.ROI_RELATION_HEAD.NAME`.

    Raises:
        ValueError: the name is not registered, or what it makes breaks the contract.
    """
    return check_relation_head(registered_head(cfg)(cfg, input_shape))


def registered_head(cfg: CfgNode) -> Any:
    """The class or function that `cfg.MODEL.ROI_RELATION_HEAD.NAME` names.

    Raises:
        ValueError: the name is not registered.
    """
    name = cfg.MODEL.ROI_RELATION_HEAD.NAME
    if name not in ROI_RELATION_HEAD_REGISTRY:
        known = ", ".join(sorted(key for key, _ in ROI_RELATION_HEAD_REGISTRY))
        raise ValueError(
            f"MODEL.ROI_RELATION_HEAD.NAME is {name!r}, but registered are {known}: correct it, or --import "
            "the module that registers it"
        )
    return ROI_RELATION_HEAD_REGISTRY.get(name)
