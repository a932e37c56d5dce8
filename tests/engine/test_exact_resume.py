"""What a resumed training says and does; tests/reliability kills real ones."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.data import build_detection_train_loader
from detectron2.engine import DefaultTrainer
from detectron2.engine.hooks import PeriodicWriter

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import RelationTraining, Trainer, load_config, setup, vocabulary_of
from reldn_d2.engine.exact_resume import ExactResume, cut_metrics
from tests.builders.small_backbone import build_small_backbone
from tests.builders.tiny_models import REPOSITORY, TINY, TinyConfig, make_model
from tests.builders.tiny_runs import arguments

LENGTH = 5
OPTIONS = [
    *("SOLVER.CHECKPOINT_PERIOD", "2"),
    *("MODEL.BACKBONE.NAME", build_small_backbone.__name__),
]


class _StoppedError(Exception):
    """Stands for a kill."""


@pytest.fixture
def weights(tiny_config: TinyConfig, tmp_path: Path) -> str:
    """A complete RelDN checkpoint with the small backbone."""
    vocabulary = vocabulary_of("reldn_scenes_tiny_train")
    checkpointer = RelationCheckpointer(
        make_model(tiny_config(*OPTIONS)), str(tmp_path), vocabulary=vocabulary
    )
    checkpointer.save("start")
    return str(tmp_path / "start.pth")


@pytest.fixture
def run(weights: str, tmp_path: Path) -> Callable[..., list[list[Any]]]:
    """Trains five steps, or until a stop. Returns the image ids of each step."""

    def train(
        name: str = "run",
        *,
        stop: int | None = None,
        resume: bool = False,
        seed: int = 3,
        trainer: type[Any] = Trainer,
    ) -> list[list[Any]]:
        taken: list[list[Any]] = []
        settings = {"output": tmp_path / name, "weights": weights, "max_iter": LENGTH, "seed": seed}
        made = trainer(setup(arguments("yaml", *OPTIONS, resume=resume, **settings)))
        made.resume_or_load(resume=resume)

        def note(model: torch.nn.Module, inputs: Sequence[list[dict[str, Any]]]) -> None:
            if model.training:
                if made.iter == stop:
                    raise _StoppedError
                taken.append([x["image_id"] for x in inputs[0]])

        made.checkpointer.model.register_forward_pre_hook(note)
        try:
            made.train()
        except _StoppedError:
            assert stop is not None
        return taken

    return train


def edit_state(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Changes what a checkpoint says for resuming."""
    file = folder / "run" / "model_0000001.pth"
    checkpoint = torch.load(file)
    del checkpoint["sha256"]
    edit(checkpoint["trainer"]["hooks"])
    torch.save(checkpoint, file)


class ForeignTrainer(RelationTraining, DefaultTrainer):  # type: ignore[misc]
    """A trainer of another project."""


class OwnLoader(Trainer):
    """A trainer with Detectron2's own loader."""

    @classmethod
    def build_train_loader(cls, cfg: Any, dataset_dicts: Any = None) -> Any:
        return build_detection_train_loader(
            cfg, dataset=dataset_dicts, mapper=cls.build_mapper(cfg, is_train=True)
        )


Train = Callable[..., list[list[Any]]]
Screen = pytest.CaptureFixture[str]


def test_a_foreign_trainer_goes_on_exactly(run: Train, tmp_path: Path) -> None:
    wanted = run("whole", trainer=ForeignTrainer)
    first = run(stop=3, trainer=ForeignTrainer)
    rest = run(resume=True, trainer=ForeignTrainer)
    assert first == wanted[:3] and rest == wanted[2:] and len(wanted) == LENGTH
    mine, theirs = (torch.load(tmp_path / x / "model_final.pth")["model"] for x in ("run", "whole"))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_another_seed_is_said_and_draws_a_new_order(run: Train, capsys: Screen) -> None:
    first = run(stop=3)
    capsys.readouterr()
    rest = run(resume=True, seed=4, stop=LENGTH - 1)
    said = "The training had the seed 3 and has 4 now: from iteration 2 on, images are drawn in a new order"
    assert said in capsys.readouterr().out
    assert rest[:1] != first[2:]
    # The new order is continued, and nothing is said.
    assert len(run(resume=True, seed=4)) == 1
    assert "new order" not in capsys.readouterr().out


def test_another_number_of_processes_is_said(run: Train, tmp_path: Path, capsys: Screen) -> None:
    run(stop=3)
    edit_state(tmp_path, lambda hooks: hooks["ExactResume"].update(processes=2))
    run(resume=True)
    assert "The training had 2 processes and has 1 now: from iteration 2 on" in capsys.readouterr().out


def test_a_checkpoint_of_an_earlier_release_does_not_repeat_the_first_images(
    run: Train, tmp_path: Path, capsys: Screen
) -> None:
    first = run(stop=3)
    edit_state(tmp_path, lambda hooks: hooks.pop("ExactResume"))
    rest = run(resume=True)
    assert "does not say which images its training has seen: from iteration 2 on" in capsys.readouterr().out
    assert rest[0] != first[0] and len(rest) == 3


def test_a_loader_of_ones_own_is_said(run: Train, capsys: Screen) -> None:
    run(stop=3, trainer=OwnLoader)
    capsys.readouterr()
    assert len(run(resume=True, trainer=OwnLoader)) == 3
    assert "it begins anew: the training may see other images" in capsys.readouterr().out


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "metrics.json").read_text().splitlines()]


def test_a_run_without_a_checkpoint_begins_its_metrics_anew(run: Train, tmp_path: Path) -> None:
    assert run(stop=0) == []
    file = tmp_path / "run" / "metrics.json"
    file.write_text('{"iteration": 0, "total_loss": 1.0}\n{"iter')
    run(resume=True)
    assert [x["iteration"] for x in lines(tmp_path) if "total_loss" in x] == [LENGTH - 1]


def test_results_of_another_training_are_not_taken(run: Train, tmp_path: Path) -> None:
    """A training was deleted but for its results, and the next one was killed in its last evaluation."""
    folder = tmp_path / "run"
    run()
    file = folder / "summary.json"
    others = json.loads(file.read_text())
    others["results"]["prdcls/motifs"]["R@50"] = 99.0
    others["identity"]["weights (sha256)"] = "0" * 16
    file.write_text(json.dumps(others))
    run(resume=True)
    assert json.loads(file.read_text())["results"]["prdcls/motifs"]["R@50"] != 99.0


def test_final_weights_are_saved_after_a_kill_behind_the_last_checkpoint(run: Train, tmp_path: Path) -> None:
    run()
    folder = tmp_path / "run"
    (folder / "model_final.pth").rename(folder / "model_0000004.pth")
    (folder / "last_checkpoint").write_text("model_0000004.pth")
    (folder / "summary.json").unlink()
    assert run(resume=True) == []
    mine, theirs = (torch.load(folder / x) for x in ("model_final.pth", "model_0000004.pth"))
    assert mine["iteration"] == theirs["iteration"] == LENGTH - 1
    assert all(torch.equal(mine["model"][name], x) for name, x in theirs["model"].items())
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"


def test_the_end_of_the_metrics_is_cut_while_they_are_open(tmp_path: Path) -> None:
    file = tmp_path / "metrics.json"
    cut_metrics(file, 3)
    assert not file.exists()
    file.write_text("one\ntwo\nthr")
    with file.open("a") as writer:
        cut_metrics(file, 8)
        cut_metrics(file, 100)
        writer.write("four\n")
    assert file.read_text() == "one\ntwo\nfour\n"


def test_the_writers_stay_the_last_hook(tiny_config: TinyConfig) -> None:
    """Projects insert theirs before the last one, as Detectron2's documentation tells them."""
    for kind in (Trainer, ForeignTrainer):
        made = kind(tiny_config(*OPTIONS))._hooks
        assert isinstance(made[-1], PeriodicWriter) and isinstance(made[-2], ExactResume)


def test_precise_bn_has_the_same_images_each_time() -> None:
    opts = [
        *TINY,
        "TEST.PRECISE_BN.ENABLED",
        "True",
        "TEST.PRECISE_BN.NUM_ITER",
        "2",
        "TEST.EVAL_PERIOD",
        "2",
    ]
    cfg = load_config(str(REPOSITORY / "configs" / "scenes" / "detector.yaml"), opts)
    hook = Trainer.parts_of(cfg).precise_bn(torch.nn.BatchNorm2d(3))
    batches = iter(hook._data_loader)
    taken = [[x["image_id"] for x in next(batches)] for _ in range(4)]
    assert taken[:2] == taken[2:] and taken[0] != taken[1]
