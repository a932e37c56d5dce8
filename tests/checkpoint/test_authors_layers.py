"""Changes of single tensors, compared with computations written from the two conventions."""

import math

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from hypothesis import assume, given
from hypothesis import strategies as st

from reldn_d2.checkpoint.importers.authors import layers
from reldn_d2.checkpoint.importers.authors.key_map import Change
from reldn_d2.modeling.relation_head.spatial import spatial_features
from tests.builders.authors_network import spatial_numbers

# Boxes inside an image of at least 600 x 600 pixels.
SIDES = st.floats(1.5, 300, width=32)
CORNERS = st.floats(0, 300, width=32)
BOX = st.tuples(CORNERS, CORNERS, SIDES, SIDES).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


def our_numbers(s: list[float], o: list[float], height: float, width: float) -> list[float]:
    """Equations 9 to 11 with the six numbers of Δ in our order."""

    def delta(a: list[float], b: list[float]) -> list[float]:
        wa, ha, wb, hb = a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1]
        dx, dy = (a[0] + a[2]) / 2 - (b[0] + b[2]) / 2, (a[1] + a[3]) / 2 - (b[1] + b[3]) / 2
        return [dx / wb, dy / hb, math.log(wa / wb), math.log(ha / hb), -dx / wa, -dy / ha]

    def position(a: list[float]) -> list[float]:
        share = (a[2] - a[0]) * (a[3] - a[1]) / (width * height)
        return [a[0] / width, a[1] / height, a[2] / width, a[3] / height, share]

    u = [min(s[0], o[0]), min(s[1], o[1]), max(s[2], o[2]), max(s[3], o[3])]
    return delta(s, o) + delta(s, u) + delta(u, o) + position(s) + position(o)


@given(BOX, BOX, st.floats(600, 900), st.floats(600, 900), st.integers(0, 1000))
def test_the_spatial_layer_computes_the_same_from_our_numbers(
    s: list[float], o: list[float], height: float, width: float, seed: int
) -> None:
    theirs = torch.tensor(spatial_numbers(s, o, height, width), dtype=torch.float64)
    ours = torch.tensor(our_numbers(s, o, height, width), dtype=torch.float64)
    weight = torch.randn(64, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = layers.spatial_columns(weight) @ ours
    assert torch.allclose(found, weight @ theirs, rtol=1e-9, atol=1e-9 * theirs.abs().max().item())
    # The model computes our numbers.
    model = spatial_features(
        torch.tensor([s], dtype=torch.float64),
        torch.tensor([o], dtype=torch.float64),
        torch.tensor([[height, width]], dtype=torch.float64),
    )
    assert torch.allclose(model[0], ours, rtol=1e-9, atol=1e-9)


@given(BOX, BOX)
def test_without_the_change_the_spatial_layer_computes_something_else(s: list[float], o: list[float]) -> None:
    theirs, ours = (torch.tensor(f(s, o, 700, 600)) for f in (spatial_numbers, our_numbers))
    assume((theirs[:6] - ours[:6]).abs().max() > 0.1)
    weight = torch.randn(500, 28, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(weight @ ours, weight @ theirs, atol=0.05)


def test_a_scale_and_shift_as_normalisation() -> None:
    torch.manual_seed(0)
    scale, shift = torch.randn(5), torch.randn(5)
    norm = FrozenBatchNorm2d(5)
    norm.running_mean.fill_(7)  # must be overwritten
    state = {"weight": scale, "bias": shift}
    state |= {"running_mean": layers.zeros(scale), "running_var": layers.identity_variance(scale)}
    norm.load_state_dict(state, strict=True)
    x = 10 * torch.randn(2, 5, 3, 4)
    assert torch.allclose(norm(x), scale[:, None, None] * x + shift[:, None, None], rtol=1e-6, atol=1e-6)
    # This is also Detectron2's initial value.
    assert torch.equal(state["running_var"], FrozenBatchNorm2d(5).running_var)


def test_the_background_row_is_moved_to_the_end() -> None:
    rows = torch.tensor([[0.0, 10], [1, 11], [2, 12], [3, 13]])
    assert layers.background_last(rows).tolist() == [[1, 11], [2, 12], [3, 13], [0, 10]]
    assert layers.background_last(rows[:, 0]).tolist() == [1, 2, 3, 0]


def test_the_background_box_is_removed() -> None:
    rows = torch.arange(12.0)
    assert layers.without_background_box(rows).tolist() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert layers.without_background_box(rows[:, None].expand(12, 3))[0].tolist() == [4, 4, 4]


def test_the_frequency_table_by_subject_object_and_predicate() -> None:
    # Each number is 100 subject + 10 object + predicate, with predicate 9 for the background.
    table = torch.tensor([[100.0 * s + 10 * o + p for p in (9, 0, 1)] for s in range(4) for o in range(4)])
    ours = layers.log_prior(table)
    assert ours.shape == (4, 4, 3)
    for s in range(4):
        for o in range(4):
            assert ours[s, o].tolist() == [100 * s + 10 * o, 100 * s + 10 * o + 1, 100 * s + 10 * o + 9]


def test_anchors_are_reordered_from_ratio_by_ratio_to_size_by_size() -> None:
    sizes, ratios = [32.0, 64, 128, 256, 512], [0.5, 1.0, 2.0]
    theirs = [(ratio, size) for ratio in ratios for size in sizes]
    order = layers.anchor_scores_by_size(torch.arange(15.0)).tolist()
    generator = DefaultAnchorGenerator(sizes=[sizes], aspect_ratios=[ratios], strides=[16])
    for row, (x0, y0, x1, y1) in zip(order, next(iter(generator.cell_anchors)).tolist(), strict=True):
        ratio, size = theirs[int(row)]
        assert (y1 - y0) / (x1 - x0) == pytest.approx(ratio)
        assert ((y1 - y0) * (x1 - x0)) ** 0.5 == pytest.approx(size)
    boxes = layers.anchor_boxes_by_size(torch.arange(60.0)).tolist()
    assert boxes == [4 * row + i for row in order for i in range(4)]
    assert layers.anchor_boxes_by_size(torch.rand(60, 8, 1, 1)).shape == (60, 8, 1, 1)


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (layers.without_background_box, (10, 3)),
        (layers.without_background_box, (4,)),
        (layers.log_prior, (35, 4)),
        (layers.log_prior, (36,)),
        (layers.spatial_columns, (64, 27)),
        (layers.spatial_columns, (28,)),
        (layers.anchor_scores_by_size, (16,)),
        (layers.anchor_boxes_by_size, (15, 4)),
        (layers.anchor_boxes_by_size, (64, 4)),
    ],
)
def test_impossible_shapes_are_refused(change: Change, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        change(torch.zeros(shape))
