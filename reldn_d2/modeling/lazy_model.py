"""Describes RelDN for a detector of a config in Python (Detectron2's LazyConfig)."""

from typing import Any

from detectron2.config import LazyCall as L
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.roi_heads import (
    CascadeROIHeads,
    FastRCNNConvFCHead,
    Res5ROIHeads,
    StandardROIHeads,
)
from detectron2.modeling.roi_heads.rotated_fast_rcnn import RROIHeads
from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf

from .meta_arch import RelDN
from .region_heads import MeanOverRegion, refusal
from .relation_head import (
    ClassAgnosticTerm,
    ContrastiveLosses,
    EntityClassTerm,
    PairClassifier,
    PairSampler,
    PredicateClassTerm,
    RelDNHead,
    SemanticModule,
    SpatialModule,
    VisualModule,
)

_OF_DETECTOR = {
    *("backbone", "proposal_generator", "roi_heads"),
    *("pixel_mean", "pixel_std", "input_format", "vis_period"),
}

# ${reldn_d2.last:LIST} in a config is the last value of a list, also after an override of the list.
OmegaConf.register_new_resolver("reldn_d2.last", lambda values: values[-1], replace=True)


def relation_model(detector: DictConfig, *, num_predicates: int) -> DictConfig:
    """Describes RelDN with this detector, and with the settings of the paper.

    The predicate backbone and the box heads of the relation head refer to the parts of the detector that they
    copy. So overrides such as `model.roi_heads.box_head.fc_dims=[512]` and later changes of the config hold
    for the copies, too. `region_parts` says what is copied of which kind of ROI heads.

    Args:
        detector: lazily described GeneralizedRCNN with StandardROIHeads, CascadeROIHeads or Res5ROIHeads,
            with masks or without, such as Detectron2's `common/models/cascade_rcnn.py`. It is not changed.
        num_predicates: P.

    Returns:
        The lazily described RelDN. It is the `model` of a config, or any other node of one.

    Raises:
        ValueError: the detector is of another kind. The message names it.
    """
    parts = {str(key): value for key, value in detector.items_ex(resolve=False)}
    target = _class(parts.pop("_target_", None))
    more = sorted(parts.keys() - _OF_DETECTOR)
    if not issubclass(target, GeneralizedRCNN) or more:
        raise ValueError(
            f"RelDN needs a GeneralizedRCNN with {', '.join(sorted(_OF_DETECTOR))}, not {target.__name__}"
            f"{' with ' if more else ''}{', '.join(more)}. Take what else there is out of the config, for "
            "example model.pop('sem_seg_head'); boxes of other detectors can be precomputed (`reldn "
            "cache-detections`)"
        )
    # "${.": relative to the node that holds it, so that RelDN may have any place in a config.
    model: DictConfig = L(RelDN)(
        **parts,
        relation_backbone="${.backbone}",
        relation_head=L(RelDNHead)(
            num_predicates=num_predicates,
            pair_classifier=L(PairClassifier)(
                semantic=L(SemanticModule)(
                    num_classes="${....roi_heads.num_classes}",
                    num_predicates="${...num_predicates}",
                    learnable=False,
                    eps=1e-3,
                ),
                spatial=L(SpatialModule)(num_predicates="${...num_predicates}"),
                visual=L(VisualModule)(
                    num_predicates="${...num_predicates}",
                    fused=True,
                    subject_skip=True,
                    object_skip=True,
                    dropout=0.0,
                ),
            ),
            sample_pairs=L(PairSampler)(
                num_predicates="${..num_predicates}",
                batch_size_per_image=512,
                positives_per_image=128,
                anchors_per_image=128,
                partners_per_anchor=64,
                overlap_only="${..overlap_only}",
            ),
            cross_entropy_weight=1.0,  # L0
            contrastive_losses=L(ContrastiveLosses)(
                terms=L("builtins.dict")(  # OmegaConf cannot hold the class
                    class_agnostic=L(ClassAgnosticTerm)(  # L1
                        weight=1.0,
                        margin=0.2,
                        num_classes="${.....roi_heads.num_classes}",
                        num_predicates="${....num_predicates}",
                    ),
                    entity_class=L(EntityClassTerm)(  # L2
                        weight=0.5,
                        margin=0.2,
                        num_classes="${.....roi_heads.num_classes}",
                        num_predicates="${....num_predicates}",
                    ),
                    predicate_class=L(PredicateClassTerm)(  # L3
                        weight=0.1,
                        margin=0.2,
                        num_classes="${.....roi_heads.num_classes}",
                        num_predicates="${....num_predicates}",
                        background_in_argmax=False,
                    ),
                ),
                normalization="anchors",
            ),
            overlap_only=False,
            top_k=100,
            chunk_size=0,
        ),
        task="sgdet",
        entity_iou_threshold=0.5,
        entities_from_proposals=False,
        freeze_norm=True,
    )
    classifier = model.relation_head.pair_classifier
    classifier.update(_regions(detector.roi_heads))
    classifier.visual.feature_size = _feature_size(detector.roi_heads)
    return model


def _regions(roi_heads: DictConfig) -> dict[str, Any]:
    """The arguments of PairClassifier that are parts of the ROI heads, as `region_parts` finds them."""
    if issubclass(_class(roi_heads.get("_target_")), Res5ROIHeads):
        in_features, pooler = "in_features", "pooler"
        head: Any = L(MeanOverRegion.of_stage)(blocks="${....roi_heads.res5}")
    else:
        in_features, pooler = "box_in_features", "box_pooler"
        head = f"${{...roi_heads.{_box_head(roi_heads)}}}"
    heads = dict.fromkeys(("subject_head", "object_head", "predicate_head"), head)
    return {
        "in_features": f"${{...roi_heads.{in_features}}}",
        "pooler": f"${{...roi_heads.{pooler}}}",
        **heads,
    }


def _feature_size(roi_heads: DictConfig) -> str:
    """Where the config has the number of channels of a region's vector."""
    if issubclass(_class(roi_heads.get("_target_")), Res5ROIHeads):
        return "${....roi_heads.res5.out_channels}"
    return f"${{reldn_d2.last:${{....roi_heads.{_box_head(roi_heads)}.fc_dims}}}}"


def _box_head(roi_heads: DictConfig) -> str:
    """Key of the box head whose copies RelDN trains: that of the last stage.

    Raises:
        ValueError: `region_parts` would not accept these ROI heads.
    """
    kind = _class(roi_heads.get("_target_"))
    cascade = issubclass(kind, CascadeROIHeads)
    key = f"box_heads.{len(roi_heads.box_heads) - 1}" if cascade else "box_head"
    head = OmegaConf.select(roi_heads, key)
    head_kind = _class(None if head is None else head.get("_target_"))
    if (
        not issubclass(kind, StandardROIHeads)
        or issubclass(kind, RROIHeads)
        or roi_heads.get("keypoint_head") is not None
        or not issubclass(head_kind, FastRCNNConvFCHead)
        or not head.fc_dims
    ):
        keypoints = " and keypoints" if roi_heads.get("keypoint_head") is not None else ""
        raise ValueError(refusal(kind.__name__, head_kind.__name__, keypoints))
    return key


def _class(target: Any) -> type:
    """The class that `_target_` names."""
    found = locate(target) if isinstance(target, str) else target
    return found if isinstance(found, type) else type(found)
