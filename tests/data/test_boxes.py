import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.data.boxes import fit_boxes

NUMBERS = st.floats(-50, 150)
BOXES = st.lists(
    st.tuples(NUMBERS, NUMBERS, st.floats(0, 100), st.floats(0, 100), st.integers(1, 90), st.integers(1, 90)),
    max_size=6,
)


def fit(*boxes: tuple[float, ...]) -> list[list[float]]:
    """The boxes in an image of 20 x 10 pixels."""
    sizes = np.tile([20, 10], (len(boxes), 1))
    given = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return fit_boxes(given, sizes, "boxes.json", lambda row: f"record {row}").tolist()


@pytest.mark.parametrize(
    ("box", "fitted"),
    [
        ((0, 0, 20, 10), (0, 0, 20, 10)),
        ((2.5, 3, 4, 5.25), (2.5, 3, 4, 5.25)),
        ((-3, -1, 25, 5), (0, 0, 20, 5)),
        ((4, 4, 4, 8), (4, 4, 5, 8)),
        ((19.5, 2, 20, 8), (19, 2, 20, 8)),
        ((30, 20, 40, 30), (19, 9, 20, 10)),
        ((-9, -9, -5, -5), (0, 0, 1, 1)),
    ],
)
def test_boxes_are_clipped_and_widened(box: tuple[float, ...], fitted: tuple[float, ...]) -> None:
    assert fit(box) == [list(fitted)]


def test_the_warning_counts_both_and_names_the_first(caplog: pytest.LogCaptureFixture) -> None:
    fit((1, 1, 5, 5), (-1, 1, 5, 5), (3, 3, 3, 6), (30, 1, 40, 5))
    assert "boxes.json: 2 boxes that stick out" in caplog.text
    assert "2 boxes of less than one pixel" in caplog.text
    assert "the first in record 1." in caplog.text


def test_good_boxes_and_none_pass_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert fit() == []
        fit((1, 1, 5, 5))
    assert not caplog.records


@given(BOXES)
def test_every_box_ends_inside_its_own_image_with_a_pixel_at_least(rows: list[tuple[float, ...]]) -> None:
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    sizes = table[:, 4:].astype(np.int64)
    given = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], axis=1)
    fitted = fit_boxes(given, sizes, "boxes.json", str)
    assert (fitted[:, :2] >= 0).all() and (fitted[:, 2:] <= sizes).all()
    assert (fitted[:, 2:] - fitted[:, :2] >= 1 - 1e-9).all()
    np.testing.assert_array_equal(fit_boxes(fitted, sizes, "boxes.json", str), fitted)
