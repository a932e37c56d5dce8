"""RelDN on detectors of other projects: levels that nothing pools, several branches, replaced layers, TTA."""

import logging
from copy import deepcopy
from typing import Any

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    Backbone,
    GeneralizedRCNN,
    GeneralizedRCNNWithTTA,
    build_model,
    build_resnet_backbone,
)
from detectron2.modeling.backbone.fpn import FPN, LastLevelP6P7
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reldn_d2.modeling import RelDN, RelDNWithTTA
from reldn_d2.modeling.backbone_checks import check_one_map_per_image, freeze_unused_levels
from tests.builders.tiny_models import TinyConfig, calm_down, make_input, make_model

LOGGER = "reldn_d2.modeling.backbone_checks"


@BACKBONE_REGISTRY.register()
def pyramid_with_p6_and_p7(cfg: Any, input_shape: ShapeSpec) -> FPN:
    """A pyramid whose two upper levels have layers of their own, as that of CenterNet2 or RetinaNet."""
    bottom_up = build_resnet_backbone(cfg, input_shape)
    channels = cfg.MODEL.FPN.OUT_CHANNELS
    return FPN(
        bottom_up,
        cfg.MODEL.FPN.IN_FEATURES,
        channels,
        top_block=LastLevelP6P7(channels, channels, in_feature="p5"),
    )


@BACKBONE_REGISTRY.register()
class ThreeBranches(Backbone):
    """Maps of three branches one after the other, in training as in TridentNet, or always."""

    def __init__(self, cfg: Any, input_shape: ShapeSpec) -> None:
        super().__init__()
        self.layer = nn.Conv2d(input_shape.channels, 8, 3, stride=8, padding=1)
        self.always = cfg.MODEL.RESNETS.DEPTH == 101

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = self.layer(images)
        return {"map": torch.cat([maps] * 3) if self.training or self.always else maps}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"map": ShapeSpec(channels=8, stride=8)}


BRANCHES = [
    *("MODEL.BACKBONE.NAME", "ThreeBranches", "MODEL.RPN.IN_FEATURES", "['map']"),
    *("MODEL.ROI_HEADS.IN_FEATURES", "['map']", "MODEL.ANCHOR_GENERATOR.SIZES", "[[32]]"),
]
LEVELS = {
    "own layers above": (
        [
            *("MODEL.BACKBONE.NAME", "pyramid_with_p6_and_p7"),
            *("MODEL.RPN.IN_FEATURES", "['p2','p3','p4','p5','p6','p7']"),
            *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16],[21],[40],[64],[96],[128]]"),
        ],
        {"top_block.p6", "top_block.p7"},
    ),
    "fewer levels pooled": (
        ["MODEL.ROI_HEADS.IN_FEATURES", "['p3','p4']"],
        {"fpn_lateral2", "fpn_output2", "fpn_output5"},
    ),
}


@pytest.mark.parametrize(("options", "unused"), list(LEVELS.values()), ids=list(LEVELS))
def test_levels_that_nothing_pools_are_not_trained(
    options: list[str], unused: set[str], tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        model = make_model(tiny_config(*options)).train()
    (record,) = [record for record in caplog.records if record.name == LOGGER]
    named = set(record.getMessage().rpartition(": ")[2].split(", "))
    assert named == unused
    with EventStorage():
        losses = model([make_input(4, [(0, 1, 2)])])
    sum(losses.values()).backward()
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in parameters.values()), "each trained parameter has a gradient"
    assert not any(name.startswith(f"relation_backbone.{x}") for name in parameters for x in unused)
    torch.nn.utils.clip_grad_value_(parameters.values(), 1.0)
    # The detector of the same config keeps its levels.
    assert model.state_dict().keys() >= {f"backbone.{x}.weight" for x in unused}


def test_finding_unused_levels_leaves_no_trace(tiny_config: TinyConfig, monkeypatch: Any) -> None:
    cfg = tiny_config("MODEL.RESNETS.NORM", "BN", "MODEL.ROI_RELATION_HEAD.FREEZE_NORM", "False")
    model = make_model(cfg)
    again_state = torch.get_rng_state()
    monkeypatch.setattr("reldn_d2.modeling.meta_arch.freeze_unused_levels", lambda *_: None)
    unchecked = make_model(cfg)
    assert torch.equal(again_state, torch.get_rng_state())
    for name, value in unchecked.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0, equal_nan=True)
    assert all(p.grad is None for p in model.parameters())


@BACKBONE_REGISTRY.register()
class OnlyLargeImages(Backbone):
    """Refuses small images, and has batch normalisation that needs more than one pixel in training."""

    def __init__(self, cfg: Any, input_shape: ShapeSpec) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 32, stride=32), nn.BatchNorm2d(8))
        self.least = 96 if cfg.MODEL.RESNETS.DEPTH == 101 else 0

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if images.shape[-1] < self.least:
            raise RuntimeError("too small")
        return {"map": self.layers(images)}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"map": ShapeSpec(channels=8, stride=32)}


@pytest.mark.parametrize("depth", ["50", "101"])
def test_a_backbone_that_takes_no_small_image_is_built_with_a_warning(
    depth: str, tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    options = [*BRANCHES, "MODEL.BACKBONE.NAME", "OnlyLargeImages", "MODEL.RESNETS.DEPTH", depth]
    with caplog.at_level(logging.INFO, LOGGER):
        model = build_model(tiny_config(*options, "MODEL.ROI_RELATION_HEAD.FREEZE_NORM", "False"))
    assert isinstance(model, RelDN)
    text = "The predicate backbone, OnlyLargeImages, can't take an image of 32x32 (RuntimeError: too small)"
    assert (text in caplog.text) == (depth == "101")
    assert all(p.requires_grad for p in model.relation_backbone.parameters())
    assert model.relation_backbone.layers[1].training


class Strange(Backbone):
    """A map for pooling, and something else that Detectron2 accepts."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.unused, self.kind = nn.Conv2d(3, 8, 8, stride=8), nn.Conv2d(1, 1, 1), kind
        self.register_buffer("grid", torch.zeros(1) if kind == "other buffer" else None)

    @property
    def size_divisibility(self) -> int:
        return 48 if self.kind == "divisible by 48" else 0

    def forward(self, images: Tensor) -> dict[str, Any]:
        if self.kind == "divisible by 48":
            assert images.shape[-1] % 48 == 0
        if "buffer" in self.kind:
            self.grid = torch.zeros(images.shape[-1])
        maps = {"map": self.layer(images)}
        extra = {"extra map": torch.zeros(16, 4, 4), "extra number": torch.zeros(()), "extra None": None}
        return maps | ({"extra": extra[self.kind]} if self.kind in extra else {})

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"map": ShapeSpec(channels=8, stride=8)}


KINDS = ["extra map", "extra number", "extra None", "late buffer", "other buffer", "divisible by 48"]


@pytest.mark.parametrize("kind", KINDS)
def test_strange_backbones_are_looked_at(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    backbone = Strange(kind)
    before = backbone.grid
    with caplog.at_level(logging.INFO, LOGGER):
        freeze_unused_levels(backbone, None, 3)
        check_one_map_per_image(backbone, ["map"], 3)
    (record,) = [record for record in caplog.records if record.name == LOGGER]
    assert record.getMessage().endswith("(map) depends on them: unused")
    assert backbone.grid is before and (before is None or before.tolist() == [0.0])


def test_a_backbone_without_parameters_is_accepted() -> None:
    class Buffers(Strange):
        def __init__(self) -> None:
            super().__init__("plain")
            del self.layer, self.unused

        def forward(self, images: Tensor) -> dict[str, Any]:
            return {"map": images[:, :, ::8, ::8]}

    freeze_unused_levels(Buffers(), None, 3)


def test_all_levels_in_use_say_nothing(tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        make_model(tiny_config())
    assert not [record for record in caplog.records if record.name == LOGGER]


def test_several_branches_are_refused_before_training(tiny_config: TinyConfig) -> None:
    message = r"^ThreeBranches gives 3 feature maps map for one image in training.*reldn cache-detections"
    with pytest.raises(ValueError, match=message):
        build_model(tiny_config(*BRANCHES))
    # Without a predicate backbone the detector's backbone is looked at, as it runs.
    cfg = tiny_config(*BRANCHES, "MODEL.RESNETS.DEPTH", "101")
    with pytest.raises(ValueError, match="for one image in inference"):
        check_one_map_per_image(ThreeBranches(cfg, ShapeSpec(channels=3)).eval(), ["map"], 3)


def test_a_missing_map_is_named(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config())
    head = model.relation_head
    head.pair_classifier.in_features = ["p2", "p9"]
    parts = {"backbone": model.backbone, "roi_heads": model.roi_heads}
    with pytest.raises(
        ValueError, match="FPN has no feature map p9, which the relation head pools from: it has p2"
    ):
        RelDN(
            **parts,
            proposal_generator=model.proposal_generator,
            pixel_mean=[0.0] * 3,
            pixel_std=[1.0] * 3,
            relation_backbone=model.relation_backbone,
            relation_head=head,
        )


# --- frozen parts


def modes(model: RelDN) -> set[bool]:
    layers = [x for part in (model.backbone, model.roi_heads) for x in part.modules()]
    norms = (nn.BatchNorm2d, nn.SyncBatchNorm)
    layers += [x for x in model.relation_backbone.modules() if isinstance(x, norms)]  # type: ignore[union-attr]
    return {x.training for x in layers}


def test_synchronised_norms_stay_frozen(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config())
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert any(isinstance(x, nn.SyncBatchNorm) for x in model.relation_backbone.modules())
    assert modes(model.train()) == {False}
    assert not any(p.requires_grad for n, p in model.named_parameters() if ".norm" in n or "bn" in n)


def test_a_replaced_backbone_is_frozen_and_said(
    tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model(tiny_config())
    model.backbone = deepcopy(model.backbone).requires_grad_(True)
    with caplog.at_level(logging.WARNING):
        model.train()
    assert modes(model) == {False} and not any(p.requires_grad for p in model.backbone.parameters())
    assert "FPN required a gradient and were frozen again" in caplog.text
    caplog.clear()
    model.train()
    assert not caplog.text


def test_a_detector_that_should_train_is_frozen_and_said(
    tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model(tiny_config())
    model.roi_heads.requires_grad_(True)
    model.train()
    assert "StandardROIHeads required a gradient" in caplog.text and "as stage 1" in caplog.text
    assert not any(p.requires_grad for p in model.roi_heads.parameters())


# --- detected instances, test-time augmentation


def test_detected_instances_are_used_as_those_of_the_input(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config()).eval()
    inputs = [make_input(4, []), make_input(3, [], seed=1)]
    found = [
        Instances((96, 96), pred_boxes=t.gt_boxes, pred_classes=t.gt_classes, scores=torch.rand(len(t)))
        for t in (x["instances"] for x in inputs)
    ]
    expected = model([{**x, "detections": y} for x, y in zip(inputs, found, strict=True)])
    given = model.inference(inputs, found, do_postprocess=True)
    for a, b in zip(expected, given, strict=True):
        assert torch.equal(a["relations"].scores, b["relations"].scores)
        assert torch.equal(a["instances"].pred_boxes.tensor, b["instances"].pred_boxes.tensor)
    model.task = "prdcls"
    with pytest.raises(ValueError, match="detected_instances are for sgdet"):
        model.inference(inputs, found)


AUGMENTED = ["TEST.AUG.MIN_SIZES", "(96, 128)", "TEST.AUG.MAX_SIZE", "128", "TEST.AUG.FLIP", "True"]


def test_the_detector_alone_shares_the_parameters(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config()).eval()
    detector = model.detector()
    assert type(detector) is GeneralizedRCNN and detector.backbone is model.backbone
    torch.testing.assert_close(detector.pixel_mean, model.pixel_mean)
    inputs = [make_input(0, [])]
    alone, together = detector(inputs)[0]["instances"], model(inputs)[0]["instances"]
    assert len(alone)
    torch.testing.assert_close(alone.pred_boxes.tensor, together.pred_boxes.tensor)


def test_test_time_augmentation_finds_relationships_of_merged_boxes(tiny_config: TinyConfig) -> None:
    cfg = tiny_config(*AUGMENTED)
    model = make_model(cfg).eval()
    inputs = {**make_input(0, []), "height": 192, "width": 192}
    merged = GeneralizedRCNNWithTTA(cfg, model.detector())([inputs])[0]["instances"]
    output = RelDNWithTTA(cfg, model)([inputs])[0]
    found, relations = output["instances"], output["relations"]
    assert len(found) == len(merged) > 1 and found.image_size == (192, 192)
    torch.testing.assert_close(found.pred_boxes.tensor, merged.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
    assert torch.equal(found.pred_classes, merged.pred_classes)
    assert len(relations) and relations.subject_index.max() < len(found)


def test_test_time_augmentation_keeps_masks(tiny_config: TinyConfig) -> None:
    mask = ["MODEL.MASK_ON", "True", "MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead"]
    mask += ["MODEL.ROI_MASK_HEAD.NUM_CONV", "1", "MODEL.ROI_MASK_HEAD.CONV_DIM", "8"]
    cfg = tiny_config(*AUGMENTED, *mask)
    found = RelDNWithTTA(cfg, make_model(cfg).eval())([make_input(0, [])])[0]["instances"]
    assert found.pred_masks.shape == (len(found), 96, 96) and len(found)


class Checkpointed(Backbone):
    """Its second layer hides its parameters from the graph, as activation checkpoints do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 8, stride=8), nn.Conv2d(4, 4, 1)
        self.unused = nn.Conv2d(4, 4, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"map": checkpoint(self.second, self.first(images), use_reentrant=True)}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"map": ShapeSpec(channels=4, stride=8)}


def test_layers_behind_an_activation_checkpoint_train() -> None:
    backbone = Checkpointed()
    freeze_unused_levels(backbone, None, 3)
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"first.weight", "first.bias", "second.weight", "second.bias"}


def test_test_time_augmentation_needs_detected_entities(tiny_config: TinyConfig) -> None:
    model = make_model(tiny_config("MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls"))
    calm_down(model)
    with pytest.raises(ValueError, match="prdcls gives the boxes"):
        RelDNWithTTA(tiny_config(*AUGMENTED), model)
