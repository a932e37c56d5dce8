"""Inclusive boxes, clipping, suppression, anchors and scales of the published code."""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import build_anchor_generator
from hypothesis import assume, given
from hypothesis import strategies as st

from reldn_d2.modeling.published.boxes import (
    clip_to_pixels,
    continuous,
    inclusive,
    suppress,
    suppress_in_groups,
)
from reldn_d2.modeling.published.image_frame import ImageFrame, pooled_regions
from reldn_d2.modeling.published.proposals import RelDNRoundedAnchorGenerator
from tests.references.published import slow_cell_anchors, slow_clip, slow_iou, slow_scale, slow_suppress

# Whole pixels, so that equal IoUs are common and float32 is exact.
PIXEL = st.integers(-20, 60)


@st.composite
def pixel_boxes(draw: st.DrawFn) -> list[tuple[float, ...]]:
    """Inclusive boxes."""
    boxes = []
    for _ in range(draw(st.integers(0, 8))):
        x, y, w, h = draw(PIXEL), draw(PIXEL), draw(st.integers(0, 30)), draw(st.integers(0, 30))
        boxes.append((x, y, x + w, y + h))
    return boxes


def table(boxes: list[tuple[float, ...]]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def test_the_pixels_of_a_box_are_one_less_at_its_end() -> None:
    pixels = torch.tensor([[[2.0, 3.0, 2.0, 10.0]]])
    assert continuous(pixels).tolist() == [[[2, 3, 3, 11]]]
    assert torch.equal(inclusive(continuous(pixels)), pixels)


@given(pixel_boxes(), st.integers(1, 40), st.integers(1, 40))
def test_clipping_keeps_first_and_last_pixel_in_the_image(boxes, height: int, width: int) -> None:
    clipped = clip_to_pixels(continuous(table(boxes)), (height, width))
    assert torch.equal(inclusive(clipped), table([slow_clip(box, height, width) for box in boxes]))
    assert (clipped[:, 2:] > clipped[:, :2]).all()


def test_clipping_takes_a_table_of_boxes_a_class() -> None:
    boxes = torch.tensor([[[-3.0, -3, 4, 5], [0, 0, 9, 99]], [[50, 60, 70, 80], [3, 4, 5, 6]]])
    expected = [[[0, 0, 4, 5], [0, 0, 9, 20]], [[9, 19, 10, 20], [3, 4, 5, 6]]]
    assert clip_to_pixels(boxes, (20, 10)).tolist() == expected


@given(pixel_boxes(), st.sampled_from([0.25, 0.5, 0.75]), st.randoms())
def test_suppression_equals_loops(boxes, threshold: float, random) -> None:
    scores = [float(x) for x in random.sample(range(100), len(boxes))]
    kept = suppress(continuous(table(boxes)), torch.tensor(scores), threshold)
    assert kept.tolist() == slow_suppress(boxes, scores, threshold)


def test_equal_iou_suppresses() -> None:
    # 10 and 5 of 10 pixels: IoU one half.
    boxes = continuous(torch.tensor([[0.0, 0, 9, 0], [0, 0, 4, 0], [20, 0, 29, 0], [20, 0, 23, 0]]))
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert slow_iou((0, 0, 9, 0), (0, 0, 4, 0)) == 0.5
    assert suppress(boxes, scores, 0.5).tolist() == [0, 2, 3]
    assert suppress(boxes, scores, 0.51).tolist() == [0, 1, 2, 3]


@given(pixel_boxes(), st.randoms())
def test_suppression_in_groups_is_that_of_each_group(boxes, random) -> None:
    scores = [float(x) for x in random.sample(range(100), len(boxes))]
    groups = [random.choice([0, 3, 149]) for _ in boxes]
    expected = []
    for group in set(groups):
        rows = [i for i, g in enumerate(groups) if g == group]
        kept = slow_suppress([boxes[i] for i in rows], [scores[i] for i in rows], 0.5)
        expected += [rows[i] for i in kept]
    kept = suppress_in_groups(
        continuous(table(boxes)), torch.tensor(scores), torch.tensor(groups, dtype=torch.long), 0.5
    )
    assert kept.tolist() == sorted(expected, key=lambda i: -scores[i])


def test_groups_far_apart_cost_no_digits() -> None:
    """Boxes of class 149 in a large image, 1/256 of a pixel from the threshold."""
    box = torch.tensor([[1000.0, 1000, 1002, 1001], [1000, 1000, 1001 - 1 / 256, 1001]])
    kept = suppress_in_groups(box, torch.tensor([0.9, 0.8]), torch.tensor([149, 149]), 0.5)
    assert kept.tolist() == [0, 1]


def generator(
    strides: list[int], sizes: list[list[float]], ratios: list[float]
) -> RelDNRoundedAnchorGenerator:
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "RelDNRoundedAnchorGenerator"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES, cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = sizes, [ratios]
    return build_anchor_generator(cfg, [ShapeSpec(channels=1, stride=s) for s in strides])


def test_the_nine_anchors_of_the_first_faster_rcnn() -> None:
    """The numbers in everybody's code, counted from 0, by size and then by ratio."""
    expected = [
        [-84, -40, 99, 55], [-56, -56, 71, 71], [-36, -80, 51, 95],
        [-176, -88, 191, 103], [-120, -120, 135, 135], [-80, -168, 95, 183],
        [-360, -184, 375, 199], [-248, -248, 263, 263], [-168, -344, 183, 359],
    ]  # fmt: skip
    (boxes,) = generator([16], [[128, 256, 512]], [0.5, 1.0, 2.0])([torch.zeros(1, 1, 1, 1)])
    assert inclusive(boxes.tensor).tolist() == expected


@pytest.mark.parametrize("ratios", [[0.5, 1.0, 2.0], [1.0], [0.3, 3.0]])
def test_anchors_of_a_pyramid_equal_loops(ratios: list[float]) -> None:
    strides, sizes = [4, 8, 64], [[32.0], [21.0, 40.0], [512.0]]
    maps = [torch.zeros(2, 1, 3, 5), torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 1, 1)]
    made = generator(strides, sizes, ratios)
    assert made.num_anchors == [len(s) * len(ratios) for s in sizes]
    for boxes, x, stride, size in zip(made(maps), maps, strides, sizes, strict=True):
        cell = slow_cell_anchors(stride, size, ratios)
        expected = [
            [a[0] + stride * i, a[1] + stride * j, a[2] + stride * i, a[3] + stride * j]
            for j in range(x.shape[2])
            for i in range(x.shape[3])
            for a in cell
        ]
        np.testing.assert_allclose(inclusive(boxes.tensor).numpy(), expected, rtol=1e-6)


def test_anchors_have_no_place_in_checkpoints() -> None:
    assert not generator([16], [[32]], [1.0]).state_dict()


@pytest.mark.parametrize(
    ("original", "network", "scale"),
    [
        ((600, 800), (800, 1067), 800 / 600),
        ((800, 600), (1067, 800), 800 / 600),
        ((500, 1000), (667, 1333), 1333 / 1000),
        ((600, 1000), (800, 1333), 800 / 600),  # 1333.33: rounded, no more than 1333
        ((800, 800), (800, 800), 1.0),
        ((320, 321), (800, 802), 2.5),  # 802.5, to even
        ((320, 321), (800, 803), 2.5),  # 802.5, up
    ],
)
def test_scales(original: tuple[int, int], network: tuple[int, int], scale: float) -> None:
    frame = ImageFrame.of(original, network, 800, 1333)
    assert frame.scale == scale
    assert (frame.original, frame.network) == (original, network)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_every_image_that_detectron2_resizes_has_a_frame(height: int, width: int) -> None:
    assume(max(height, width) / min(height, width) < 100)
    resize = ResizeShortestEdge([800, 800], 1333).get_transform(np.zeros((height, width, 1), dtype=np.uint8))
    new_h, new_w = (resize.new_h, resize.new_w) if hasattr(resize, "new_h") else (height, width)
    frame = ImageFrame.of((height, width), (new_h, new_w), 800, 1333)
    assert frame.scale == slow_scale((height, width), 800, 1333)


@pytest.mark.parametrize("network", [(800, 1069), (801, 1067), (600, 800), (1067, 800)])
def test_an_image_resized_in_another_way_is_refused(network: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"\(600, 800\) came as .*MIN_SIZE_TEST 800.*MAX_SIZE_TEST 1333"):
        ImageFrame.of((600, 800), network, 800, 1333)


def test_boxes_between_image_and_network_input() -> None:
    frame = ImageFrame.of((61, 83), (96, 131), 96, 140)
    assert frame.scale == 96 / 61
    s = 96 / 61
    # A box of pixels 50 to 149 and 100 to 199 is pooled from there, and ends one pixel later in the image.
    given = frame.given_in_image(torch.tensor([[100.0, 50, 199, 149]]) * s)
    torch.testing.assert_close(given, torch.tensor([[100.0, 50, 200, 150]]))
    torch.testing.assert_close(pooled_regions(given, s), torch.tensor([[100.0, 50, 199, 149]]) * s)
    whole = torch.tensor([[0.0, 0, 131, 96], [13.1, 9.6, 26.2, 19.2]])
    # The last pixel 130 of the input is at 130 / s in the image, and its box ends one pixel later.
    expected = torch.tensor(
        [[0, 0, 130 / s + 1, 95 / s + 1], [13.1 / s, 9.6 / s, 25.2 / s + 1, 18.2 / s + 1]]
    )
    torch.testing.assert_close(frame.proposals_in_image(whole), expected)
    regions = pooled_regions(whole, s)
    assert torch.equal(pooled_regions(whole, torch.tensor([[s], [s]])), regions)
