"""Trainings that are killed at random moments, as often as docs/reliability.md says. Run by hand."""

import itertools
import json
import random
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
    kind: str, model: str, processes: int, workers: int, seed: int, small_weights: str, tmp_path: Path
) -> None:
    run = Run(kind, model, small_weights, processes, _LENGTH)
    start = time.monotonic()
    assert train(run, tmp_path, tmp_path / "undisturbed", workers=workers)
    whole = time.monotonic() - start
    wanted = End.of(tmp_path / "undisturbed", processes)
    output, generator = tmp_path / "killed", random.Random(f"{kind} {model} {processes} {workers} {seed}")
    kills, legs = 20 if (kind, model, processes, workers, seed) in _OFTEN else 2, 0
    done = 0
    while done < kills:
        draw.seed = 7 if not (output / "config.yaml").exists() else 8 + legs
        ended = train(
            run, tmp_path, output, resume=legs > 0, seed=seed, workers=workers,
            # Up to two checkpoints further on, so that the kills are spread over the training.
            seconds=generator.uniform(0.05, min(1.0, 4 / kills + 0.25)) * whole,
        )  # fmt: skip
        legs, done = legs + 1, done + (not ended)
        if ended:
            break
    draw.seed = 99
    assert train(run, tmp_path, output, resume=True, seed=seed, workers=workers)
    assert_same_end(End.of(output, processes), wanted)
    print(json.dumps({"run": [kind, model, processes, workers, seed], "kills": done, "legs": legs + 1}))
