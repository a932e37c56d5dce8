#!/usr/bin/env python
"""Measure how often intervals cover the true number, on images drawn from a known population.

python -m tools.interval_coverage

The population has 50,000 images with 1 to 40 relationships, so its recalls are known. A trial draws test
images from it, and the answers of models on them, and makes a 95 % interval as `reldn compare` does. The
table (that of docs/evaluation.md) has the share of the trials with enough informative images for an interval,
and the share of these intervals that cover the true number. The same seed gives the same table.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reldn_d2.evaluation import (
    Estimate,
    PerImageRecall,
    compare_seeds,
    image_bootstrap,
    paired_bootstrap,
    seed_interval,
)
from reldn_d2.utils.plain_text import markdown_table

METRIC = "R@50"
AVERAGES = ("macro", "micro")
SHARES_CHANGED = (1.0, 0.3, 0.1)
SEEDS = ((3, 3), (3, 10), (5, 5), (10, 10))
# Standard deviation of the recall between seeds, in points: small, and large.
SPREADS = (0.3, 3.0)
# A coverage of fewer intervals says little.
FEWEST_INTERVALS = 200
RESAMPLES = 1000

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Population:
    """All possible images.

    Attributes:
        truths: (M,) relationships of each image.
        a, b: (M,) probabilities that models A and B find a relationship of the image.
    """

    truths: Ints
    a: Floats
    b: Floats

    def recalls(self, chances: Floats) -> dict[str, float]:
        """The true recalls in percent of (M,) probabilities, or of their differences."""
        micro = (chances * self.truths).sum() / self.truths.sum()
        return {"macro": 100 * float(chances.mean()), "micro": 100 * float(micro)}


class Case(Protocol):
    """A kind of interval in one situation."""

    @property
    def words(self) -> tuple[str, int, str]:
        """Kind of interval, number of images, situation."""

    @property
    def truth(self) -> Mapping[str, float]:
        """The true numbers, in percent."""

    def trial(self, random: np.random.Generator) -> Mapping[str, Estimate]:
        """The intervals on newly drawn images."""


@dataclass(frozen=True)
class OneRun:
    """The recall of one run: `size` images; all probabilities are multiplied by `factor`."""

    size: int
    factor: float

    @property
    def words(self) -> tuple[str, int, str]:
        """See `Case`."""
        return "one run", self.size, f"recall {self.truth['micro']:.0f} %"

    @property
    def truth(self) -> Mapping[str, float]:
        """See `Case`."""
        return population().recalls(self.factor * population().a)

    def trial(self, random: np.random.Generator) -> Mapping[str, Estimate]:
        """See `Case`."""
        drawn, truths = draw(random, self.size)
        hits = random.binomial(truths, self.factor * population().a[drawn])
        return image_bootstrap(counts(truths, hits), METRIC, resamples=RESAMPLES)


@dataclass(frozen=True)
class TwoRuns:
    """Two runs on `size` images, whose answers are the same but for a share `changed` of the images."""

    size: int
    changed: float

    @property
    def words(self) -> tuple[str, int, str]:
        """See `Case`."""
        return "two runs", self.size, f"new answers in {100 * self.changed:.0f} % of the images"

    @property
    def truth(self) -> Mapping[str, float]:
        """See `Case`."""
        return population().recalls(self.changed * (population().b - population().a))

    def trial(self, random: np.random.Generator) -> Mapping[str, Estimate]:
        """See `Case`."""
        drawn, truths = draw(random, self.size)
        a, b = (random.binomial(truths, chances[drawn]) for chances in (population().a, population().b))
        b = np.where(random.random(self.size) < self.changed, b, a)
        return paired_bootstrap(counts(truths, b), counts(truths, a), METRIC, resamples=RESAMPLES)


@dataclass(frozen=True)
class SeveralSeeds:
    """Trainings of one or two models on `size` images.

    Attributes:
        size: number of images.
        seeds: number of trainings of each model.
        spread: standard deviation between seeds, in points.
    """

    size: int
    seeds: tuple[int, ...]
    spread: float

    @property
    def words(self) -> tuple[str, int, str]:
        """See `Case`."""
        kind = "several seeds" if len(self.seeds) == 1 else "several seeds of two models"
        seeds = " and ".join(f"{number}" for number in self.seeds)
        return kind, self.size, f"{seeds} seeds, {self.spread:g} points between seeds"

    @property
    def truth(self) -> Mapping[str, float]:
        """See `Case`."""
        images = population()
        return images.recalls(images.b if len(self.seeds) == 1 else images.b - images.a)

    def trial(self, random: np.random.Generator) -> Mapping[str, Estimate]:
        """See `Case`."""
        drawn, truths = draw(random, self.size)
        models = [
            self._runs(random, number, chances[drawn], truths)
            for number, chances in zip(self.seeds, (population().b, population().a), strict=False)
        ]
        if len(models) == 1:
            return seed_interval(models[0], METRIC)
        return compare_seeds(models[0], models[1], METRIC)

    def _runs(
        self, random: np.random.Generator, number: int, chances: Floats, truths: Ints
    ) -> list[PerImageRecall]:
        # Cut off symmetrically: every probability stays in [0, 1], and the mean over seeds is as it was.
        shifts = np.clip(random.normal(0, self.spread / 100, number), -0.09, 0.09)
        return [counts(truths, random.binomial(truths, chances + shift)) for shift in shifts]


@dataclass(frozen=True)
class Coverage:
    """What was measured in a case, in percent.

    Attributes:
        given: average -> share of the trials that have enough informative images for an interval.
        covered: average -> share of these intervals that cover the true number; only averages with
            `FEWEST_INTERVALS` of them.
    """

    given: Mapping[str, float]
    covered: Mapping[str, float]


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    rows = []
    for case in (*image_cases(), *seed_cases()):
        found = coverage(case)
        shares = [_shares(found, average) for average in AVERAGES]
        rows.append([*map(str, case.words), *shares[0], *shares[1]])
    header = ("interval", "images", "situation", "macro given", "covers", "micro given", "covers")
    print(markdown_table(header, rows, ("left", "right", "left", *("right",) * 4)))


def _shares(found: Coverage, average: str) -> tuple[str, str]:
    covered = found.covered.get(average)
    return f"{found.given[average]:.0f}", "-" if covered is None else f"{covered:.1f}"


@cache
def population() -> Population:
    """Images with a skewed number of relationships, most of them easy or hard."""
    random = np.random.default_rng(0)
    size = 50_000
    a = 0.2 + 0.5 * random.beta(0.5, 0.5, size)
    return Population(
        np.minimum(random.geometric(0.2, size), 40), a, a + 0.02 + random.uniform(-0.1, 0.1, size)
    )


def image_cases() -> Iterator[Case]:
    """The intervals over images alone."""
    for size in (100, 250, 1000):
        yield from (OneRun(size, factor) for factor in (1.0, 0.1))
        yield from (TwoRuns(size, changed) for changed in SHARES_CHANGED)


def seed_cases() -> Iterator[Case]:
    """The intervals over images and seeds."""
    for size, choices in ((200, ((3,), (5,), (10,))), (200, SEEDS), (1000, SEEDS)):
        yield from (SeveralSeeds(size, seeds, spread) for seeds in choices for spread in SPREADS)


def coverage(case: Case, trials: int = 4000) -> Coverage:
    """Runs the trials of a case."""
    random = np.random.default_rng(1)
    given, covered = dict.fromkeys(AVERAGES, 0), dict.fromkeys(AVERAGES, 0)
    for _ in range(trials):
        for average, estimate in case.trial(random).items():
            given[average] += estimate.reliable
            covered[average] += estimate.reliable and estimate.low <= case.truth[average] <= estimate.high
    return Coverage(
        {average: 100 * count / trials for average, count in given.items()},
        {x: 100 * covered[x] / count for x, count in given.items() if count >= FEWEST_INTERVALS},
    )


def draw(random: np.random.Generator, size: int) -> tuple[Ints, Ints]:
    """Images of the population, and their ground truths."""
    drawn = random.integers(len(population().truths), size=size)
    return drawn, population().truths[drawn]


@cache
def _ids(size: int) -> tuple[str, ...]:
    return tuple(f"{i:04d}" for i in range(size))


def counts(truths: Ints, hits: Ints) -> PerImageRecall:
    """The counts of a run."""
    return PerImageRecall(_ids(len(truths)), truths, {METRIC: hits})


if __name__ == "__main__":
    main()
