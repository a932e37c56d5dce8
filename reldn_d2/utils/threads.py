"""`map_ahead`: a function of many items, computed in threads ahead of who needs the values."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def map_ahead(function: Callable[[Item], Value], items: Iterable[Item], threads: int) -> Iterator[Value]:
    """Yields `function(item)` for each item, in their order.

    Two values for each thread are computed or wait at most, so memory is bounded. The items are taken in the
    thread of the caller.

    Args:
        function: the function.
        items: the items.
        threads: number of threads; 0: each value is computed when it is asked for.

    Raises:
        Exception: what the function or the items raise, when its value is asked for.
    """
    if not threads:
        yield from map(function, items)
        return
    waiting: deque[Future[Value]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
