"""The weights of the best evaluation are kept, also over a resumed run."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import Trainer, evaluate, setup
from reldn_d2.engine.best_checkpoint import BestCheckpoint
from reldn_d2.evaluation.protocols.headline import Headline
from tests.builders.tiny_models import TinyConfig, make_model
from tests.builders.tiny_runs import KINDS, arguments, train


def numbers(value: float, metric: str = "R@50") -> dict[str, dict[str, float]]:
    return {"sgdet/motifs": {metric: value, "mR@50": 100.0 - value}}


@pytest.fixture
def best(tiny_config: TinyConfig, tmp_path: Path) -> BestCheckpoint:
    return BestCheckpoint(RelationCheckpointer(make_model(tiny_config()), str(tmp_path)), "model_best")


def saved(folder: Path) -> tuple[int, float]:
    """Iteration and best number in the file."""
    content = torch.load(folder / "model_best.pth", weights_only=True)
    return content["iteration"], content["best"]["value"]


def test_the_highest_headline_is_kept(best: BestCheckpoint, tmp_path: Path) -> None:
    best.offer({}, 5)
    best.offer(numbers(math.nan), 5)
    assert not (tmp_path / "model_best.pth").exists() and str(best) == ""
    for iterations, value, expected in (
        (10, 3.0, (9, 3.0)),
        (20, 2.0, (9, 3.0)),
        (30, 3.0, (9, 3.0)),
        (40, 4.0, (39, 4.0)),
    ):
        best.offer(numbers(value), iterations)
        assert saved(tmp_path) == expected
    assert str(best) == "R@50 of sgdet/motifs: 4.00, after 40 iterations"
    assert not (tmp_path / "last_checkpoint").exists(), "a run does not resume from the best weights"


def test_a_resumed_run_knows_the_best(best: BestCheckpoint, tmp_path: Path) -> None:
    best.offer(numbers(3.0), 10)
    resumed = BestCheckpoint(best._checkpointer, "model_best")
    resumed.resume()
    assert (resumed.best, resumed.iterations) == (Headline("sgdet/motifs", "R@50", 3.0), 10)
    resumed.offer(numbers(2.0), 20)
    assert saved(tmp_path) == (9, 3.0)


def test_another_metric_starts_anew(best: BestCheckpoint, tmp_path: Path) -> None:
    best.offer(numbers(3.0), 10)
    best.offer({"prdcls/motifs": {"R@50": 2.0}}, 20)
    assert saved(tmp_path) == (19, 2.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_keeps_its_best(
    kind: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations after 1, 2 and 3 iterations; then the run is made longer."""
    scores = iter([1.0, 5.0, 2.0, 4.0])
    monkeypatch.setattr(Trainer, "test", lambda *_: numbers(next(scores)))
    output = tmp_path / "run"
    settings: dict[str, Any] = {"output": output, "weights": weights, "eval_period": 1, "best": True}
    train(kind, **settings)
    assert saved(output) == (1, 5.0)
    assert (output / "last_checkpoint").read_text() == "model_final.pth"
    train(kind, **settings, max_iter=4, resume=True)
    assert saved(output) == (1, 5.0)
    assert "after 2 iterations" in (output / "summary.md").read_text()
    monkeypatch.undo()
    best = arguments(kind, output=tmp_path / "other", weights=output / "model_best.pth", eval_only=True)
    assert "prdcls/motifs" in evaluate(setup(best))


@pytest.mark.parametrize("kind", KINDS)
def test_without_evaluations_there_is_no_best(kind: str, weights: str, tmp_path: Path) -> None:
    key = {"yaml": "TEST.BEST_CHECKPOINT needs .* TEST.EVAL_PERIOD", "python": "train.best_checkpoint needs"}[
        kind
    ]
    with pytest.raises(ValueError, match=key):
        train(kind, output=tmp_path / "run", weights=weights, best=True)


def test_without_the_option_there_is_no_best(weights: str, tmp_path: Path) -> None:
    train("yaml", output=tmp_path / "run", weights=weights, eval_period=1)
    assert not (tmp_path / "run" / "model_best.pth").exists()
