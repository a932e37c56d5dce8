"""Trainings on two machines end as those of one machine with two processes, also after a killed worker.

The machines are commands on this one, which meet at a port, see `tests.builders.machines`.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from reldn_d2.engine import load_config
from tests.builders.machines import Ended, by_detectron2, by_torchrun, free_port, run_together
from tests.builders.tiny_models import REPOSITORY, TINY
from tests.builders.tiny_runs import save_random_weights

_TASK = ("MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls")
# Kills the process of a rank before a step, each once.
_KILLS = """
import os
import signal
from pathlib import Path

from detectron2.utils import comm

from reldn_d2.engine import Trainer

train = Trainer.run_step


def run_step(self):
    killed = Path(__file__).with_name(f"killed_in_{self.iter}")
    if {1: 1, 3: 0}.get(self.iter) == comm.get_rank() and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    train(self)


Trainer.run_step = run_step
"""
# Runs a command whose processes are forked from one that has computed nothing: the imports are made once.
_FORKED = """
import os
import sys
from functools import partial

os.environ["OMP_NUM_THREADS"] = "1"
import torch.multiprocessing as launching

from reldn_cli.main import main

launching.start_processes = partial(launching.start_processes, start_method="fork")
sys.exit(main(sys.argv[1:]))
"""
# Registers data sets of which the second process has one image less.
_OTHER_DATA = """
import os

from detectron2.data import DatasetCatalog, MetadataCatalog

for split in ("train", "test"):
    like = f"reldn_scenes_tiny_{split}"
    names = {key: MetadataCatalog.get(like).get(key) for key in ("thing_classes", "predicate_classes")}
    MetadataCatalog.get(f"own_{split}").set(**names)
    DatasetCatalog.register(
        f"own_{split}", lambda like=like: DatasetCatalog.get(like)[int(os.environ["RANK"]) :]
    )
"""


@dataclass(frozen=True)
class Training:
    """A training of RelDN of a few steps.

    Attributes:
        weights: checkpoint that it starts from.
        folder: where its runs lie.
    """

    weights: str
    folder: Path

    def words(self, name: str, *more: object) -> list[object]:
        """The words of `reldn` that train it into a folder of this name."""
        start = ("--config-file", "scenes/reldn.yaml", "--weights", self.weights, "--seed", 5)
        return ["train", *start, "--output", self.folder / name, *TINY, *_TASK, *more]

    def run(self, *commands: Sequence[str]) -> list[Ended]:
        """Runs the commands of all machines."""
        return run_together(commands, self.folder)

    def end(self, name: str) -> dict[str, Any]:
        """What a run left: weights, numbers of all steps without times, and results."""
        output = self.folder / name
        lines = map(json.loads, (output / "metrics.json").read_text().splitlines())
        timed = ("time", "eta_seconds")
        return {
            "weights": torch.load(output / "model_final.pth", weights_only=True)["model"],
            "metrics": [{key: x for key, x in line.items() if not key.endswith(timed)} for line in lines],
            "results": json.loads((output / "summary.json").read_text())["results"],
        }


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    folder = tmp_path_factory.mktemp("machines")
    file = str(REPOSITORY / "configs" / "scenes" / "reldn.yaml")
    config = load_config(file, [*TINY, "MODEL.WEIGHTS", "", "OUTPUT_DIR", str(folder)])
    return Training(save_random_weights(config, folder), folder)


@pytest.fixture(scope="module")
def wanted(training: Training) -> dict[str, Any]:
    """What one machine with two processes leaves."""
    launch = ("--num-gpus", "2", "--dist-url", (training.folder / "meeting").as_uri())
    words = map(str, (*training.words("one_machine"), *launch))
    (ended,) = training.run([sys.executable, "-c", _FORKED, *words])
    assert ended.status == 0, ended.output
    return training.end("one_machine")


def check_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compares bit for bit."""
    assert found["weights"].keys() == wanted["weights"].keys()
    assert not [name for name, x in found["weights"].items() if not torch.equal(x, wanted["weights"][name])]
    assert found["metrics"] == wanted["metrics"] and len(found["metrics"]) > 1
    assert found["results"] == wanted["results"] and found["results"]


def check_ended(machines: Sequence[Ended]) -> None:
    """All machines have ended well, and one of them alone has said what was trained."""
    assert not any(machine.status for machine in machines), machines
    assert sum(machine.output.count("cpu, 2 processes") for machine in machines) == 1


def test_two_machines_of_torchrun_train_as_one(training: Training, wanted: dict[str, Any]) -> None:
    port = free_port()
    check_ended(training.run(*(by_torchrun(training.words("torchrun"), i, port) for i in range(2))))
    check_same(training.end("torchrun"), wanted)
    assert (training.folder / "torchrun" / "log.txt.rank1").is_file()


@pytest.mark.slow
def test_two_machines_of_detectron2_train_as_one(training: Training, wanted: dict[str, Any]) -> None:
    port = free_port()
    machines = training.run(*(by_detectron2(training.words("detectron2"), i, port) for i in range(2)))
    check_ended(machines)
    assert "Waits for the other machines at tcp://127.0.0.1:" in machines[1].output
    check_same(training.end("detectron2"), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["reldn", "train_net.py"])
def test_torchrun_starts_every_program(training: Training, wanted: dict[str, Any], program: str) -> None:
    words, output = training.words(program), training.folder / program
    if program == "reldn":
        path = shutil.which(program, path=str(Path(sys.executable).parent))
        if path is None:
            pytest.skip("the command reldn is not installed beside this Python")
    else:
        path = str(REPOSITORY / program)
        settings = ("MODEL.WEIGHTS", training.weights, "OUTPUT_DIR", output, "SEED", 5)
        words = ["--config-file", REPOSITORY / "configs/scenes/reldn.yaml", *TINY, *_TASK, *settings]
    check_ended(training.run(by_torchrun(words, options=("--nproc-per-node", 2), program=(path,))))
    check_same(training.end(program), wanted)


@pytest.mark.slow
def test_torchrun_evaluates(training: Training, wanted: dict[str, Any]) -> None:
    model, output = training.folder / "one_machine", training.folder / "evaluation"
    words = ["evaluate", "--weights", model, "--task", "prdcls", "--output", output]
    (ended,) = training.run(by_torchrun(words, options=("--nproc-per-node", 2)))
    assert ended.status == 0, ended.output
    summary = json.loads((output / "inference" / "summary.json").read_text())
    assert summary["results"] == wanted["results"]


_LONGER = ("SOLVER.MAX_ITER", 6, "SOLVER.CHECKPOINT_PERIOD", 2, "TEST.EVAL_PERIOD", 2, "--resume")


@pytest.fixture(scope="module")
def undisturbed(training: Training) -> dict[str, Any]:
    """What a longer training leaves in which nobody dies."""
    words = training.words("undisturbed", *_LONGER)
    check_ended(training.run(by_torchrun(words, options=("--nproc-per-node", 2))))
    return training.end("undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_killed_workers_are_started_again_and_end_as_without(
    training: Training, undisturbed: dict[str, Any], machines: int
) -> None:
    """One dies before the first checkpoint, and the main process behind it."""
    name = f"killed_{machines}"
    module = training.folder / f"kills_{machines}" / "kills.py"
    module.parent.mkdir()
    module.write_text(_KILLS)
    words = training.words(name, *_LONGER, "--import", module)
    port = None if machines == 1 else free_port()
    number = ("--nproc-per-node", 2) if machines == 1 else ("--nnodes", 2)
    command = by_torchrun(words, port=port, options=(*number, "--max-restarts", 3))
    ended = training.run(*[command] * machines)
    assert not any(machine.status for machine in ended), ended
    assert {path.name for path in module.parent.glob("killed_in_*")} == {"killed_in_1", "killed_in_3"}
    check_same(training.end(name), undisturbed)


@pytest.mark.slow
def test_machines_with_other_settings_data_or_weights_are_named(training: Training) -> None:
    module, other = training.folder / "other_data.py", training.folder / "other.pth"
    module.write_text(_OTHER_DATA)
    own = ("--import", module, "DATASETS.TRAIN", "('own_train',)")
    state = torch.load(training.weights, weights_only=True)
    state["model"] = {
        name: x + 1 if name.startswith("relation_") else x for name, x in state["model"].items()
    }
    del state["sha256"]
    torch.save(state, other)
    start = "MODEL.ROI_RELATION_HEAD.WEIGHTS"
    cases = {
        "SOLVER.MAX_ITER is 4, not 3": [("SOLVER.MAX_ITER", 3), ("SOLVER.MAX_ITER", 4)],
        "number of training images is 15, not 16": [own, own],
        "weights (sha256) is ": [(start, training.weights), (start, other)],
    }
    for number, (message, more) in enumerate(cases.items()):
        port = free_port()
        words = [training.words(f"other_{number}", *x) for x in more]
        for machine in training.run(*(by_torchrun(words[i], i, port) for i in range(2))):
            assert machine.status == 1
            (error,) = machine.errors
            assert error.startswith("process 1 on ") and f": {message}" in error
    # Nobody has trained.
    assert not list(training.folder.glob("other_*/*.pth"))


@pytest.mark.slow
def test_an_evaluation_of_other_data_is_refused(training: Training) -> None:
    module = training.folder / "other_test_data.py"
    module.write_text(_OTHER_DATA)
    words = ["evaluate", "--weights", training.weights, "--config-file", "scenes/reldn.yaml", *TINY]
    words += ["DATASETS.TEST", "('own_test',)", "--import", module]
    words += ["--output", training.folder / "other_evaluation"]
    (ended,) = training.run(by_torchrun([*words, *_TASK], options=("--nproc-per-node", 2)))
    assert len(ended.errors) == 2
    assert all(": content of the data (sha256) is " in error for error in ended.errors), ended


@pytest.mark.slow
def test_a_machine_without_the_checkpoint_is_named(training: Training, wanted: dict[str, Any]) -> None:
    here, there = training.folder / "own_disk", training.folder / "other_disk"
    shutil.copytree(training.folder / "one_machine", here)
    port = free_port()
    words = [training.words(x.name, "SOLVER.MAX_ITER", 4, "--resume") for x in (here, there)]
    for machine in training.run(*(by_detectron2(words[i], i, port) for i in range(2))):
        assert machine.status == 2
        (error,) = machine.errors
        assert "last checkpoint is none, not model_final.pth. To resume on several" in error
    assert not list(there.glob("*.pth"))


@pytest.mark.slow
@pytest.mark.parametrize("machine", [0, 1])
def test_a_machine_that_finds_nobody_says_so(training: Training, machine: int) -> None:
    words = training.words("alone", "--dist-timeout", 2)
    (ended,) = training.run(by_detectron2(words, machine, free_port()))
    assert ended.status == 2
    (error,) = ended.errors
    assert "did not find each other" in error and "127.0.0.1" in ended.output
