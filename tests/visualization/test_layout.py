import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.visualization.layout import (
    arc,
    corner_candidates,
    curve_candidates,
    keep_inside,
    loop,
    part_outside,
    spread_points,
)


def random_boxes(seed: int, count: int) -> np.ndarray:
    corners = np.random.default_rng(seed).integers(0, 40, (count, 2, 2)).astype(float)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


@given(seed=st.integers(0, 10_000), count=st.integers(0, 8))
def test_spread_points_stay_in_their_boxes(seed: int, count: int) -> None:
    boxes = random_boxes(seed, count)
    low, high = boxes[:, :2], boxes[:, 2:]
    points = spread_points((low + high) / 2, low, high, 30)
    assert points.shape == (count, 2)
    assert ((points >= low) & (points <= high)).all()


def test_equal_points_are_pushed_apart_and_distant_ones_stay() -> None:
    low, high = np.zeros((4, 2)), np.full((4, 2), 1000.0)
    points = np.array([[500.0, 500], [500, 500], [500, 500], [900, 900]])
    spread = spread_points(points, low, high, 50)
    gaps = np.linalg.norm(spread[:3, None] - spread[None, :3], axis=-1)[np.triu_indices(3, 1)]
    assert gaps.min() > 45
    assert np.abs(spread[3] - points[3]).max() < 0.02


def test_keep_inside_moves_without_resizing() -> None:
    boxes = np.array([[-5.0, 2, 5, 4], [95, 48, 105, 52], [10, 10, 20, 20], [-20, 0, 130, 5]])
    wanted = np.array([[0.0, 2, 10, 4], [90, 46, 100, 50], [10, 10, 20, 20], [0, 0, 150, 5]])
    assert (keep_inside(boxes, 100, 50) == wanted).all()


def test_arc_leaves_gaps_and_bends_to_one_side() -> None:
    start, end = np.array([0.0, 0]), np.array([100.0, 0])
    there, back = arc(start, end, 0.1, 10), arc(end, start, 0.1, 10)
    assert 5 < np.linalg.norm(there[0] - start) < 15
    assert 5 < np.linalg.norm(there[-1] - end) < 15
    assert np.isclose(there[16], [50, 10]).all()
    assert np.isclose(back[16], [50, -10]).all()


def test_a_loop_lies_beside_its_point() -> None:
    point = np.array([50.0, 50])
    for turn, centre in ((0, [50, 25]), (0.25, [25, 50]), (0.5, [50, 75])):
        curve = loop(point, turn, 25)
        assert np.isclose(np.linalg.norm(curve - centre, axis=1), 25).all()
        assert np.linalg.norm(curve - point, axis=1).min() > 10


def test_candidates_have_the_size_of_the_label_and_come_in_order_of_preference() -> None:
    corners = corner_candidates(np.array([10.0, 20, 60, 70]), 30, 8)
    along = curve_candidates(arc(np.array([0.0, 0]), np.array([100.0, 0]), 0, 0), 30, 8)
    for boxes in (corners, along):
        assert np.isclose(boxes[:, 2:] - boxes[:, :2], [30, 8]).all()
    assert (corners[0] == [10, 12, 40, 20]).all()
    assert np.isclose(along[0], [35, -4, 65, 4]).all()


def test_part_outside_ends_where_the_curve_enters_the_box() -> None:
    line = np.stack([np.arange(11.0), np.zeros(11)], axis=1)
    box = np.array([6.5, -1, 8.5, 1])
    assert (part_outside(line, box) == line[:7]).all()
    # A curve that begins in the box is kept from the point where it leaves.
    assert (part_outside(line, np.array([-1, -1, 2.5, 1])) == line[3:]).all()
    assert (part_outside(line, np.array([20.0, -1, 21, 1])) == line).all()
    part = part_outside(loop(np.zeros(2), 0, 20, samples=65), np.array([-14.0, -9, 14, 9]))
    assert 2 < len(part) < 65 and (np.abs(part) >= [14, 9]).any(axis=1).all()
    # Two points always remain, so that an arrow has a direction.
    assert (part_outside(line, np.array([-1, -1, 20, 1])) == line[:2]).all()
