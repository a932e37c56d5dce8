"""What all processes of a run must share is compared, and named with its process and machine."""

import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.utils import comm

import reldn_d2
from reldn_d2.engine import load_config, parts_of, set_up_run
from reldn_d2.engine.resumable_evaluation import weights_digest
from reldn_d2.engine.run import check_same_checkpoint, check_same_weights
from reldn_d2.engine.run_identity import shared_settings
from reldn_d2.engine.same_everywhere import check_same_everywhere, versions
from tests.builders.tiny_models import REPOSITORY

Others = Callable[..., None]


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Others:
    """Stands for further processes: they have found these values on these machines."""

    def pretend(*found: tuple[str, dict[str, str]]) -> None:
        monkeypatch.setattr(comm, "get_world_size", lambda: 1 + len(found))
        monkeypatch.setattr(comm, "all_gather", lambda mine: [mine, *found])

    monkeypatch.setattr(socket, "gethostname", lambda: "a")
    return pretend


def test_one_process_agrees_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comm, "all_gather", lambda _: pytest.fail("there is nobody to ask"))
    check_same_everywhere({"lr": "1"}, "Do it.")


def test_equal_processes_agree(others: Others) -> None:
    others(("b", {"lr": "1", "seed": "2"}), ("c", {"seed": "2", "lr": "1"}))
    check_same_everywhere({"lr": "1", "seed": "2"}, "Do it.")


def test_the_first_process_that_differs_is_named_with_its_machine(others: Others) -> None:
    others(("b", {"lr": "1"}), ("c", {"lr": "2", "new": "x"}), ("d", {"lr": "3"}))
    with pytest.raises(ValueError) as error:
        check_same_everywhere({"lr": "1"}, "Do it.")
    assert str(error.value) == (
        "process 2 on c differs from process 0 on a: lr is 2, not 1; new is x, not missing. Do it."
    )


def test_many_differences_are_counted(others: Others) -> None:
    others(("b", {}))
    with pytest.raises(ValueError, match=r"k09 is missing, not 0; and 5 more\. Do it"):
        check_same_everywhere({f"k{i:02}": "0" for i in range(15)}, "Do it.")


def test_other_weights_and_another_length_are_named(others: Others) -> None:
    model = torch.nn.Linear(1, 1)
    weights, done = "weights (sha256)", "number of iterations that are done"
    others(("b", {done: "3", weights: weights_digest(model)}))
    check_same_weights(model, 3)
    with pytest.raises(ValueError, match=rf"{done} is 3, not 4\. Give every machine the same files"):
        check_same_weights(model, 4)
    with torch.no_grad():
        model.bias += 1
    with pytest.raises(ValueError, match=r"weights \(sha256\) is \w+, not \w+\."):
        check_same_weights(model, 3)


def test_another_checkpoint_is_named(others: Others, tmp_path: Path) -> None:
    parts = parts_of(
        load_config(str(REPOSITORY / "configs/scenes/reldn.yaml"), ["OUTPUT_DIR", str(tmp_path)])
    )
    others(("b", {"last checkpoint": "none"}))
    check_same_checkpoint(parts)
    for name in ("model_0000001.pth", "last_checkpoint"):
        (tmp_path / name).write_text("model_0000001.pth")
    with pytest.raises(ValueError, match=rf"is none, not model_0000001\.pth\. To resume .*{tmp_path}"):
        check_same_checkpoint(parts)


@pytest.mark.parametrize(
    ("name", "here", "there"), [("--resume", "False", "True"), ("the run", "training", "evaluation")]
)
def test_a_machine_with_another_command_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, here: str, there: str
) -> None:
    config = load_config(str(REPOSITORY / "configs/scenes/reldn.yaml"), ["OUTPUT_DIR", str(tmp_path)])
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "all_gather", lambda mine: [mine, ("b", {**mine[1], name: there})])
    with pytest.raises(ValueError, match=rf"process 1 on b differs .*: {name} is {there}, not {here}\. Give"):
        set_up_run(config, "x.yaml", [])
    assert not list(tmp_path.iterdir())


def test_the_versions_are_those_that_are_imported() -> None:
    found = versions()
    assert found["version of reldn_d2"] == reldn_d2.__version__
    assert found["version of torch"] == torch.__version__


@pytest.mark.parametrize(
    ("file", "free", "shared"),
    [
        (
            "configs/scenes/reldn.yaml",
            ["OUTPUT_DIR /b", "DATALOADER.NUM_WORKERS 7", "MODEL.WEIGHTS /b/x.pth"],
            ["SEED 3", "SOLVER.BASE_LR 0.5", "TEST.EVAL_PERIOD 9", "SOLVER.CHECKPOINT_PERIOD 9"],
        ),
        (
            "tests/builders/tiny_lazy.py",
            ["train.output_dir=/b", "dataloader.train.num_workers=7", "train.init_checkpoint=/b/x.pth"],
            ["train.seed=3", "optimizer.lr=0.5", "train.eval_period=9"],
        ),
    ],
)
def test_machines_may_differ_in_their_folders_and_workers_alone(
    file: str, free: list[str], shared: list[str]
) -> None:
    def settings(opts: Iterable[str]) -> dict[str, Any]:
        config = load_config(str(REPOSITORY / file), [word for text in opts for word in text.split()])
        parts = parts_of(config)
        return shared_settings(parts.settings(), python=parts.is_python)

    assert settings(free) == settings([])
    for one in shared:
        assert settings([one]) != settings([])
