"""RelDN on every kind of ROI heads that it supports, and its refusal of the others."""

from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

from reldn_d2.modeling.region_heads import before_last_relu, region_parts
from tests.builders.tiny_models import TinyConfig, make_input, make_model

HEAD = "MODEL.ROI_RELATION_HEAD"
STANDARD: list[str] = []
CASCADE = ["MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"]
MASK = ["MODEL.MASK_ON", "True", "MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead"]
MASK += ["MODEL.ROI_MASK_HEAD.NUM_CONV", "1", "MODEL.ROI_MASK_HEAD.CONV_DIM", "8"]
C4 = [
    *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.DEPTH", "50"),
    *("MODEL.RESNETS.OUT_FEATURES", "['res4']", "MODEL.RESNETS.RES2_OUT_CHANNELS", "16"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.WIDTH_PER_GROUP", "4"),
    *("MODEL.RPN.IN_FEATURES", "['res4']", "MODEL.ROI_HEADS.IN_FEATURES", "['res4']"),
    *("MODEL.ROI_HEADS.NAME", "Res5ROIHeads", "MODEL.ANCHOR_GENERATOR.SIZES", "[[32, 64]]"),
    *("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", "4", "MODEL.ROI_BOX_HEAD.NAME", ""),
]
KINDS = {
    "standard": STANDARD,
    "cascade": CASCADE,
    "mask": MASK,
    "cascade with masks": [*CASCADE, *MASK],
    "C4": C4,
    "C4 with masks": [*C4, *MASK],
}
every_kind = pytest.mark.parametrize("options", list(KINDS.values()), ids=list(KINDS))


def config(tiny_config: TinyConfig, options: list[str]) -> CfgNode:
    return tiny_config(*options, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0")


def batch() -> list[dict[str, Any]]:
    return [make_input(5, [(0, 1, 2), (2, 1, 0)]), make_input(3, [(1, 0, 3)], seed=1)]


@every_kind
def test_a_training_and_an_inference_step(tiny_config: TinyConfig, options: list[str]) -> None:
    model = make_model(config(tiny_config, options)).train()
    with EventStorage(0):
        losses = model(batch())
    assert len(losses) == 4 and all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
        assert parameter.grad is None or name.startswith("relation_"), name
    model.eval()
    for task in ("sgdet", "sgcls", "prdcls"):
        model.task = task
        for inputs, output in zip(batch(), model(batch()), strict=True):
            assert len(output["relations"]) > 0
            if task != "sgdet":
                assert torch.allclose(
                    output["instances"].pred_boxes.tensor, inputs["instances"].gt_boxes.tensor
                )


@every_kind
def test_heads_start_as_copies_of_the_detectors(tiny_config: TinyConfig, options: list[str]) -> None:
    cfg = config(tiny_config, options)
    torch.manual_seed(3)
    detector = cfg.clone()
    detector.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    weights = build_model(detector).state_dict()
    model = make_model(cfg)
    model.load_state_dict(weights, strict=False)
    source = "roi_heads.box_head."
    if "CascadeROIHeads" in options:
        source = "roi_heads.box_head.2."
    elif "Res5ROIHeads" in options:
        source = "roi_heads.res5."
    expected = {
        name.removeprefix(source): value for name, value in weights.items() if name.startswith(source)
    }
    assert expected
    for name in ("subject_head", "object_head", "predicate_head"):
        head = model.relation_head.pair_classifier.get_submodule(name).state_dict()
        assert head.keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in head.items())
    for name, value in model.relation_backbone.state_dict().items():
        assert torch.equal(value, weights[f"backbone.{name}"]), name


def test_the_heads_are_trained_apart(tiny_config: TinyConfig) -> None:
    classifier = make_model(tiny_config()).relation_head.pair_classifier
    heads = (classifier.subject_head, classifier.object_head, classifier.predicate_head)
    assert len({id(parameter) for head in heads for parameter in head.parameters()}) == 3 * 4


@every_kind
def test_classes_of_given_boxes_are_the_mean_over_the_stages(
    tiny_config: TinyConfig, options: list[str]
) -> None:
    model = make_model(config(tiny_config, options)).eval()
    model.task = "sgcls"
    inputs = batch()
    with torch.no_grad():
        found = [output["instances"] for output in model(inputs)]
        for given, classified in zip(inputs, found, strict=True):
            # One image and one box at a time.
            maps = model.backbone(model.preprocess_image([given]).tensor)
            for row, box in enumerate(given["instances"].gt_boxes.tensor):
                heads = model.roi_heads
                if "Res5ROIHeads" in options:
                    region = heads.pooler([maps["res4"]], [Boxes(box[None])])
                    logits = [heads.box_predictor.cls_score(heads.res5(region).mean(dim=(2, 3)))]
                else:
                    region = heads.box_pooler([maps[f"p{i}"] for i in (2, 3, 4, 5)], [Boxes(box[None])])
                    several = isinstance(heads.box_head, nn.ModuleList)
                    stages = (
                        zip(heads.box_head, heads.box_predictor, strict=True)
                        if several
                        else [(heads.box_head, heads.box_predictor)]
                    )
                    logits = [predictor.cls_score(head(region)) for head, predictor in stages]
                    assert len(logits) == (3 if several else 1)
                mean = torch.stack([x.softmax(dim=1) for x in logits]).mean(dim=0)[0, :-1]
                assert classified.scores[row] == pytest.approx(mean.max().item(), abs=1e-5)
                assert classified.pred_classes[row] == mean.argmax()


@pytest.mark.parametrize("options", [MASK, [*CASCADE, *MASK], [*C4, *MASK]], ids=["mask", "cascade", "C4"])
def test_masks_come_with_the_detections(tiny_config: TinyConfig, options: list[str]) -> None:
    cfg = config(tiny_config, options)
    model = make_model(cfg).eval()
    inputs = make_input(0, [])
    inputs["height"], inputs["width"] = 150, 120
    found = model([inputs])[0]["instances"]
    assert len(found) > 0 and found.pred_masks.shape == (len(found), 150, 120)
    assert found.pred_masks.dtype == torch.bool and found.pred_masks.any()
    # The masks are those of the detector alone.
    with torch.no_grad():
        images = model.preprocess_image([inputs])
        maps = model.backbone(images.tensor)
        raw, _ = model.roi_heads(images, maps, model.proposal_generator(images, maps, None)[0], None)
    alone = detector_postprocess(raw[0], 150, 120)
    assert torch.equal(alone.pred_masks, found.pred_masks)
    assert torch.equal(alone.pred_boxes.tensor, found.pred_boxes.tensor)


def test_no_masks_are_made_in_training(tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(config(tiny_config, MASK)).train()

    def forbidden(*_: Any) -> Any:
        raise AssertionError("a mask was made")

    monkeypatch.setattr(model.roi_heads.mask_head, "forward", forbidden)
    with EventStorage(0):
        model(batch())
    with pytest.raises(AssertionError, match="a mask"):
        model.eval()(batch())


def test_images_without_entities_work_for_every_kind(tiny_config: TinyConfig) -> None:
    for options in KINDS.values():
        model = make_model(tiny_config(*options, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "1.1")).eval()
        output = model([make_input(0, [])])[0]
        assert len(output["instances"]) == len(output["relations"]) == 0
        model.task = "sgcls"
        assert len(model([make_input(0, [])])[0]["instances"]) == 0


def test_features_before_the_last_relu(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config(f"{HEAD}.VISUAL.FEATURES_BEFORE_RELU", "True"))
    plain = make_model(tiny_config())
    regions = torch.randn(20, 16, 7, 7)
    with torch.no_grad():
        for name in ("subject_head", "object_head", "predicate_head"):
            head = model.relation_head.pair_classifier.get_submodule(name)
            other = plain.relation_head.pair_classifier.get_submodule(name)
            assert head.state_dict().keys() == other.state_dict().keys()
            other.load_state_dict(head.state_dict())
            hidden = torch.relu(regions.flatten(1) @ head.fc1.weight.T + head.fc1.bias)
            features = hidden @ head.fc2.weight.T + head.fc2.bias
            assert torch.allclose(head(regions), features, atol=1e-5) and (features < 0).any()
            assert torch.allclose(other(regions), features.relu(), atol=1e-5)
    # Detector scores use the ReLU.
    assert isinstance(model.roi_heads.box_head[-1], nn.ReLU)


def test_features_before_the_relu_of_other_heads_are_refused(tiny_config: TinyConfig) -> None:
    with pytest.raises(ValueError, match="FEATURES_BEFORE_RELU"):
        make_model(tiny_config(*C4, f"{HEAD}.VISUAL.FEATURES_BEFORE_RELU", "True"))
    with pytest.raises(ValueError, match="Sequential"):
        before_last_relu(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["MODEL.ROI_BOX_HEAD.NUM_FC", "0", "MODEL.ROI_BOX_HEAD.NUM_CONV", "1"], "FastRCNNConvFCHead"),
        ([*CASCADE, "MODEL.ROI_BOX_HEAD.NUM_FC", "0", "MODEL.ROI_BOX_HEAD.NUM_CONV", "1"], "Cascade"),
        (["MODEL.KEYPOINT_ON", "True"], "StandardROIHeads with FastRCNNConvFCHead and keypoints"),
    ],
)
def test_other_roi_heads_are_refused_by_name(tiny_config: TinyConfig, options: list[str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make_model(tiny_config(*options))


def test_unknown_modules_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="got Identity with NoneType"):
        region_parts(nn.Identity())


def test_a_detector_without_proposals_needs_detections(tiny_config: TinyConfig) -> None:
    cfg = tiny_config("MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals", "MODEL.LOAD_PROPOSALS", "True")
    model = make_model(cfg).eval()
    with pytest.raises(ValueError, match="DETECTION_FILES"):
        model([make_input(0, [])])
    inputs = make_input(0, [])
    found = Instances((96, 96))
    found.pred_boxes = Boxes(torch.tensor([[0.0, 0, 20, 20], [10, 10, 50, 60]]))
    found.scores, found.pred_classes = torch.tensor([0.9, 0.8]), torch.tensor([0, 1])
    inputs["detections"] = found
    assert len(model([inputs])[0]["relations"]) > 0


def test_rotated_boxes_are_refused(tiny_config: TinyConfig) -> None:
    from detectron2.modeling.roi_heads.rotated_fast_rcnn import RROIHeads

    standard = make_model(tiny_config()).roi_heads
    rotated = RROIHeads.__new__(RROIHeads)
    rotated.__dict__.update(standard.__dict__)
    assert isinstance(rotated.box_predictor, FastRCNNOutputLayers)
    assert isinstance(rotated.box_predictor.box2box_transform, Box2BoxTransform)
    with pytest.raises(ValueError, match="got RROIHeads"):
        region_parts(rotated)
