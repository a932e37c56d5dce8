from typing import Any

import pytest

from reldn_d2.utils.json_files import is_box, is_id, is_side


@pytest.mark.parametrize("value", [0, -5, 2**63 - 1, -(2**63) + 1])
def test_integers_of_64_bits_are_ids(value: Any) -> None:
    assert is_id(value)


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**30, True, 1.0, "1", None, [1]])
def test_other_values_are_no_ids(value: Any) -> None:
    assert not is_id(value)


@pytest.mark.parametrize("value", [1, 640, 2**31 - 1])
def test_positive_integers_are_sides(value: Any) -> None:
    assert is_side(value)


@pytest.mark.parametrize("value", [0, -1, 2**31, 10**400, True, 5.0, "5", None])
def test_other_values_are_no_sides(value: Any) -> None:
    assert not is_side(value)


@pytest.mark.parametrize("value", [[1, 2.5, -3, 0], [float("nan"), float("inf"), 9, 1], [2**63 - 1] * 4])
def test_lists_of_four_numbers_are_boxes(value: Any) -> None:
    assert is_box(value)


@pytest.mark.parametrize(
    "value",
    [[], [1, 2, 3], [1, 2, 3, 4, 5], "1234", (1, 2, 3, 4), {1, 2, 3, 4}, 5, None]
    + [[1, 2, 3, other] for other in ("4", True, None, 10**400, [4], 2**63)],
)
def test_other_values_are_no_boxes(value: Any) -> None:
    assert not is_box(value)
