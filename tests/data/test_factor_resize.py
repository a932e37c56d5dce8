"""Resizing by one factor: where pixels are sampled, sizes, boxes, and the test mapper."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reldn_d2.data import RelationDatasetMapper
from reldn_d2.data.factor_resize import ByFactor, ResizeByFactor
from reldn_d2.data.pixels import UnusablePictureError
from reldn_d2.modeling.published.image_frame import ImageFrame
from tests.builders.tiny_models import TinyConfig


def slow_resize(image: np.ndarray, scale: float) -> np.ndarray:
    """Linear interpolation at (x + 0.5) / s - 0.5, pixel by pixel, in float64."""
    height, width = image.shape[:2]
    resized = np.zeros((round(height * scale), round(width * scale), image.shape[2]))
    for i in range(resized.shape[0]):
        for j in range(resized.shape[1]):
            y = min(max((i + 0.5) / scale - 0.5, 0), height - 1)
            x = min(max((j + 0.5) / scale - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
            lower = image[bottom, left] * (1 - (x - left)) + image[bottom, right] * (x - left)
            resized[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return resized


@pytest.mark.parametrize("size", [(20, 31), (31, 20), (7, 7), (50, 61)])
@pytest.mark.parametrize("lengths", [(13, 1000), (29, 1000), (29, 33), (7, 1000)])
def test_pixels_equal_loops(size: tuple[int, int], lengths: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    transform = ResizeByFactor(*lengths).get_transform(image)
    resized = transform.apply_image(image)
    assert resized.dtype == np.float32 and image.dtype == np.uint8
    np.testing.assert_allclose(resized, slow_resize(image.astype(np.float64), transform.scale), atol=1e-3)


def test_grey_levels_are_not_rounded_and_not_smoothed() -> None:
    stripes = np.zeros((4, 12, 3), dtype=np.uint8)
    stripes[:, ::3] = 90
    by_half = ByFactor(4, 12, 0.5).apply_image(stripes)
    assert by_half[0, :, 0].tolist() == [45, 45, 0, 45, 45, 0]
    # An antialiased third would be 30 everywhere.
    assert ByFactor(4, 12, 1 / 3).apply_image(stripes)[0, :, 0].tolist() == [0, 0, 0, 0]


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_every_image_has_a_frame(height: int, width: int) -> None:
    if min(height, width) * 60 < max(height, width):
        return
    transform = ResizeByFactor(800, 1333).get_transform(np.zeros((height, width, 1), dtype=np.uint8))
    network = tuple(round(side) for side in transform.exact_size)
    assert ImageFrame.of((height, width), network, 800, 1333).scale == transform.scale


def test_a_side_that_ends_in_a_half_is_rounded_to_even() -> None:
    image = np.zeros((320, 321, 3), dtype=np.uint8)
    assert ResizeByFactor(800, 1333).get_transform(image).apply_image(image).shape == (800, 802, 3)


@pytest.mark.parametrize("lengths", [(0, 100), (100, 0)])
def test_lengths_are_positive(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="give positive lengths"):
        ResizeByFactor(*lengths)


def test_the_test_mapper_resizes_picture_and_boxes(tmp_path: Path, tiny_config: TinyConfig) -> None:
    cfg = tiny_config(
        *("INPUT.RELDN_RESIZE_TEST", "factor", "INPUT.MIN_SIZE_TEST", "40", "INPUT.MAX_SIZE_TEST", "100"),
        *("INPUT.FORMAT", "BGR"),
    )
    pixels = np.random.default_rng(1).integers(0, 256, (150, 201, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    boxes = [[0, 0, 200, 149], [50, 20, 200.9, 150]]
    record = {
        "file_name": str(tmp_path / "a.png"),
        "image_id": 1,
        "annotations": [{"bbox": box, "bbox_mode": 0, "category_id": 0} for box in boxes],
        "relations": [(0, 1, 0)],
    }
    output = RelationDatasetMapper(cfg, is_train=False)(record)
    scale = 40 / 150
    assert output["image"].dtype == torch.float32 and output["image"].shape == (3, 40, 54)
    expected = slow_resize(pixels[:, :, ::-1].astype(np.float64), scale)
    np.testing.assert_allclose(output["image"].permute(1, 2, 0).numpy(), expected, atol=1e-3)
    # The sides are 40 and 53.6 pixels long before they are rounded, and no box is cut at 53.
    moved = output["instances"].gt_boxes.tensor
    torch.testing.assert_close(moved, torch.tensor(boxes) * scale)
    # Training is not concerned, and neither are other configs.
    for other in (RelationDatasetMapper(cfg), RelationDatasetMapper(tiny_config(), is_train=False)):
        assert other(record)["image"].dtype == torch.uint8


def test_a_thin_picture_is_named(tmp_path: Path, tiny_config: TinyConfig) -> None:
    cfg = tiny_config(*("INPUT.RELDN_RESIZE_TEST", "factor", "INPUT.MAX_SIZE_TEST", "100"))
    Image.new("RGB", (1000, 2)).save(tmp_path / "thin.png")
    with pytest.raises(UnusablePictureError, match=r"1000 x 2 pixels can't be resized .*no pixel of its"):
        RelationDatasetMapper(cfg, is_train=False)({"file_name": str(tmp_path / "thin.png"), "image_id": 1})
