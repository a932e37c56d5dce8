"""Processes that work on parts side by side. Each computes with one thread."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from reldn_d2.utils.parent import end_with_parent

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_processes(work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int) -> Iterator[_Result]:
    """Call a function for each item, and yield the results as they come, in any order.

    Args:
        work: a function that can be pickled, with results that can.
        items: what it is called with.
        workers: number of processes; with 1, this process does the work.

    Raises:
        OSError: a process was ended from outside.
        Exception: the first error of the function. Items that nobody has begun are left.
    """
    if workers == 1:
        yield from map(work, items)
        return
    # A fork of a process whose threads have worked can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_set_up)
    try:
        futures: list[Future[_Result]] = [pool.submit(work, item) for item in items]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise OSError(
            "a worker process was ended from outside; where memory is short, the system does so. The same "
            "command goes on from what is finished; with fewer --processes it needs less memory"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _set_up() -> None:
    """Prepares a new process."""
    torch.set_num_threads(1)
    # On Ctrl-C the first process lets the others finish what they have begun.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
