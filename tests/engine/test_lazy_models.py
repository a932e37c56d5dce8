"""`relation_model`: RelDN for the detectors of Detectron2's own configs in Python."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import ResNet
from detectron2.modeling.roi_heads.rotated_fast_rcnn import RROIHeads
from detectron2.utils.events import EventStorage
from omegaconf import DictConfig

from reldn_d2.model_zoo import get_detectron2_config_file
from reldn_d2.modeling import RelDN, relation_model
from reldn_d2.modeling.region_heads import region_parts
from tests.builders.tiny_models import calm_down, make_input

COMMON = "common/models/{}.py"


def detector(name: str) -> DictConfig:
    """A model of Detectron2 with few channels."""
    model = LazyConfig.load(get_detectron2_config_file(COMMON.format(name))).model
    heads = model.roi_heads
    heads.num_classes, heads.batch_size_per_image = 6, 16
    model.proposal_generator.post_nms_topk = (60, 30)
    if name == "mask_rcnn_c4":
        heads.res5.update(num_blocks=2, stride_per_block=[2, 1], bottleneck_channels=8, out_channels=24)
        heads.pooler.output_size = 4
        predictors = [heads.box_predictor]
    else:
        model.backbone.bottom_up.stages = L(ResNet.make_default_stages)(depth=18, norm="FrozenBN")
        model.backbone.out_channels = model.proposal_generator.head.in_channels = 8
        box_heads = heads.box_heads if "box_heads" in heads else [heads.box_head]
        predictors = heads.box_predictors if "box_heads" in heads else [heads.box_predictor]
        for head, predictor in zip(box_heads, predictors, strict=True):
            head.input_shape = ShapeSpec(channels=8, height=7, width=7)
            head.fc_dims = [20, 12]
            predictor.input_shape = ShapeSpec(channels=12)
        heads.mask_head.input_shape = ShapeSpec(channels=8, width=14, height=14)
        heads.mask_head.conv_dims = [4]
    for predictor in predictors:
        predictor.test_score_thresh, predictor.test_topk_per_image = 0.0, 6
    return model


def without_masks(model: DictConfig) -> DictConfig:
    for name in ("mask_in_features", "mask_pooler", "mask_head"):
        model.roi_heads.pop(name, None)
    return model


def build(model: DictConfig) -> RelDN:
    torch.manual_seed(0)
    built: RelDN = instantiate(model)
    calm_down(built)
    counts = np.random.default_rng(0).integers(0, 5, (6, 6, 8))
    built.relation_head.set_predicate_counts(counts)
    return built


KINDS: dict[str, Callable[[], DictConfig]] = {
    "FPN": lambda: without_masks(detector("mask_rcnn_fpn")),
    "FPN with masks": lambda: detector("mask_rcnn_fpn"),
    "cascade": lambda: without_masks(detector("cascade_rcnn")),
    "cascade with masks": lambda: detector("cascade_rcnn"),
    "C4": lambda: without_masks(detector("mask_rcnn_c4")),
    "C4 with masks": lambda: detector("mask_rcnn_c4"),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_training_and_an_inference_step(kind: str) -> None:
    model = build(relation_model(KINDS[kind](), num_predicates=7))
    inputs = [make_input(5, [(0, 1, 2), (2, 1, 0)]), make_input(3, [(1, 0, 3)], seed=1)]
    with EventStorage(0):
        losses = model.train()(inputs)
    assert len(losses) == 4 and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    model.eval()
    for model.task in ("sgdet", "sgcls", "prdcls"):
        for output in model(inputs):
            assert len(output["relations"]) > 0
    # What is copied is what `region_parts` finds in the built model.
    parts, classifier = region_parts(model.roi_heads), model.relation_head.pair_classifier
    assert classifier.in_features == parts.in_features and str(classifier.pooler) == str(parts.pooler)
    assert classifier.visual.fuse.in_features == 3 * parts.feature_size
    for head in (classifier.subject_head, classifier.object_head, classifier.predicate_head):
        assert str(head) == str(parts.head)
        assert not {id(p) for p in head.parameters()} & {id(p) for p in model.roi_heads.parameters()}


def test_the_heads_of_a_cascade_are_those_of_its_last_stage() -> None:
    cfg = KINDS["cascade"]()
    cfg.roi_heads.box_heads[2].fc_dims = [20, 14]
    cfg.roi_heads.box_predictors[2].input_shape = ShapeSpec(channels=14)
    classifier = build(relation_model(cfg, num_predicates=7)).relation_head.pair_classifier
    assert classifier.subject_head.fc2.out_features == 14 and classifier.visual.fuse.in_features == 3 * 14


@pytest.mark.parametrize("kind", ["FPN", "cascade", "C4"])
def test_copies_follow_overrides(kind: str, tmp_path: Path) -> None:
    """As on the command line, after RelDN was described; also through a saved and loaded config."""
    cfg = DictConfig({"model": relation_model(KINDS[kind](), num_predicates=7)})
    change = {
        "FPN": ["model.roi_heads.box_head.fc_dims=[10]", "model.roi_heads.box_pooler.sampling_ratio=2"],
        "cascade": ["model.roi_heads.box_heads.2.fc_dims=[10]", "model.roi_heads.num_classes=4"],
        "C4": ["model.roi_heads.res5.out_channels=10", "model.roi_heads.pooler.sampling_ratio=2"],
    }[kind]
    LazyConfig.apply_overrides(cfg, change)
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    for found in (cfg, LazyConfig.load(str(tmp_path / "config.yaml"))):
        head = found.model.relation_head
        assert head.pair_classifier.visual.feature_size == 10
        assert head.pair_classifier.semantic.num_classes == found.model.roi_heads.num_classes
        assert (
            head.pair_classifier.pooler.sampling_ratio
            == found.model.roi_heads["pooler" if kind == "C4" else "box_pooler"].sampling_ratio
        )
        classifier = instantiate(head).pair_classifier
        assert classifier.visual.subject_skip.in_features == 10
        (*_, last) = classifier.object_head.state_dict().values()
        assert last.shape[0] == 10


def test_its_place_in_a_config_is_free() -> None:
    cfg = DictConfig({"stages": {"second": relation_model(KINDS["FPN"](), num_predicates=7)}})
    assert isinstance(instantiate(cfg.stages.second), RelDN)


def test_the_detector_stays_as_it_is() -> None:
    cfg = KINDS["cascade with masks"]()
    before = str(cfg)
    relation_model(cfg, num_predicates=7).roi_heads.num_classes = 3
    assert str(cfg) == before and cfg.roi_heads.num_classes == 6


def _no_fc(cfg: Any) -> None:
    cfg.roi_heads.box_head.update(conv_dims=[8], fc_dims=[])


def _foreign_head(cfg: Any) -> None:
    cfg.roi_heads.box_head = L(torch.nn.Linear)(in_features=1, out_features=1)


def _rotated(cfg: Any) -> None:
    cfg.roi_heads._target_ = f"{RROIHeads.__module__}.RROIHeads"


def _foreign_roi_heads(cfg: Any) -> None:
    cfg.roi_heads._target_ = torch.nn.Module


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mask_rcnn_fpn", _no_fc, "got StandardROIHeads with FastRCNNConvFCHead"),
        ("mask_rcnn_fpn", _foreign_head, "got StandardROIHeads with Linear"),
        ("mask_rcnn_fpn", _rotated, "got RROIHeads"),
        ("mask_rcnn_fpn", _foreign_roi_heads, "got Module with FastRCNNConvFCHead"),
        ("keypoint_rcnn_fpn", lambda cfg: None, "StandardROIHeads with FastRCNNConvFCHead and keypoints"),
        ("panoptic_fpn", lambda cfg: None, "not PanopticFPN with sem_seg_head.*model.pop"),
        ("retinanet", lambda cfg: None, "not RetinaNet with .*cache-detections"),
    ],
)
def test_other_detectors_are_refused_by_name(name: str, change: Callable[[Any], None], message: str) -> None:
    cfg = LazyConfig.load(get_detectron2_config_file(COMMON.format(name))).model
    change(cfg)
    with pytest.raises(ValueError, match=message):
        relation_model(cfg, num_predicates=7)


def test_a_panoptic_detector_without_its_segmentation_is_accepted() -> None:
    cfg = without_masks(LazyConfig.load(get_detectron2_config_file(COMMON.format("panoptic_fpn"))).model)
    cfg.pop("sem_seg_head")
    assert relation_model(cfg, num_predicates=7).roi_heads.box_head.fc_dims == [1024, 1024]


@pytest.mark.parametrize("kind", ["FPN", "cascade", "C4"])
def test_heads_start_as_copies_of_the_detectors(kind: str) -> None:
    cfg = KINDS[kind]()
    weights = instantiate(cfg).state_dict()
    model = build(relation_model(cfg, num_predicates=7))
    model.load_state_dict(weights, strict=False)
    expected = region_parts(model.roi_heads).head.state_dict()
    for name in ("subject_head", "object_head", "predicate_head"):
        copied = model.relation_head.pair_classifier.get_submodule(name).state_dict()
        assert copied.keys() == expected.keys() and expected
        assert all(torch.equal(copied[key], expected[key]) for key in expected)
