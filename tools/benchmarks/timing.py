"""Times two ways to the same answer in one run, beside fixed loads that show how fast the machine is."""

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from reldn_d2.modeling.acceleration import Precision, has_bf16_instructions

# Sides of the square matrices whose product shows the speed. A small product does not fill a GPU.
_SIDES = {"cpu": 1024, "cuda": 8192}


class AnswersDifferError(RuntimeError):
    """Two ways that should give the same answer do not, so their times must not be compared."""


@dataclass(frozen=True)
class Machine:
    """Median times of fixed loads.

    Attributes:
        matrix_product_ms: product of two square matrices in float32.
        small_operation_us: an addition of 16 numbers, in a loop.
        bf16_product_ms: the same product in bfloat16; NaN if it was not measured.
        side: rows of the matrices.
    """

    matrix_product_ms: float
    small_operation_us: float
    bf16_product_ms: float = math.nan
    side: int = 1024

    def gflop_per_second(self, precision: Precision = "fp32") -> float:
        """Speed of the matrix product in a precision, in 1e9 floating-point operations a second."""
        ms = self.matrix_product_ms if precision == "fp32" else self.bf16_product_ms
        return 2 * self.side**3 / 1e9 / (ms / 1e3)


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
        precision: precision of these products.
        note: what else the row shows.
    """

    name: str
    ms: float
    slow: str
    slow_ms: float
    operators: int
    gflop: float
    machine: Machine
    precision: Precision = "fp32"
    note: str = ""

    @property
    def limit_ms(self) -> float:
        """Time of its products and convolutions at the speed of the matrix product."""
        return self.gflop / self.machine.gflop_per_second(self.precision) * 1e3


@dataclass(frozen=True)
class Skipped:
    """A row that was not measured.

    Attributes:
        name: name of the row.
        reason: why, a sentence without its full stop.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Timer:
    """Measures functions on a device.

    Attributes:
        device: "cpu" or "cuda".
        seconds: time for which the calls of a row are repeated.
        turns: smallest number of turns; the first is the warm-up.
        slow_rows: whether rows are measured that take minutes.
        bf16: whether rows in bfloat16 are measured.
    """

    device: str = "cpu"
    seconds: float = 3.0
    turns: int = 4
    slow_rows: bool = True
    bf16: bool = True

    @property
    def photos(self) -> int:
        """Number of photos of a row."""
        return 4 if self.slow_rows else 1

    def measure(
        self,
        name: str,
        function: Callable[[], Any],
        *,
        slow: Callable[[], Any],
        slow_name: str,
        same: Callable[[Any, Any], object] = torch.testing.assert_close,
        precision: Precision = "fp32",
    ) -> Row | Skipped:
        """Times a function, and another way to the same answer.

        Args:
            name: name of the function, for the table.
            function: function to time.
            slow: the other way.
            slow_name: name of the other way, for the table.
            same: function that raises AssertionError if the two answers differ.
            precision: precision of the function's products.

        Raises:
            AnswersDifferError: the answers differ. Nothing is timed then.
        """
        if precision == "bf16" and not self.bf16:
            return Skipped(name, "this CPU has no bfloat16 instructions, and would take over a hundred times")
        check_same(name, function(), slow(), slow_name, same)
        operators, flops = _Operators(), FlopCounterMode(display=False)
        with operators, flops:
            function()
        machine = calibrate(self.device, with_bf16=precision == "bf16")
        ms, slow_ms = self.medians([function, slow])
        gflop = flops.get_total_flops() / 1e9
        return Row(name, ms, slow_name, slow_ms, operators.count, gflop, machine, precision)

    def medians(self, functions: list[Callable[[], Any]]) -> list[float]:
        """Median milliseconds of a call of each function, after a warm-up.

        The functions take turns of a few calls each, so that a change of the machine's speed affects all.
        """
        times: list[list[float]] = [[] for _ in functions]
        end = time.perf_counter() + self.seconds
        turn = 0
        while turn < self.turns or time.perf_counter() < end:
            for function, found in zip(functions, times, strict=True):
                turn_ends = time.perf_counter() + self.seconds / 20
                calls = 0
                while calls == 0 or time.perf_counter() < turn_ends:
                    before = time.perf_counter()
                    function()
                    self.wait()
                    found.append(time.perf_counter() - before)
                    calls += 1
                if turn == 0:
                    found.clear()
            turn += 1
        return [statistics.median(found) * 1e3 for found in times]

    def wait(self) -> None:
        """Waits until a GPU has done what it was given."""
        if self.device != "cpu":
            torch.cuda.synchronize()


def noted(row: Row | Skipped, note: Callable[[Row], str]) -> Row | Skipped:
    """The row with a note, if it was measured."""
    return replace(row, note=note(row)) if isinstance(row, Row) else row


def check_same(name: str, ours: Any, theirs: Any, slow_name: str, same: Callable[[Any, Any], object]) -> None:
    """Compares the answers of two ways.

    Raises:
        AnswersDifferError: `same` raised AssertionError.
    """
    try:
        same(ours, theirs)
    except AssertionError as error:
        raise AnswersDifferError(
            f"{name}: not the answer of {slow_name!r}, so their times say nothing: {error}"
        ) from error


def calibrate(device: str = "cpu", *, with_bf16: bool = False) -> Machine:
    """Measures how fast the machine is now.

    Args:
        device: "cpu" or "cuda".
        with_bf16: whether to measure the product in bfloat16, too.
    """
    side = _SIDES[device]
    a, b, small = (torch.rand(size, device=device) for size in ((side, side), (side, side), (16,)))

    def loop() -> None:
        for _ in range(1000):
            small.add(1.0)

    timer = Timer(device, seconds=0.3)
    (additions,) = timer.medians([loop])  # a millisecond per thousand is a microsecond each
    (product,) = timer.medians([lambda: a @ b])
    if not with_bf16:
        return Machine(product, additions, side=side)
    a, b = a.bfloat16(), b.bfloat16()
    (bf16_product,) = timer.medians([lambda: a @ b])
    return Machine(product, additions, bf16_product, side)


def has_fast_bf16(device: str) -> bool:
    """Whether a device computes in bfloat16 with instructions of its own."""
    if device == "cpu":
        return has_bf16_instructions()
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def assert_relative(ours: Iterable[Tensor], theirs: Iterable[Tensor], tolerance: float) -> None:
    """Compares tensors. Differences are shares of the largest number of each tensor."""
    for x, y in zip(ours, theirs, strict=True):
        largest = float(y.abs().max()) if y.numel() else 0.0
        torch.testing.assert_close(x.to(y.dtype), y, rtol=0, atol=tolerance * largest)


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types
    """Counts the operators that run inside of it, also in a backward pass. Views do not count."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))
