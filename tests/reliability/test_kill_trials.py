"""Trainings that are killed at random moments, as often as docs/reliability.md says. Run by hand."""

import itertools
import json
import random
import sys
import time
from pathlib import Path

import pytest

from tests.reliability.interrupted import End, Run, train
from tests.reliability.test_exact_resume import assert_same_end, draw

_LENGTH = 24
# (kind, model, processes, workers, seed): two of them are killed 20 times, the others twice.
_OFTEN = [("yaml", "detector", 2, 2, 7), ("python", "reldn", 2, 2, 7)]
_ALL = [*itertools.product(("yaml", "python"), ("detector", "reldn"), (1, 2), (0, 2), (7, -1))]


@pytest.mark.trial
@pytest.mark.parametrize("kind, model, processes, workers, seed", _ALL)
def test_random_kills(
    kind: str,
    model: str,
    processes: int,
    workers: int,
    seed: int,
    small_weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["reldn_d2.engine.setup"], "drawn_seed", draw)
    run = Run(kind, model, small_weights, processes, _LENGTH)
    start = time.monotonic()
    assert train(run, tmp_path, tmp_path / "undisturbed", workers=workers)
    whole = time.monotonic() - start
    wanted = End.of(tmp_path / "undisturbed", processes)
    generator = random.Random(f"{kind} {model} {processes} {workers} {seed}")
    needed = 20 if (kind, model, processes, workers, seed) in _OFTEN else 2
    kills = legs = runs = 0
    # A run that ends before it was killed often enough is compared, and another one begins.
    while kills < needed:
        output, ended, resume = tmp_path / f"killed_{runs}", False, False
        while not ended:
            draw.seed = 7 if not (output / "config.yaml").exists() else 8 + legs
            # Short legs, so that a run is killed often before it ends; at last one without a kill.
            seconds = generator.uniform(0.1, 0.7) * whole if kills < needed else 60 * whole
            ended = train(run, tmp_path, output, resume=resume, seed=seed, workers=workers, seconds=seconds)
            kills, legs, resume = kills + (not ended), legs + 1, True
        assert_same_end(End.of(output, processes), wanted)
        runs += 1
    print(json.dumps({"run": [kind, model, processes, workers, seed], "kills": kills, "runs": runs}))
