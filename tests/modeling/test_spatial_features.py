"""Spatial features (eq. 9 to 11) against a scalar version, a hand-made number and their symmetries."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reldn_d2.modeling.relation_head.spatial import spatial_features

Box = tuple[float, float, float, float]


def slow_delta(a: Box, b: Box) -> list[float]:
    wa, ha, wb, hb = a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1]
    xa, ya, xb, yb = (a[0] + a[2]) / 2, (a[1] + a[3]) / 2, (b[0] + b[2]) / 2, (b[1] + b[3]) / 2
    return [
        (xa - xb) / wb,
        (ya - yb) / hb,
        math.log(wa / wb),
        math.log(ha / hb),
        (xb - xa) / wa,
        (yb - ya) / ha,
    ]


def slow_corners(box: Box, height: float, width: float) -> list[float]:
    area = (box[2] - box[0]) * (box[3] - box[1]) / (width * height)
    return [box[0] / width, box[1] / height, box[2] / width, box[3] / height, area]


def slow_features(s: Box, o: Box, height: float, width: float) -> list[float]:
    u = (min(s[0], o[0]), min(s[1], o[1]), max(s[2], o[2]), max(s[3], o[3]))
    corners = slow_corners(s, height, width) + slow_corners(o, height, width)
    return slow_delta(s, o) + slow_delta(s, u) + slow_delta(u, o) + corners


def random_case(seed: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 500 + 100

    def boxes() -> Tensor:
        corners = torch.rand(count, 4, generator=generator, dtype=torch.float64)
        top_left, extent = corners[:, :2], corners[:, 2:] + 0.02  # at least a pixel
        return torch.cat([top_left, top_left + extent], dim=1) * 90

    return boxes(), boxes(), sizes


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 9))
def test_equals_scalar_version(seed: int, count: int) -> None:
    subjects, objects, sizes = random_case(seed, count)
    rows = [
        slow_features(s, o, h, w)
        for s, o, (h, w) in zip(subjects.tolist(), objects.tolist(), sizes.tolist(), strict=True)
    ]
    expected = torch.tensor(rows, dtype=torch.float64).reshape(-1, 28)
    actual = spatial_features(subjects, objects, sizes)
    assert actual.shape == (count, 28)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    single = spatial_features(subjects.float(), objects.float(), sizes.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, expected.float(), rtol=1e-3, atol=1e-3)


def test_golden_number() -> None:
    # Subject 10 wide, 20 high, centre (5, 10). Object 20 wide, 10 high, centre (20, 15).
    # Enclosing box (0, 0, 30, 20): 30 wide, 20 high, centre (15, 10). Image 100 wide, 40 high.
    ln = math.log
    expected = [
        -15 / 20, -5 / 10, ln(0.5), ln(2.0), 15 / 10, 5 / 20,  # subject seen from object, and back
        -10 / 30, 0.0, -ln(3.0), 0.0, 10 / 10, 0.0,  # subject and enclosing box
        -5 / 20, -5 / 10, ln(1.5), ln(2.0), 5 / 30, 5 / 20,  # enclosing box and object
        0.0, 0.0, 0.1, 0.5, 200 / 4000,
        0.1, 0.25, 0.3, 0.5, 200 / 4000,
    ]  # fmt: skip
    actual = spatial_features(
        torch.tensor([[0.0, 0.0, 10.0, 20.0]]),
        torch.tensor([[10.0, 10.0, 30.0, 20.0]]),
        torch.tensor([[40.0, 100.0]]),
    )
    torch.testing.assert_close(actual, torch.tensor([expected]), rtol=1e-6, atol=1e-6)


def test_exchanging_the_roles_permutes_the_numbers() -> None:
    subjects, objects, sizes = random_case(3, 8)
    forward = spatial_features(subjects, objects, sizes)
    backward = spatial_features(objects, subjects, sizes)
    flip, sign = [4, 5, 2, 3, 0, 1], torch.tensor([1.0, 1, -1, -1, 1, 1], dtype=torch.float64)
    # delta(b, a) is delta(a, b) seen from the other side; so delta(o, u) mirrors delta(u, o).
    torch.testing.assert_close(backward[:, :6], forward[:, :6][:, flip] * sign)
    torch.testing.assert_close(backward[:, 6:12], forward[:, 12:18][:, flip] * sign)
    torch.testing.assert_close(backward[:, 12:18], forward[:, 6:12][:, flip] * sign)
    torch.testing.assert_close(backward[:, 18:23], forward[:, 23:28])
    torch.testing.assert_close(backward[:, 23:28], forward[:, 18:23])


def test_scaling_everything_changes_nothing_and_shifting_only_the_corners() -> None:
    subjects, objects, sizes = random_case(4, 8)
    reference = spatial_features(subjects, objects, sizes)
    torch.testing.assert_close(spatial_features(subjects * 2.5, objects * 2.5, sizes * 2.5), reference)
    shift = torch.tensor([7.0, -3.0, 7.0, -3.0], dtype=torch.float64)
    moved = spatial_features(subjects + shift, objects + shift, sizes)
    torch.testing.assert_close(moved[:, :18], reference[:, :18])
    assert not torch.allclose(moved[:, 18:22], reference[:, 18:22])


def test_identical_boxes_have_zero_deltas() -> None:
    box = torch.tensor([[3.0, 4.0, 8.0, 20.0]])
    assert torch.equal(spatial_features(box, box, torch.tensor([[50.0, 60.0]]))[:, :18], torch.zeros(1, 18))


@pytest.mark.parametrize("box", [[5.0, 5.0, 5.0, 9.0], [5.0, 5.0, 9.0, 5.0], [5.0, 5.0, 5.0, 5.0]])
def test_a_box_without_area_gives_finite_numbers(box: list[float]) -> None:
    empty, full, size = (
        torch.tensor([box]),
        torch.tensor([[1.0, 2.0, 30.0, 40.0]]),
        torch.tensor([[50.0, 60.0]]),
    )
    for subject, object in ((empty, full), (full, empty), (empty, empty)):
        assert spatial_features(subject, object, size).isfinite().all()


def test_boxes_thinner_than_a_pixel_count_as_a_pixel_wide() -> None:
    other = torch.tensor([[30.0, 30.0, 50.0, 60.0]])
    size = torch.tensor([[100.0, 100.0]])
    line, pixel = torch.tensor([[10.0, 10.0, 10.25, 40.0]]), torch.tensor([[10.0, 10.0, 11.0, 40.0]])
    assert torch.equal(spatial_features(line, other, size), spatial_features(pixel, other, size))
    assert torch.equal(spatial_features(other, line, size), spatial_features(other, pixel, size))
