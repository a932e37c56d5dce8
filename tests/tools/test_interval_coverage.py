"""How often intervals cover the true number: the simulation counts well, and no interval is too narrow."""

import sys

import numpy as np
import pytest

from reldn_d2.evaluation import Estimate
from tests.builders.commands import Captured
from tools import interval_coverage
from tools.interval_coverage import (
    AVERAGES,
    METRIC,
    Case,
    OneRun,
    SeveralSeeds,
    TwoRuns,
    counts,
    coverage,
    image_cases,
    population,
    seed_cases,
)

SOME = [OneRun(60, 1.0), TwoRuns(60, 0.3), SeveralSeeds(60, (3,), 3.0), SeveralSeeds(60, (3, 5), 0.3)]


class Coin:
    """An interval that covers the true number 1 in half of the trials, with enough images in half of them."""

    words = "coin", 1, "fair"
    truth = dict.fromkeys(AVERAGES, 1.0)

    def trial(self, random: np.random.Generator) -> dict[str, Estimate]:
        informative, covers = random.integers(0, 2, 2)
        return dict.fromkeys(AVERAGES, Estimate(1.0, 1.0 if covers else 1.1, 1.2, 100 * informative))


def test_coverage_counts_the_intervals_that_are_given() -> None:
    found = coverage(Coin(), 2000)
    assert found.given == {x: pytest.approx(50, abs=5) for x in AVERAGES}
    assert found.covered == {x: pytest.approx(50, abs=8) for x in AVERAGES}
    assert coverage(Coin(), 100).covered == {}


@pytest.mark.parametrize("case", SOME)
def test_the_true_numbers_are_those_of_many_images(case: Case) -> None:
    random = np.random.default_rng(0)
    means = [[case.trial(random)[x].mean for x in AVERAGES] for _ in range(100)]
    error = np.std(means, axis=0) / 10
    assert np.all(np.abs(np.mean(means, axis=0) - [case.truth[x] for x in AVERAGES]) < 4 * error)


def test_probabilities_stay_in_their_range() -> None:
    for chances in (population().a, population().b):
        assert chances.min() >= 0.09 and chances.max() <= 0.91


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(sys, "argv", ["interval_coverage.py"])
    monkeypatch.setattr(interval_coverage, "image_cases", lambda: SOME[:1])
    monkeypatch.setattr(interval_coverage, "seed_cases", lambda: SOME[3:])
    monkeypatch.setattr(interval_coverage, "coverage", lambda case: coverage(case, 20))
    interval_coverage.main()
    lines = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:4]] == ["interval", "images", "situation"]
    assert "several seeds of two models" in lines[3] and "3 and 5 seeds, 0.3 points" in lines[3]
    assert lines[2].count(" - |") == 2


def test_counts_are_those_of_a_run() -> None:
    found = counts(np.array([1, 2]), np.array([0, 1]))
    assert found.image_ids == ("0000", "0001") and found.hits[METRIC].tolist() == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [*image_cases(), *seed_cases()], ids=lambda case: " ".join(map(str, case.words))
)
def test_no_interval_is_too_narrow(case: Case) -> None:
    """Nominally 95 %. The draws are those of the table in docs/evaluation.md, the same in each run."""
    found = coverage(case)
    assert all(share >= 93 for share in found.covered.values()), found
