"""`map_ahead`: values in order, a bounded number ahead, errors where they belong."""

from collections.abc import Iterator

import pytest

from reldn_d2.utils.threads import map_ahead


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_values_come_in_the_order_of_the_items(threads: int) -> None:
    assert list(map_ahead(lambda x: x * x, range(50), threads)) == [x * x for x in range(50)]
    assert list(map_ahead(str, [], threads)) == []


@pytest.mark.parametrize(("threads", "ahead"), [(0, 1), (1, 3), (3, 7)])
def test_few_items_are_taken_ahead(threads: int, ahead: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    for done, _ in enumerate(map_ahead(str, items(), threads), start=1):
        assert taken <= done + ahead


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_comes_after_the_values_before_it(threads: int) -> None:
    values = map_ahead(lambda x: 1 // x, [1, 1, 0, 1], threads)
    assert [next(values), next(values)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(values)
