"""RelDN on Detectron2's Faster R-CNN with a ResNet-50 feature pyramid.

The relation part refers to the parts of the detector that it copies. So a config that changes the detector,
its backbone or its box head changes the copies, too.
"""

from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig

from reldn_d2.model_zoo import get_detectron2_config_file
from reldn_d2.modeling import RelDN, RelDNHead
from reldn_d2.modeling.relation_head import (
    ClassAgnosticTerm,
    ContrastiveLosses,
    EntityClassTerm,
    PairClassifier,
    PairSampler,
    PredicateClassTerm,
    SemanticModule,
    SpatialModule,
    VisualModule,
)

detector = LazyConfig.load(get_detectron2_config_file("common/models/mask_rcnn_fpn.py")).model
for _mask in ("mask_in_features", "mask_pooler", "mask_head"):
    detector.roi_heads.pop(_mask)

model = L(RelDN)(
    backbone=detector.backbone,
    proposal_generator=detector.proposal_generator,
    roi_heads=detector.roi_heads,
    pixel_mean=detector.pixel_mean,
    pixel_std=detector.pixel_std,
    input_format=detector.input_format,
    relation_backbone="${.backbone}",
    relation_head=L(RelDNHead)(
        num_predicates=9,
        pair_classifier=L(PairClassifier)(
            semantic=L(SemanticModule)(
                num_classes="${....roi_heads.num_classes}",
                num_predicates="${...num_predicates}",
                learnable=False,
                eps=1e-3,
            ),
            spatial=L(SpatialModule)(num_predicates="${...num_predicates}"),
            visual=L(VisualModule)(
                feature_size=1024,  # the last of roi_heads.box_head.fc_dims
                num_predicates="${...num_predicates}",
                fused=True,
                subject_skip=True,
                object_skip=True,
                dropout=0.0,
            ),
            in_features="${...roi_heads.box_in_features}",
            pooler="${...roi_heads.box_pooler}",
            subject_head="${...roi_heads.box_head}",
            object_head="${...roi_heads.box_head}",
            predicate_head="${...roi_heads.box_head}",
        ),
        sample_pairs=L(PairSampler)(
            num_predicates="${..num_predicates}",
            batch_size_per_image=512,
            positives_per_image=128,
            anchors_per_image=128,
            partners_per_anchor=64,
            overlap_only="${..overlap_only}",
            contrastive="partners",
            first_predicate_only=False,
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
        chunk_size=256,
    ),
    task="sgdet",
    entity_iou_threshold=0.5,
    entities_from_proposals=False,
    freeze_norm=True,
)
