"""RoIAlign of inclusive boxes, proposals, spatial features and detection of the published code."""

import math

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, ImageList, Instances
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.modeling.published.boxes import continuous, inclusive
from reldn_d2.modeling.published.image_frame import ImageFrame
from reldn_d2.modeling.published.proposals import RelDNPublishedRPN
from reldn_d2.modeling.published.relation_head import published_spatial_features
from reldn_d2.modeling.published.roi_heads import InclusivePooler, RelDNPublishedROIHeads
from tests.builders.tiny_models import TinyConfig
from tests.references.published import (
    slow_clip,
    slow_decode,
    slow_level,
    slow_roi_align,
    slow_spatial,
    slow_suppress,
)


def random_boxes(count: int, seed: int, size: float = 60.0) -> torch.Tensor:
    """(count, 4) inclusive boxes."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * size * 0.8 - 4
    extent = torch.rand(count, 2, generator=generator) ** 2 * size
    return torch.cat([corners, corners + extent], dim=1)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_pooling_one_map_equals_loops(sampling_ratio: int) -> None:
    maps = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    boxes = [random_boxes(4, 1, 90), random_boxes(3, 2, 90)]
    pooler = InclusivePooler(7, [1 / 16], sampling_ratio)
    pooled = pooler([maps], [Boxes(x) for x in boxes])
    expected = [
        slow_roi_align(maps[i].double().numpy(), box, 16, sampling_ratio)
        for i, rows in enumerate(boxes)
        for box in rows.tolist()
    ]
    np.testing.assert_allclose(pooled.numpy(), expected, atol=1e-5)


def test_pooling_a_pyramid_takes_the_level_of_each_box() -> None:
    strides = [4, 8, 16, 32]
    maps = [torch.randn(2, 2, 640 // s, 640 // s) for s in strides]
    sides = [10, 111, 112, 223, 224, 447, 448, 600]
    # In a side of w pixels, the first and the last pixel are w - 1 apart.
    boxes = torch.tensor([[3.0, 5.0, 3 + w - 1, 5 + w - 1] for w in sides])
    pooled = InclusivePooler(7, [1 / s for s in strides], 2)(maps, [Boxes(boxes), Boxes(boxes[:3])])
    level = [slow_level(box, 2, 5) for box in boxes.tolist()]
    assert level == [2, 2, 3, 3, 4, 4, 5, 5]
    for row, (image, i) in enumerate([*((0, i) for i in range(8)), *((1, i) for i in range(3))]):
        x, stride = maps[level[i] - 2][image], strides[level[i] - 2]
        expected = slow_roi_align(x.double().numpy(), boxes[i].tolist(), stride, 2)
        np.testing.assert_allclose(pooled[row].numpy(), expected, atol=1e-4)


def test_a_level_begins_a_millionth_early() -> None:
    pooler = InclusivePooler(7, [1 / 4, 1 / 8, 1 / 16, 1 / 32], 2)
    maps = [torch.full((1, 1, 640 // s, 640 // s), float(s)) for s in (4, 8, 16, 32)]
    side = 224 - 1.3e-4  # 6e-7 below 224, relatively
    pooled = pooler(maps, [Boxes(torch.tensor([[0.0, 0, side - 1, side - 1]]))])
    torch.testing.assert_close(pooled, torch.full_like(pooled, 16))


def test_boxes_thinner_than_a_pixel_and_no_boxes_are_pooled() -> None:
    pooler = InclusivePooler(7, [1 / 4, 1 / 8], 2)
    maps = [torch.full((1, 1, 16, 16), 4.0), torch.full((1, 1, 8, 8), 8.0)]
    thin = torch.tensor([[20.0, 20, 18.5, 40]])
    assert pooler(maps, [Boxes(thin)]).unique().tolist() == [4]
    assert pooler(maps, [Boxes(thin[:0])]).shape == (0, 1, 7, 7)


def published_rpn(tiny_config: TinyConfig, *opts: str) -> RelDNPublishedRPN:
    cfg = tiny_config(
        "MODEL.ANCHOR_GENERATOR.SIZES", "[[16], [32]]", "MODEL.RPN.IN_FEATURES", "['a', 'b']", *opts
    )
    shapes = {"a": ShapeSpec(channels=4, stride=4), "b": ShapeSpec(channels=4, stride=8)}
    return RelDNPublishedRPN(cfg, shapes).eval()


@pytest.mark.parametrize(("before", "after"), [(60, 35), (30, 1000)])
def test_proposals_equal_loops(tiny_config: TinyConfig, before: int, after: int) -> None:
    rpn = published_rpn(
        tiny_config, "MODEL.RPN.PRE_NMS_TOPK_TEST", str(before), "MODEL.RPN.POST_NMS_TOPK_TEST", str(after)
    )
    torch.manual_seed(3)
    maps = [torch.zeros(2, 4, 8, 12), torch.zeros(2, 4, 4, 6)]
    anchors = rpn.anchor_generator(maps)
    logits = [torch.randn(2, len(a)) for a in anchors]
    deltas = [torch.randn(2, len(a), 4) * 0.3 for a in anchors]
    deltas[0][0, 40:80, 2] = 50  # so large that it is clipped
    found = rpn.predict_proposals(anchors, logits, deltas, [(30, 45), (32, 48)])
    for n, size in enumerate([(30, 45), (32, 48)]):
        expected = []
        for level in range(2):
            boxes = [
                slow_clip(slow_decode(a, d, (1, 1, 1, 1)), *size)
                for a, d in zip(
                    inclusive(anchors[level].tensor).tolist(), deltas[level][n].tolist(), strict=True
                )
            ]
            ranked = sorted(zip(logits[level][n].tolist(), boxes, strict=True), reverse=True)[:before]
            kept = slow_suppress([box for _, box in ranked], [score for score, _ in ranked], 0.7)
            assert len(kept) < len(ranked)
            expected += [ranked[i] for i in kept]
        expected = sorted(expected, reverse=True)[:after]
        assert found[n].image_size == size
        np.testing.assert_allclose(found[n].objectness_logits.numpy(), [score for score, _ in expected])
        np.testing.assert_allclose(
            inclusive(found[n].proposal_boxes.tensor).numpy(), [box for _, box in expected], atol=1e-3
        )


def test_fewer_proposals_than_asked_for_are_all_kept(tiny_config: TinyConfig) -> None:
    rpn = published_rpn(tiny_config, "MODEL.RPN.NMS_THRESH", "1.0")
    maps = [torch.zeros(1, 4, 1, 1), torch.zeros(1, 4, 1, 1)]
    anchors = rpn.anchor_generator(maps)
    # All of them outside the image: none is empty after clipping.
    outside = [Boxes(a.tensor + 1000 + 10 * torch.arange(len(a))[:, None]) for a in anchors]
    logits = [torch.randn(1, len(a)) for a in anchors]
    (found,) = rpn.predict_proposals(outside, logits, [torch.zeros(1, len(a), 4) for a in anchors], [(9, 7)])
    # All are the last pixel; each level keeps one.
    assert found.proposal_boxes.tensor.tolist() == [[6, 8, 7, 9]] * 2


def test_proposals_are_clipped_to_the_padded_input(tiny_config: TinyConfig) -> None:
    rpn = published_rpn(tiny_config, "MODEL.RPN.POST_NMS_TOPK_TEST", "1000")
    images = ImageList(torch.zeros(1, 3, 64, 96), [(50, 70)])
    features = {"a": torch.zeros(1, 4, 16, 24), "b": torch.zeros(1, 4, 8, 12)}
    (found,), losses = rpn(images, features)
    boxes = found.proposal_boxes.tensor
    assert not losses and found.image_size == (64, 96)
    assert boxes[:, 2].max() == 96 and boxes[:, 3].max() == 64


BOX = st.tuples(*[st.floats(0, 80) for _ in range(2)], *[st.floats(-0.9, 60) for _ in range(2)])


@given(st.lists(st.tuples(BOX, BOX), max_size=5), st.integers(32, 200), st.integers(32, 200))
def test_spatial_features_equal_a_scalar_version(pairs, height: int, width: int) -> None:
    def tables(side: int) -> torch.Tensor:
        rows = [(x, y, x + w, y + h) for x, y, w, h in (pair[side] for pair in pairs)]
        return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)

    subject, object = tables(0), tables(1)
    actual = published_spatial_features(
        continuous(subject),
        continuous(object),
        torch.tensor([[height, width]]).double().expand(len(pairs), 2),
    )
    expected = [
        slow_spatial(s, o, height, width) for s, o in zip(subject.tolist(), object.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        actual, torch.tensor(expected, dtype=torch.float64).reshape(-1, 28), rtol=1e-6, atol=1e-6
    )


def test_spatial_features_by_hand() -> None:
    """Subject of 10 × 20 pixels, object of 20 × 10; positions are shares of a larger network input."""
    ln = math.log
    expected = [
        -15 / 20, -5 / 10, ln(0.5), ln(2.0), 15 / 10, 5 / 20,
        -10 / 30, 0.0, -ln(3.0), 0.0, 10 / 10, 0.0,
        -5 / 20, -5 / 10, ln(1.5), ln(2.0), 5 / 30, 5 / 20,
        0.0, 0.0, 9 / 200, 19 / 80, 200 / 16000,
        10 / 200, 10 / 80, 29 / 200, 19 / 80, 200 / 16000,
    ]  # fmt: skip
    actual = published_spatial_features(
        torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[10.0, 10, 30, 20]]), torch.tensor([[80.0, 200]])
    )
    torch.testing.assert_close(actual, torch.tensor([expected]))


def test_a_box_without_area_counts_as_a_pixel() -> None:
    size, other = torch.tensor([[100.0, 100]]), torch.tensor([[30.0, 30, 50, 60]])
    line, pixels = torch.tensor([[10.0, 10, 10, 40]]), torch.tensor([[10.0, 10, 11, 40]])
    assert torch.equal(
        published_spatial_features(line, other, size), published_spatial_features(pixels, other, size)
    )
    assert torch.equal(
        published_spatial_features(other, line, size), published_spatial_features(other, pixels, size)
    )


@pytest.fixture
def roi_heads(tiny_config: TinyConfig) -> RelDNPublishedROIHeads:
    shapes = {f"p{i}": ShapeSpec(channels=16, stride=2**i) for i in range(2, 6)}
    return RelDNPublishedROIHeads(tiny_config("TEST.DETECTIONS_PER_IMAGE", "3"), shapes).eval()


def detect(heads: RelDNPublishedROIHeads, boxes, scores, enough=lambda boxes: True, seen=None) -> Instances:
    """Detections of R proposals whose (R, C) scores and (R, C, 4) continuous boxes are given."""
    seen = [] if seen is None else seen

    def told(boxes: torch.Tensor) -> bool:
        seen.append(len(boxes))
        return enough(boxes)

    heads._boxes_and_scores = lambda *_: (torch.tensor(boxes).float(), torch.tensor(scores))
    proposals = Instances((96, 96), proposal_boxes=Boxes(torch.zeros(len(boxes), 4)))
    return heads.detect({}, proposals, ImageFrame((50, 60), (96, 115), 1.92), (96, 128), told)


FAR = [[[10 * i, 0, 10 * i + 8, 8]] * 6 for i in range(5)]  # five places, the same box for each class


def test_detections_are_the_best_of_all_classes(roi_heads: RelDNPublishedROIHeads) -> None:
    scores = torch.full((5, 6), 0.01)
    scores[0, 2], scores[1, 2], scores[3, 5], scores[4, 0] = 0.3, 0.6, 0.5, 0.2
    scores[2, 1] = 0.05  # not above the threshold
    found = detect(roi_heads, FAR, scores.tolist())
    assert found.image_size == (50, 60)
    assert found.pred_classes.tolist() == [2, 5, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.6, 0.5, 0.3]))
    assert found.pred_boxes.tensor.tolist() == [[10, 0, 18, 8], [30, 0, 38, 8], [0, 0, 8, 8]]


def test_boxes_are_clipped_to_the_padded_input(roi_heads: RelDNPublishedROIHeads) -> None:
    """Its 96 x 128 pixels are 50 x 66.67 pixels of the image."""
    boxes = [[[30, 40, 90, 90]] * 6, [[-5, -3, 20, 20]] * 6]
    found = detect(roi_heads, boxes, [[0.4] + [0] * 5, [0.3] + [0] * 5])
    expected = torch.tensor([[30, 40, 128 / 1.92, 50], [0, 0, 20, 20]])
    torch.testing.assert_close(found.pred_boxes.tensor, expected)


def test_classes_do_not_suppress_each_other(roi_heads: RelDNPublishedROIHeads) -> None:
    boxes = [[[0, 0, 10, 1]] * 6, [[0, 0, 5, 1]] * 6]  # IoU one half
    scores = [[0.4, 0.3, 0, 0, 0, 0], [0.2, 0, 0, 0, 0, 0]]
    found = detect(roi_heads, boxes, scores)
    assert found.pred_classes.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("wanted", "expected", "rounds"),
    [(1, 1, 1), (2, 2, 3), (3, 3, 5), (4, 3, 6)],
    ids=["at 0.05", "at 0.03", "at 0.01", "never"],
)
def test_the_threshold_falls_until_there_is_enough(
    roi_heads: RelDNPublishedROIHeads, wanted: int, expected: int, rounds: int
) -> None:
    scores = torch.zeros(5, 6)
    scores[0, 0], scores[1, 1], scores[2, 2] = 0.5, 0.04, 0.015
    seen: list[int] = []
    found = detect(roi_heads, FAR, scores.tolist(), lambda boxes: len(boxes) >= wanted, seen)
    assert len(found) == expected
    assert len(seen) == min(rounds, 5)  # the function is not called at threshold 0


def test_at_threshold_zero_every_box_counts(roi_heads: RelDNPublishedROIHeads) -> None:
    scores = torch.zeros(5, 6)
    scores[3, 4] = 1e-6
    found = detect(roi_heads, FAR, scores.tolist(), lambda boxes: len(boxes) > 1)
    assert found.pred_classes.tolist() == [4]


def test_empty_boxes_and_no_proposals_give_nothing(roi_heads: RelDNPublishedROIHeads) -> None:
    assert len(detect(roi_heads, [[[5, 5, 5, 9]] * 6], [[0.9] * 6])) == 0
    found = detect(roi_heads, torch.zeros(0, 6, 4).tolist() or np.zeros((0, 6, 4)), np.zeros((0, 6)))
    assert len(found) == 0 and found.pred_boxes.tensor.shape == (0, 4)


def test_the_roi_heads_work_in_published_reldn_alone(roi_heads: RelDNPublishedROIHeads) -> None:
    with pytest.raises(ValueError, match="META_ARCHITECTURE PublishedRelDN alone"):
        roi_heads(None, {}, [], None)
