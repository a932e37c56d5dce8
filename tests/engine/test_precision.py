"""MODEL.RELDN_PRECISION and --precision: bf16 in training, evaluation, prediction and cached detections."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, SimpleTrainer
from detectron2.utils.events import EventStorage

from reldn_d2.engine import (
    RelationPredictor,
    RelationTraining,
    Trainer,
    cache_detections,
    detector_identity,
)
from reldn_d2.engine.autocast_trainer import AutocastTrainer
from reldn_d2.engine.evaluate import parts_of
from reldn_d2.engine.parts import RunParts
from reldn_d2.modeling import autocast
from reldn_d2.modeling.acceleration import check_precision, precision
from tests.builders.tiny_models import TinyConfig, make_input, make_model

BF16 = ("MODEL.RELDN_PRECISION", "bf16")
INPUTS = [make_input(4, [(0, 1, 2), (2, 3, 1)])]


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """The weights of both stages."""
    path = tmp_path / "weights.pth"
    torch.save({"model": make_model(tiny_config()).state_dict()}, path)
    return str(path)


@pytest.fixture(autouse=True)
def instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """This CPU has instructions for bf16, even if it has none. Tests that need none say so."""
    monkeypatch.setattr(precision, "has_bf16_instructions", lambda: True)


class Foreign(RelationTraining, DefaultTrainer):
    """A trainer of another project."""


def first_dtypes(model: torch.nn.Module) -> list[torch.dtype]:
    """Collects the types of the outputs of the stem in each forward pass from now on."""
    seen: list[torch.dtype] = []
    model.backbone.bottom_up.stem.conv1.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    return seen


@pytest.mark.parametrize("kind", [Trainer, pytest.param(Foreign, marks=pytest.mark.slow)])
def test_training_and_its_evaluation_run_in_bf16(
    kind: type[RelationTraining], weights: str, tiny_config: TinyConfig
) -> None:
    cfg = tiny_config("MODEL.WEIGHTS", weights, "SOLVER.MAX_ITER", "1", *BF16)
    trainer = kind(cfg)
    assert type(trainer._trainer) is AutocastTrainer
    trainer.resume_or_load(resume=False)
    seen = first_dtypes(trainer.model)
    before = {name: x.clone() for name, x in trainer.model.named_parameters() if x.requires_grad}
    trainer.train()
    assert len(seen) >= 2 and set(seen) == {torch.bfloat16}
    after = dict(trainer.model.named_parameters())
    assert all(x.dtype == torch.float32 for x in after.values())
    assert all(x.grad is None or x.grad.dtype == torch.float32 for x in after.values())
    assert any(not torch.equal(after[name], x) for name, x in before.items())
    lines = Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()
    assert any("loss_rel_cross_entropy" in json.loads(line) for line in lines)


class OwnLoop(SimpleTrainer):
    """A training loop of another project."""


def test_a_loop_of_another_project_is_not_replaced(weights: str, tiny_config: TinyConfig) -> None:
    class WithOwnLoop(DefaultTrainer):
        def __init__(self, cfg: CfgNode) -> None:
            super().__init__(cfg)
            loop = self._trainer
            self._trainer = OwnLoop(loop.model, loop.data_loader, loop.optimizer)

    class Theirs(RelationTraining, WithOwnLoop):
        """A trainer on it."""

    assert type(Theirs(tiny_config("MODEL.WEIGHTS", weights))._trainer) is OwnLoop
    with pytest.raises(ValueError, match=r"Theirs trains with OwnLoop: set it to 'fp32', and use .*autocast"):
        Theirs(tiny_config("MODEL.WEIGHTS", weights, *BF16))


def test_predictions_and_cached_detections_are_of_bf16(
    weights: str, tiny_config: TinyConfig, tmp_path: Path
) -> None:
    predictor = RelationPredictor(tiny_config("MODEL.WEIGHTS", weights, *BF16))
    seen = first_dtypes(predictor.model)
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    for boxes in (None, [[0.0, 0, 40, 30], [9, 9, 80, 50]]):
        found = predictor(photo, boxes=boxes)
        # Products of scores need more digits.
        assert {found["instances"].scores.dtype, found["relations"].scores.dtype} == {torch.float32}
        assert len(found["relations"]) > 1
    assert seen == [torch.bfloat16] * 2
    detector = tiny_config(*BF16, file="detector.yaml")
    model = parts_of(detector).model().eval()
    seen = first_dtypes(model)
    cache_detections(detector, model, "reldn_scenes_tiny_test", tmp_path / "found.npz")
    assert seen == [torch.bfloat16]


def test_losses_are_float32(weights: str, tiny_config: TinyConfig) -> None:
    trainer = Trainer(tiny_config("MODEL.WEIGHTS", weights, *BF16))
    trainer.resume_or_load(resume=False)
    types = set()
    trainer.model.register_forward_hook(lambda *call: types.update(x.dtype for x in call[-1].values()))
    with EventStorage(), autocast("cpu", "bf16"):
        trainer.model.train()(INPUTS)
    assert types == {torch.float32}


def test_a_run_is_resumed_in_its_precision(weights: str, tiny_config: TinyConfig) -> None:
    one_step = tiny_config("MODEL.WEIGHTS", weights, "SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()")
    first = Trainer(one_step)
    first.resume_or_load(resume=False)
    first.train()
    one_step.MODEL.RELDN_PRECISION, one_step.SOLVER.MAX_ITER = "bf16", 2
    with pytest.raises(ValueError, match=r'MODEL\.RELDN_PRECISION was "fp32", now "bf16"'):
        Trainer(one_step).resume_or_load(resume=True)


def test_usual_runs_are_as_before(weights: str, tiny_config: TinyConfig) -> None:
    trainer = Trainer(tiny_config("MODEL.WEIGHTS", weights))
    assert type(trainer._trainer) is SimpleTrainer
    detector = tiny_config(file="detector.yaml")
    identity = detector_identity(detector, trainer.model)
    detector.MODEL.RELDN_PRECISION = "bf16"
    assert detector_identity(detector, trainer.model) != identity


def test_bf16_and_amp_exclude_each_other(
    weights: str, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny_config("MODEL.WEIGHTS", weights, "SOLVER.AMP.ENABLED", "True")
    with pytest.raises(ValueError, match=r"MODEL\.RELDN_PRECISION bf16 trains in mixed precision"):
        Trainer(cfg)
    cfg.MODEL.RELDN_PRECISION, cfg.MODEL.DEVICE = "bf16", "cuda"
    monkeypatch.setattr(RunParts, "check_device", lambda _: None)  # as on a machine with a GPU
    with pytest.raises(ValueError, match=r"AMP\.ENABLED and MODEL\.RELDN_PRECISION both choose a precision"):
        Trainer(cfg)


def test_an_unknown_precision_is_refused(weights: str, tiny_config: TinyConfig) -> None:
    with pytest.raises(ValueError, match=r"MODEL\.RELDN_PRECISION is 'fp8': give 'fp32' or 'bf16'"):
        Trainer(tiny_config("MODEL.WEIGHTS", weights, "MODEL.RELDN_PRECISION", "fp8"))


def test_a_cpu_without_the_instructions_is_said_to_be_slow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    check_precision("cpu", "bf16", "MODEL.RELDN_PRECISION")
    assert not caplog.text
    monkeypatch.setattr(precision, "has_bf16_instructions", lambda: False)
    check_precision("cpu", "fp32", "MODEL.RELDN_PRECISION")
    assert not caplog.text
    check_precision("cpu", "bf16", "MODEL.RELDN_PRECISION")
    assert "many times slower than fp32" in caplog.text


def test_a_device_without_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(ValueError, match="cuda does not have: use fp32"):
        check_precision("cuda", "bf16", "--precision")
    with pytest.raises(ValueError, match="mps does not have"):
        check_precision("mps", "bf16", "--precision")
