"""RelDN on the detectors of Detectron2's model zoo and of its projects, at reduced width."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.projects.deeplab import add_deeplab_config
from detectron2.projects.point_rend import add_pointrend_config
from detectron2.utils.events import EventStorage

from reldn_d2.config import default_config
from reldn_d2.engine.optimizer import relation_optimizer_params
from reldn_d2.model_zoo import get_detectron2_config_file
from reldn_d2.modeling import RelDN
from tests.builders.tiny_models import calm_down, make_input

NARROW = {
    "RESNETS.RES2_OUT_CHANNELS": 16,
    "RESNETS.STEM_OUT_CHANNELS": 8,
    "RESNETS.WIDTH_PER_GROUP": 4,
    "FPN.OUT_CHANNELS": 32,
    "ROI_BOX_HEAD.FC_DIM": 32,
    "ROI_BOX_HEAD.CONV_DIM": 32,
    "ROI_MASK_HEAD.CONV_DIM": 8,
    "RPN.POST_NMS_TOPK_TEST": 30,
    "ROI_HEADS.NUM_CLASSES": 6,
    "SEM_SEG_HEAD.CONVS_DIM": 32,
    "DEVICE": "cpu",
    "WEIGHTS": "",
}
INSTANCES = "COCO-InstanceSegmentation/mask_rcnn_R_50_"
# Group normalisation has 32 groups.
GROUPS = {
    **dict.fromkeys(
        ("RESNETS.RES2_OUT_CHANNELS", "RESNETS.STEM_OUT_CHANNELS", "RESNETS.WIDTH_PER_GROUP"), 32
    ),
    "ROI_MASK_HEAD.CONV_DIM": 32,
}
POINTS = {
    "ROI_MASK_HEAD.NAME": "PointRendMaskHead",
    "ROI_MASK_HEAD.POOLER_TYPE": "",
    "ROI_MASK_HEAD.IN_FEATURES": ["p2"],
    "ROI_MASK_HEAD.FC_DIM": 32,
    "ROI_MASK_HEAD.NUM_FC": 2,
    "ROI_MASK_HEAD.OUTPUT_SIDE_RESOLUTION": 7,
    "ROI_MASK_HEAD.POINT_HEAD_ON": True,
    "POINT_HEAD.NAME": "StandardPointHead",
    "POINT_HEAD.IN_FEATURES": ["p2"],
    "POINT_HEAD.NUM_CLASSES": 6,
    "POINT_HEAD.FC_DIM": 16,
}
#: Name -> config of Detectron2, and keys of MODEL that differ.
DETECTORS: dict[str, tuple[str, dict[str, object]]] = {
    "FPN": ("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", {}),
    "C4": ("COCO-Detection/faster_rcnn_R_50_C4_1x.yaml", {}),
    "DC5": ("COCO-Detection/faster_rcnn_R_50_DC5_1x.yaml", {}),
    "masks": (f"{INSTANCES}FPN_1x.yaml", {}),
    "C4 with masks": (f"{INSTANCES}C4_1x.yaml", {}),
    "cascade": ("Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml", {}),
    "group norm": ("Misc/mask_rcnn_R_50_FPN_3x_gn.yaml", GROUPS),
    "synchronised norm": ("Misc/mask_rcnn_R_50_FPN_3x_syncbn.yaml", {}),
    "panoptic": ("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml", {}),
    "LVIS": ("LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", {}),
    "DeepLab's backbone": (
        f"{INSTANCES}FPN_1x.yaml",
        {"RESNETS.STEM_TYPE": "deeplab", "RESNETS.RES5_DILATION": 1},
    ),
    "PointRend": (f"{INSTANCES}FPN_1x.yaml", POINTS),
}


def config(name: str, meta_architecture: str) -> CfgNode:
    """The config of a detector, or of RelDN on top of it."""
    file, changes = DETECTORS[name]
    cfg = default_config()
    add_pointrend_config(cfg)
    add_deeplab_config(cfg)
    cfg.merge_from_file(get_detectron2_config_file(file))
    for key, value in {**NARROW, **changes}.items():
        node, _, leaf = key.rpartition(".")
        (cfg.MODEL[node] if node else cfg.MODEL)[leaf] = value
    cfg.TEST.DETECTIONS_PER_IMAGE = 12
    cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES = 7
    cfg.MODEL.META_ARCHITECTURE = meta_architecture
    return cfg


@pytest.mark.parametrize("name", list(DETECTORS))
def test_the_detector_detects_in_reldn_what_it_detects_alone(name: str) -> None:
    torch.manual_seed(0)
    detector = build_model(config(name, "GeneralizedRCNN")).eval()
    calm_down(detector)
    model: RelDN = build_model(config(name, "RelDN"))
    model.relation_head.set_predicate_counts(torch.ones(6, 6, 8).numpy())
    model.load_state_dict(detector.state_dict(), strict=False)
    inputs = [make_input(5, [(0, 1, 2), (3, 2, 6)]), make_input(3, [(2, 0, 1)], seed=1)]

    relation_optimizer_params(model, base_lr=0.1, weight_decay=0.0)
    with EventStorage():
        losses = model.train()(inputs)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing, "every trained parameter has a gradient, as value clipping and DDP need"

    model.eval()
    for alone, together in zip(detector(inputs), model(inputs), strict=True):
        expected, found = alone["instances"], together["instances"]
        expected = expected[expected.pred_boxes.nonempty()]
        assert len(expected) == len(found)
        torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-6)
        assert found.has("pred_masks") == expected.has("pred_masks")
    for task in ("sgcls", "prdcls"):
        model.task = task
        assert all(len(output["relations"]) for output in model(inputs))
