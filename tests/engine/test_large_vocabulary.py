"""Whole runs with the semantic table of a large vocabulary: the same as with a dense one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.utils import comm

import reldn_d2
from reldn_d2.checkpoint.predicate_tables import with_dense_tables
from reldn_d2.engine import RelationPredictor, Trainer, evaluate, load_config, setup
from reldn_d2.structures import predicate_counts
from tests.builders.processes import run_in_processes
from tests.builders.small_backbone import build_small_backbone
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig
from tests.builders.tiny_runs import arguments, save_random_weights

SMALL = ("MODEL.BACKBONE.NAME", build_small_backbone.__name__)
LIMITS = {"dense": predicate_counts.DENSE_LIMIT, "sparse": 0}
HEAD = "relation_head.pair_classifier.semantic."


def is_sparse(model: Any) -> bool:
    return f"{HEAD}row_of_pair" in model.state_dict()


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in with_dense_tables(model).items()}


def train(output: Path, weights: str, max_iter: int, *, resume: bool = False) -> Trainer:
    options = {"output": output, "weights": weights, "max_iter": max_iter, "seed": 3}
    trainer = Trainer(setup(arguments("yaml", *SMALL, resume=resume, **options)))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


@pytest.mark.slow
def test_a_resumed_training_is_the_same_in_both_forms(
    tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of each run is taken in the other form than the first one."""
    weights = save_random_weights(tiny_config(*SMALL), tmp_path)
    states = {}
    for first, then in (("dense", "sparse"), ("sparse", "dense")):
        monkeypatch.setattr(predicate_counts, "DENSE_LIMIT", LIMITS[first])
        assert is_sparse(train(tmp_path / first, weights, 1).model) == (first == "sparse")
        monkeypatch.setattr(predicate_counts, "DENSE_LIMIT", LIMITS[then])
        resumed = train(tmp_path / first, weights, 2, resume=True)
        assert is_sparse(resumed.model) == (then == "sparse") and resumed.start_iter == 1
        states[first] = state(resumed.model)
    assert states["dense"].keys() == states["sparse"].keys()
    assert all(torch.equal(x, states["sparse"][name]) for name, x in states["dense"].items())


def test_the_frequency_baseline_counts_a_large_vocabulary(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = tiny_config("MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls", file="frequency.yaml")
    expected = evaluate(cfg)
    monkeypatch.setattr(predicate_counts, "DENSE_LIMIT", 0)
    assert evaluate(cfg) == expected


def test_a_saved_model_of_a_large_vocabulary_answers_the_same(
    tiny_config: TinyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicate_counts, "DENSE_LIMIT", 0)
    weights = save_random_weights(tiny_config(*SMALL), tmp_path)
    predictor = RelationPredictor(tiny_config(*SMALL, "MODEL.WEIGHTS", weights))
    assert is_sparse(predictor.model)
    predictor.save_pretrained(tmp_path / "saved")
    loaded = reldn_d2.from_pretrained(tmp_path / "saved", device="cpu").model
    assert all(torch.equal(x, state(loaded)[name]) for name, x in state(predictor.model).items())
    monkeypatch.undo()
    dense = reldn_d2.from_pretrained(tmp_path / "saved", device="cpu").model
    assert not is_sparse(dense) and torch.equal(
        state(dense)[f"{HEAD}log_prior"], state(loaded)[f"{HEAD}log_prior"]
    )


def train_together(output: str, weights: str) -> None:
    torch.set_num_threads(1)
    predicate_counts.DENSE_LIMIT = 0
    options = [*TINY, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", output, "SOLVER.MAX_ITER"]
    for resume, length in ((False, "1"), (True, "2")):
        file = str(REPOSITORY / "configs" / "scenes" / "reldn.yaml")
        trainer = Trainer(load_config(file, [*options, length]))
        trainer.resume_or_load(resume=resume)
        trainer.train()
        model = trainer.model.module
        assert is_sparse(model)
        everybody = comm.all_gather(torch.cat([x.double().flatten() for x in state(model).values()]))
        assert torch.equal(everybody[0], everybody[1])
    Path(output, f"done{comm.get_rank()}").touch()


@pytest.mark.slow
def test_two_processes_train_and_resume_with_a_large_vocabulary(
    tiny_config: TinyConfig, tmp_path: Path
) -> None:
    weights = save_random_weights(tiny_config(), tmp_path)  # with a dense table
    output = tmp_path / "run"
    output.mkdir()
    run_in_processes(train_together, 2, tmp_path, str(output), weights)
    assert (output / "done0").exists() and (output / "done1").exists()
