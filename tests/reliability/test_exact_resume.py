"""A training that is killed and resumed ends exactly as one that was not: weights, numbers, images."""

from pathlib import Path

import pytest
import torch

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import vocabulary_of
from tests.builders.small_backbone import build_small_backbone
from tests.builders.tiny_models import TinyConfig, make_model
from tests.reliability.interrupted import End, Kill, Run, train


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A complete RelDN checkpoint with the small backbone."""
    vocabulary = vocabulary_of("reldn_scenes_tiny_train")
    model = make_model(tiny_config("MODEL.BACKBONE.NAME", build_small_backbone.__name__))
    RelationCheckpointer(model, str(tmp_path), vocabulary=vocabulary).save("start")
    return str(tmp_path / "start.pth")


def assert_same_end(found: End, wanted: End) -> None:
    """Compares bit for bit."""
    assert found.taken == wanted.taken
    for mine, theirs in ((found.weights, wanted.weights), (found.best, wanted.best)):
        assert mine.keys() == theirs.keys()
        assert not [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert found.results == wanted.results and found.results
    assert found.metrics == wanted.metrics


def check(run: Run, folder: Path, kills: list[Kill]) -> None:
    for number, kill in enumerate(kills):
        assert not train(run, folder, folder / "killed", resume=number > 0, kill=kill), f"{kill} did not happen"
    assert train(run, folder, folder / "killed", resume=True)
    # If the seed was drawn, the undisturbed run takes the one that was drawn.
    seed = torch.load(folder / "killed" / "model_final.pth")["trainer"]["hooks"]["ExactResume"]["seed"]
    assert train(run, folder, folder / "undisturbed", seed=seed)
    assert_same_end(End.of(folder / "killed", run.processes), End.of(folder / "undisturbed", run.processes))


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


def test_killed_everywhere(weights: str, tmp_path: Path) -> None:
    check(Run("yaml", "reldn", weights, workers=2), tmp_path, EVERYWHERE)
