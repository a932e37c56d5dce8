"""Finding rows by value, numbering repeats and distinct rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.evaluation.rows import find_rows, number_rows, repeat_numbers

row = st.tuples(st.integers(0, 2), st.integers(0, 2))


def table(rows: list[tuple[int, int]]) -> np.ndarray:
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


@given(st.lists(row, max_size=8), st.data())
def test_repeats_go_with_repeats_in_order(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(rows), max_size=8)) if rows else []
    expected = []
    for i, value in enumerate(wanted):
        places = [place for place, other in enumerate(rows) if other == value]
        expected.append(places[min(wanted[:i].count(value), len(places) - 1)])
    assert find_rows(table(rows), table(wanted)).tolist() == expected


@given(st.lists(row, max_size=8))
def test_a_table_finds_itself_row_by_row(rows: list[tuple[int, int]]) -> None:
    assert find_rows(table(rows), table(rows)).tolist() == list(range(len(rows)))


def test_a_missing_row_is_named() -> None:
    with pytest.raises(ValueError, match=r"no row is \[1, 0\]"):
        find_rows(table([(0, 1)]), table([(0, 1), (1, 0)]))
    with pytest.raises(ValueError, match=r"no row is \[0, 1\]"):
        find_rows(table([]), table([(0, 1)]))


def test_repeats_are_numbered() -> None:
    assert repeat_numbers(np.array([3, 1, 3, 3, 1])).tolist() == [0, 0, 1, 2, 1]
    assert repeat_numbers(np.zeros(0, dtype=np.int64)).shape == (0,)


@given(st.lists(st.tuples(st.integers(-2, 2), st.sampled_from([-0.5, 0.0, 1e30])), max_size=12))
def test_distinct_rows_are_numbered(rows: list[tuple[int, float]]) -> None:
    first, numbers = number_rows(np.array(rows, dtype=np.float64).reshape(-1, 2))
    assert first.tolist() == [rows.index(rows[i]) for i in first]
    assert sorted(set(numbers.tolist())) == list(range(len(first))) == list(range(len(set(rows))))
    assert [rows[first[number]] for number in numbers] == rows
