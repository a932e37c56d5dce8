import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.data.datasets.vrd import parse_vrd_annotations
from reldn_d2.data.fit_boxes import fit_boxes, mark_changed_boxes
from reldn_d2.data.images import upright_size
from reldn_d2.structures.annotations import Annotations
from reldn_d2.structures.dataset_dicts import entity_boxes

NUMBERS = st.floats(-50, 150)
BOXES = st.lists(
    st.tuples(NUMBERS, NUMBERS, st.floats(0, 100), st.floats(0, 100), st.integers(1, 90), st.integers(1, 90)),
    max_size=6,
)


def fit(*boxes: tuple[float, ...]) -> list[list[float]]:
    """The boxes in an image of 20 x 10 pixels."""
    sizes = np.tile([20, 10], (len(boxes), 1))
    given = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return fit_boxes(given, sizes, "boxes.json", lambda row: f"record {row}")[0].tolist()


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
    assert "There are 4 boxes in all" in caplog.text
    assert "the first in record 1." in caplog.text


def test_good_boxes_and_no_boxes_give_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert fit() == []
        fit((1, 1, 5, 5))
    assert not caplog.records


@given(BOXES)
def test_every_box_ends_inside_its_own_image_with_a_pixel_at_least(rows: list[tuple[float, ...]]) -> None:
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    sizes = table[:, 4:].astype(np.int64)
    given = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], axis=1)
    fitted, changed = fit_boxes(given, sizes, "boxes.json", str)
    np.testing.assert_array_equal(changed, (fitted != given).any(axis=1))
    assert (fitted[:, :2] >= 0).all() and (fitted[:, 2:] <= sizes).all()
    assert (fitted[:, 2:] - fitted[:, :2] >= 1 - 1e-9).all()
    np.testing.assert_array_equal(fit_boxes(fitted, sizes, "boxes.json", str)[0], fitted)


GOOD, FAR_OUT = (1, 1, 5, 5), (0, 0, 22.1, 5)


@pytest.mark.parametrize(("good", "far_out"), [(0, 10), (20, 10), (108, 12)])
def test_a_few_boxes_far_outside_are_clipped(good: int, far_out: int) -> None:
    assert len(fit(*[GOOD] * good, *[FAR_OUT] * far_out)) == good + far_out


@pytest.mark.parametrize(("good", "far_out"), [(0, 11), (20, 11), (108, 13)])
def test_too_many_boxes_far_outside_are_refused(good: int, far_out: int) -> None:
    with pytest.raises(
        ValueError,
        match=rf"^boxes\.json: {far_out} of {good + far_out} boxes .* first in record {good}: .* 20 x 10\. "
        "Check the order",
    ):
        fit(*[GOOD] * good, *[FAR_OUT] * far_out)


@pytest.mark.parametrize(("good", "shares"), [(0, 11), (20, 11), (1, 3000)])
def test_many_shares_of_the_picture_are_refused(good: int, shares: int) -> None:
    boxes = np.array([[0.0, 0.0, 1.0, 1.0]] * shares + [[9.0, 1.0, 15.0, 5.0]] * good)

    def fit_in(height: int) -> None:
        fit_boxes(boxes, np.tile([20, height], (len(boxes), 1)), "boxes.json", lambda row: f"record {row}")

    with pytest.raises(ValueError, match=rf"{shares} of {len(boxes)} boxes .* record 0: .*shares of the"):
        fit_in(16)
    fit_in(15)  # too small to tell
    boxes[:, 2] += 2  # ends behind the corner
    fit_in(16)


def test_a_few_shares_are_widened() -> None:
    boxes = np.array([[0.2, 0.2, 0.7, 0.9]] * 10)
    fitted, _ = fit_boxes(boxes, np.full((10, 2), 20), "boxes.json", str)
    assert (fitted[:, 2:] <= 2).all()


@pytest.mark.parametrize("box", [(-2.1, 1, 5, 5), (1, -1.1, 5, 5), (1, 1, 22.1, 5), (1, 1, 5, 11.1)])
def test_far_outside_is_a_tenth_of_the_side_on_any_side(box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="stick out"):
        fit(*[box] * 11)
    near = [min(max(number, -1), limit) for number, limit in zip(box, (20, 10, 22, 11), strict=True)]
    assert fit(*[tuple(near)] * 11)


def test_changed_boxes_are_marked_in_their_images() -> None:
    box = [0.0, 0.0, 1.0, 1.0]
    dicts = [{"annotations": Annotations([box] * count, [0] * count)} for count in (2, 0, 1, 3)]
    mark_changed_boxes(dicts, np.array([False, True, False, True, False, True]))
    assert [d["changed_boxes"].tolist() if "changed_boxes" in d else None for d in dicts] == [
        [1],
        None,
        None,
        [0, 2],
    ]


@pytest.mark.parametrize("wrong", [[1, 0, 3, 2], [0, 1, 0, 1], "twice"])
def test_boxes_of_another_meaning_are_refused_on_real_annotations(
    dev_data: Path, wrong: list[int] | str
) -> None:
    # x and y exchanged, the near corner and the size in place of the corners, another scale
    folder = dev_data / "vrd_mini"
    dicts = parse_vrd_annotations(folder / "json_dataset" / "annotations_test.json")
    images = {path.stem: path for path in (folder / "sg_dataset" / "sg_test_images").iterdir()}
    sizes = np.repeat(
        [upright_size(images[Path(d["file_name"]).stem]) for d in dicts],
        [len(d["annotations"]) for d in dicts],
        axis=0,
    )
    boxes = np.concatenate([entity_boxes(d) for d in dicts])
    assert not fit_boxes(boxes, sizes, "real.json", str)[1].any()
    if wrong == "twice":
        broken = boxes * 2
    elif wrong == [0, 1, 0, 1]:
        broken = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    else:
        broken = boxes[:, wrong]
    with pytest.raises(ValueError, match=rf"^real\.json: .* of {len(boxes)} boxes stick out"):
        fit_boxes(broken, sizes, "real.json", str)
