"""Times two ways to the same answer in one run, beside two fixed loads that show how fast the machine is."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

_SECONDS = 3.0  # time for which calls are repeated
_LEAST_TURNS = 4  # the first turn is the warm-up


class AnswersDifferError(RuntimeError):
    """Two ways that should give the same answer do not, so their times must not be compared."""


@dataclass(frozen=True)
class Machine:
    """Median times of two fixed loads.

    Attributes:
        matrix_product_ms: a 1024 × 1024 × 1024 matrix product in float32.
        small_operation_us: an addition of 16 numbers, in a loop.
    """

    matrix_product_ms: float
    small_operation_us: float

    @property
    def gflop_per_second(self) -> float:
        """Speed of the matrix product, in 1e9 floating-point operations a second."""
        return 2 * 1024**3 / 1e9 / (self.matrix_product_ms / 1e3)


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: name of the measured function.
        ms: median time of a call.
        slow: name of the slower way.
        slow_ms: its median time, in the same run.
        operators: number of PyTorch operators that one call runs, without views.
        gflop: floating-point operations of its matrix products and convolutions, in 1e9.
        machine: speed of the machine, measured right before.
    """

    name: str
    ms: float
    slow: str
    slow_ms: float
    operators: int
    gflop: float
    machine: Machine


def calibrate() -> Machine:
    """Measure how fast the machine is now."""
    a, b, small = torch.rand(1024, 1024), torch.rand(1024, 1024), torch.rand(16)

    def loop() -> None:
        for _ in range(1000):
            small.add(1.0)

    (product,), (additions,) = medians([lambda: a @ b], 0.3), medians([loop], 0.3)
    return Machine(product, additions)  # a millisecond per thousand is a microsecond each


def medians(functions: list[Callable[[], Any]], seconds: float = _SECONDS) -> list[float]:
    """Median milliseconds of a call of each function, after a warm-up.

    The functions take turns of a few calls each, so that a change of the machine's speed affects all.
    """
    times: list[list[float]] = [[] for _ in functions]
    end = time.perf_counter() + seconds
    turn = 0
    while turn < _LEAST_TURNS or time.perf_counter() < end:
        for function, found in zip(functions, times, strict=True):
            turn_ends = time.perf_counter() + seconds / 20
            calls = 0
            while calls == 0 or time.perf_counter() < turn_ends:
                before = time.perf_counter()
                function()
                found.append(time.perf_counter() - before)
                calls += 1
            if turn == 0:
                found.clear()
        turn += 1
    return [statistics.median(found) * 1e3 for found in times]


def measure(
    name: str,
    function: Callable[[], Any],
    *,
    slow: Callable[[], Any],
    slow_name: str,
    same: Callable[[Any, Any], None] = torch.testing.assert_close,
) -> Row:
    """Times a function, and another way to the same answer.

    Args:
        name: name of the function, for the table.
        function: function to time.
        slow: the other way.
        slow_name: name of the other way, for the table.
        same: function that raises AssertionError if the two answers differ.

    Raises:
        AnswersDifferError: the answers differ. Nothing is timed then.
    """
    try:
        same(function(), slow())
    except AssertionError as error:
        raise AnswersDifferError(
            f"{name}: not the answer of {slow_name!r}, so their times say nothing: {error}"
        ) from error
    operators, flops = _Operators(), FlopCounterMode(display=False)
    with operators, flops:
        function()
    machine = calibrate()
    ms, slow_ms = medians([function, slow])
    return Row(name, ms, slow_name, slow_ms, operators.count, flops.get_total_flops() / 1e9, machine)


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types
    """Counts the operators that run inside of it, also in a backward pass. Views do not count."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))
