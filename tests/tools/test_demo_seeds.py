import numpy as np
import pytest

from tools.demo_seeds import as_markdown, t_interval


def test_the_interval_is_the_t_interval() -> None:
    # By hand: mean 1, standard deviation 2, so 2 / sqrt(4) times 3.182.
    values = np.array([1.0, 1.0, 1.0 - np.sqrt(6), 1.0 + np.sqrt(6)])
    assert t_interval(values) == pytest.approx((1.0, 1.0 - 3.182, 1.0 + 3.182))


def test_a_row_has_all_seeds_and_the_mean_difference() -> None:
    before = {1: {"box AP50": 99.0, "L0": 75.0}, 2: {"box AP50": 98.0, "L0": 77.0}}
    after = {1: {"box AP50": 98.5, "L0": 76.0}, 2: {"box AP50": 97.5, "L0": 80.0}}
    header, _, first, second = as_markdown(before, after).splitlines()
    assert "before, seeds 1, 2" in header and "mean difference" in header
    assert [cell.strip() for cell in first.split("|")[1:-1]] == [
        *("box AP50", "99.0, 98.0", "98.5, 97.5", "-0.5 (-0.5 to -0.5)")
    ]
    # The differences are 1 and 3: mean 2, standard error 1.
    assert [cell.strip() for cell in second.split("|")[1:-1]] == [
        *("L0", "75.0, 77.0", "76.0, 80.0", "+2.0 (-10.7 to +14.7)")
    ]
