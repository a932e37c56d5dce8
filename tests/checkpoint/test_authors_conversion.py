"""A converted model computes the same as the authors' network with the original tensors."""

from dataclasses import dataclass
from itertools import permutations

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes
from torch import Tensor

from reldn_d2.checkpoint.importers import convert
from reldn_d2.engine import load_config
from reldn_d2.modeling import RelDN
from reldn_d2.structures import EntityBatch, Pairs
from tests.builders.authors_checkpoints import CONFIGS, Widths, random_weights, reldn_shapes
from tests.builders.authors_network import (
    Weights,
    convolution,
    fpn,
    linear,
    predicate_logits,
    region_features,
    spatial_numbers,
    vgg,
)

WIDTHS = Widths()
HEIGHT, WIDTH = 96, 64
# Boxes of two images, in pixels.
BOXES = [
    [[3.0, 5, 40, 60], [10, 8, 30, 90], [1, 1, 60, 20]],
    [[20.0, 30, 50, 70], [5, 5, 62, 94]],
]
ENTITY_CLASSES = [[0, 3, 5], [2, 1]]


@dataclass
class Converted:
    """A checkpoint of the authors, and the model of a config with its converted tensors."""

    weights: Weights
    model: RelDN
    vgg: bool
    spatial: bool

    def maps(self, body: str, x: Tensor) -> dict[str, Tensor]:
        if self.vgg:
            return {"conv5": vgg(self.weights, body, x)}
        return fpn(self.weights, body, x, WIDTHS.blocks, WIDTHS.groups)


@pytest.fixture(scope="module", params=["x101_fpn", "vgg16", "vgg16 without spatial"])
def converted(request: pytest.FixtureRequest) -> Converted:
    is_vgg, spatial = request.param != "x101_fpn", request.param != "vgg16 without spatial"
    file = "vg/reldn_x101_fpn.yaml"
    if is_vgg:
        file = "vrd/reldn_vgg16_coco.yaml" if spatial else "vg/reldn_vgg16.yaml"
    options = WIDTHS.vgg_options() if is_vgg else WIDTHS.fpn_options()
    model = build_model(load_config(str(CONFIGS / file), options)).eval()
    weights = random_weights(reldn_shapes(WIDTHS, is_vgg, spatial))
    model.load_state_dict(convert(weights, model.state_dict()), strict=True)
    return Converted(weights, model, is_vgg, spatial)


def images() -> Tensor:
    return torch.randn(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_both_backbones(converted: Converted) -> None:
    bodies = {"Conv_Body": converted.model.backbone, "Prd_RCNN.Conv_Body": converted.model.relation_backbone}
    for name, backbone in bodies.items():
        found, expected = backbone(images()), converted.maps(name, images())
        for level, values in expected.items():
            assert values.std() > 1e-3
            assert torch.allclose(found[level], values, rtol=1e-4, atol=1e-4 * values.abs().max().item())


@torch.no_grad()
def test_proposals_come_in_the_order_of_detectron2s_anchors(converted: Converted) -> None:
    channels = WIDTHS.vgg[-1] if converted.vgg else WIDTHS.fpn
    x = torch.randn(2, channels, 6, 4)
    head = converted.model.proposal_generator.rpn_head
    scores, deltas = (tensors[0] for tensors in head([x]))
    name = "RPN.RPN" if converted.vgg else "RPN.FPN_RPN"
    hidden = convolution(converted.weights, f"{name}_conv", x).relu()
    their_scores = convolution(converted.weights, f"{name}_cls_score", hidden)
    their_deltas = convolution(converted.weights, f"{name}_bbox_pred", hidden)
    sizes, ratios = (5 if converted.vgg else 1), 3
    assert scores.shape[1] == sizes * ratios
    for size in range(sizes):
        for ratio in range(ratios):
            ours, theirs = size * ratios + ratio, ratio * sizes + size
            assert torch.allclose(scores[:, ours], their_scores[:, theirs], atol=1e-5)
            for i in range(4):
                assert torch.allclose(deltas[:, 4 * ours + i], their_deltas[:, 4 * theirs + i], atol=1e-5)


@torch.no_grad()
def test_detector_classes_and_boxes(converted: Converted) -> None:
    regions = torch.randn(9, WIDTHS.vgg[-1] if converted.vgg else WIDTHS.fpn, 7, 7)
    heads = converted.model.roi_heads
    scores, deltas = heads.box_predictor(heads.box_head(regions))
    features = region_features(converted.weights, "Box_Head", regions).relu()
    their_scores = linear(converted.weights, "Box_Outs.cls_score", features)
    their_boxes = linear(converted.weights, "Box_Outs.bbox_pred", features)
    assert scores.shape == (9, WIDTHS.classes + 1) and deltas.shape == (9, 4 * WIDTHS.classes)
    assert torch.allclose(scores[:, -1], their_scores[:, 0], atol=1e-5)
    for c in range(WIDTHS.classes):
        assert torch.allclose(scores[:, c], their_scores[:, c + 1], atol=1e-5)
        for i in range(4):
            assert torch.allclose(deltas[:, 4 * c + i], their_boxes[:, 4 * (c + 1) + i], atol=1e-5)


@torch.no_grad()
def test_predicates_of_pairs(converted: Converted) -> None:
    """Every pair of two images, one at a time, against the converted relation head on all at once."""
    classifier = converted.model.relation_head.pair_classifier
    maps = converted.maps("Conv_Body", images())
    predicate_maps = converted.maps("Prd_RCNN.Conv_Body", images())
    counts = [len(boxes) for boxes in BOXES]
    every_box = torch.tensor([box for boxes in BOXES for box in boxes])
    batch = EntityBatch(
        boxes=every_box,
        regions=every_box,
        classes=torch.tensor([c for classes in ENTITY_CLASSES for c in classes]),
        scores=torch.ones(sum(counts)),
        image=torch.tensor([0] * counts[0] + [1] * counts[1]),
        image_sizes=torch.tensor([[float(HEIGHT), float(WIDTH)]] * 2),
        frames=[(HEIGHT, WIDTH)] * 2,
        counts=counts,
    )
    ends = [(0, 1), (0, 2), (1, 2), (3, 4)]
    pairs = Pairs.both_directions(*torch.tensor(ends).T)
    found = classifier(predicate_maps, batch, classifier.entity_terms(maps, batch), pairs)
    rows = {(int(s), int(o)): row for row, (s, o) in enumerate(zip(pairs.subject, pairs.object, strict=True))}
    weights, start = converted.weights, 0
    for image, (boxes, classes) in enumerate(zip(BOXES, ENTITY_CLASSES, strict=True)):

        def pool(maps: dict[str, Tensor], box: list[float], image: int = image) -> Tensor:
            levels = [maps[name][image : image + 1] for name in classifier.in_features]
            pooled: Tensor = classifier.pooler(levels, [Boxes(torch.tensor([box]))])
            return pooled

        for s, o in permutations(range(len(boxes)), 2):
            union = [min(a, b) for a, b in zip(boxes[s][:2], boxes[o][:2], strict=True)]
            union += [max(a, b) for a, b in zip(boxes[s][2:], boxes[o][2:], strict=True)]
            expected = predicate_logits(
                weights,
                region_features(weights, "S_Head", pool(maps, boxes[s]))[0],
                region_features(weights, "O_Head", pool(maps, boxes[o]))[0],
                region_features(weights, "Prd_RCNN.Box_Head", pool(predicate_maps, union))[0],
                torch.tensor(spatial_numbers(boxes[s], boxes[o], HEIGHT, WIDTH)),
                classes[s] * WIDTHS.classes + classes[o],
                converted.spatial,
            )
            ours = found[rows[start + s, start + o]]
            assert expected.std() > 0.1
            assert torch.allclose(ours[-1], expected[0], atol=1e-4)
            assert torch.allclose(ours[:-1], expected[1:], atol=1e-4)
        start += len(boxes)


def test_conversion_does_not_change_its_input(converted: Converted) -> None:
    again = random_weights(reldn_shapes(WIDTHS, converted.vgg, converted.spatial))
    assert all(torch.equal(value, again[name]) for name, value in converted.weights.items())


def test_no_tensor_is_a_view_of_a_larger_one(converted: Converted) -> None:
    for name, value in convert(converted.weights, converted.model.state_dict()).items():
        assert value.untyped_storage().nbytes() == value.numel() * 4, name
