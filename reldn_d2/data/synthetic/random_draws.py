"""Random draws that stay the same over NumPy versions."""

import math
from collections.abc import Iterator

import numpy as np


class Draws:
    """A stream of random choices from one seed.

    Everything is derived from `Generator.random()`: NumPy may change the algorithms behind `integers` or
    `permutation` between versions, but the doubles of PCG64 are pinned by its own test suite.
    """

    def __init__(self, seed: np.random.SeedSequence) -> None:
        self._values = _uniforms(np.random.Generator(np.random.PCG64(seed)))

    def unit(self) -> float:
        """A float in [0, 1)."""
        return next(self._values)

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high), rounded to a tenth."""
        return round(low + (high - low) * self.unit(), 1)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + math.floor((high - low + 1) * self.unit())

    def permutation(self, n: int) -> list[int]:
        """0..n-1 in uniformly random order."""
        keys = [self.unit() for _ in range(n)]
        return sorted(range(n), key=keys.__getitem__)

    def spaced(self, n: int, low: float, high: float, gap: float) -> list[float] | None:
        """`n` rising positions in [low, high], at least `gap` apart and else uniform; None if too tight."""
        slack = high - low - gap * (n - 1)
        if slack < 0:
            return None
        return [
            low + i * gap + offset
            for i, offset in enumerate(sorted(self.uniform(0.0, slack) for _ in range(n)))
        ]


def _uniforms(generator: np.random.Generator) -> Iterator[float]:
    while True:
        yield from generator.random(64).tolist()
