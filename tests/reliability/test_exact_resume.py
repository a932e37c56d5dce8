"""A training that is killed and resumed ends exactly as one that was not: weights, numbers, images."""

import sys
from itertools import product
from pathlib import Path

import pytest
import torch

from tests.reliability.interrupted import End, Kill, Run, train


class _Draw:
    """Stands for the drawing of seeds. The processes are forked, so each has a copy."""

    seed = 7

    def __call__(self) -> int:
        return self.seed


draw = _Draw()


def assert_same_end(found: End, wanted: End) -> None:
    """Compares bit for bit."""
    assert found.taken == wanted.taken
    for mine, theirs in ((found.weights, wanted.weights), (found.best, wanted.best)):
        assert mine.keys() == theirs.keys()
        assert not [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert found.results == wanted.results and found.results
    assert found.metrics == wanted.metrics


def check(run: Run, folder: Path, wanted: End, kills: list[Kill], seed: int) -> None:
    """Kills a run as often as `kills` says, each time with another number of workers.

    Leg i would draw the seed 7 + i. The undisturbed run has the seed 7.
    """
    output = folder / f"killed_{seed}"
    for number, kill in enumerate(kills):
        draw.seed = 7 + number
        workers = 2 * (number % 2)
        ended = train(run, folder, output, resume=number > 0, kill=kill, seed=seed, workers=workers)
        assert not ended, f"{kill} did not happen"
    draw.seed = 99
    assert train(run, folder, output, resume=True, seed=seed)
    assert_same_end(End.of(output, run.processes), wanted)


# Every day, two cases show both kinds of config, both models, and one and two processes.
EVERY_DAY = {("yaml", "reldn", 2), ("python", "detector", 1)}


@pytest.mark.parametrize(
    ("kind", "model", "processes"),
    [
        pytest.param(*case, marks=[] if case in EVERY_DAY else pytest.mark.slow)
        for case in product(("yaml", "python"), ("detector", "reldn"), (1, 2))
    ],
)
def test_killed_runs_end_as_an_undisturbed_one(
    kind: str, model: str, processes: int, small_weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(kind, model, small_weights, processes)
    assert train(run, tmp_path, tmp_path / "undisturbed")
    wanted = End.of(tmp_path / "undisturbed", processes)
    check(run, tmp_path, wanted, [("step", 2), ("step", 7)], seed=7)
    # A drawn seed: a resumed run must not draw another one.
    monkeypatch.setattr(sys.modules["reldn_d2.engine.setup"], "drawn_seed", draw)
    check(run, tmp_path, wanted, [("evaluation", 3), ("tag", "model_0000005.pth")], seed=-1)


# Before the first checkpoint; in an evaluation behind a checkpoint; between two checkpoints; before a
# checkpoint becomes the last one; in the last evaluation.
EVERYWHERE: list[Kill] = [
    ("step", 1),
    ("evaluation", 3),
    ("step", 5),
    ("tag", "model_0000005.pth"),
    ("evaluation", 6),
    ("evaluation", 8),
]


@pytest.mark.slow
def test_killed_everywhere(small_weights: str, tmp_path: Path) -> None:
    run = Run("yaml", "reldn", small_weights)
    assert train(run, tmp_path, tmp_path / "undisturbed")
    check(run, tmp_path, End.of(tmp_path / "undisturbed"), EVERYWHERE, seed=7)
