"""Trainings that are killed and resumed until they end, for the tests of this folder.

Each leg runs in a process of its own. It is forked from this one, so PyTorch is not imported again.
"""

import json
import multiprocessing
import os
import signal
from argparse import Namespace
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as launching
import torch.utils.tensorboard
from detectron2.utils import comm

from reldn_d2.engine import Trainer, setup
from tests.builders.mixed_pictures import register_mixed_pictures
from tests.builders.processes import run_in_processes
from tests.builders.small_backbone import build_small_backbone
from tests.builders.tiny_models import NARROW, REPOSITORY

#: Where a leg is killed: before ("step", iteration), before a checkpoint is the last one ("tag", file name),
#: or in an evaluation ("evaluation", number of iterations).
Kill = tuple[str, int | str]
_TIMEOUT = 600


@dataclass(frozen=True)
class Run:
    """A training of a few steps.

    Attributes:
        kind: "yaml" or "python".
        model: "detector" or "reldn".
        weights: checkpoint that RelDN starts from.
        processes: number of processes.
        length: number of steps.
    """

    kind: str
    model: str
    weights: str
    processes: int = 1
    length: int = 8

    def arguments(self, output: Path, resume: bool, seed: int, workers: int) -> Namespace:
        """Arguments of `train_net.py`, with checkpoints and evaluations each 3 steps, and with augmentation.

        Args:
            output: folder of the run.
            resume: whether to go on.
            seed: seed of the run; negative: drawn.
            workers: number of processes that load images, for each process.
        """
        make = _yaml_options if self.kind == "yaml" else _python_options
        file, opts = make(self, output, seed, workers)
        return Namespace(config_file=str(file), opts=opts, resume=resume, eval_only=False)


def _yaml_options(run: Run, output: Path, seed: int, workers: int) -> tuple[Path, list[str]]:
    settings = {
        "MODEL.BACKBONE.NAME": build_small_backbone.__name__,
        "DATASETS.TRAIN": ("mixed_train",),
        "DATASETS.TEST": ("mixed_test",),
        "INPUT.MIN_SIZE_TRAIN": (64, 80, 96),
        "INPUT.MIN_SIZE_TEST": 72,
        "INPUT.RANDOM_FLIP": "horizontal",
        "INPUT.CROP.ENABLED": True,
        "INPUT.CROP.SIZE": [0.7, 0.7],
        "DATALOADER.NUM_WORKERS": workers,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.BASE_LR": 0.001,
        "SOLVER.WARMUP_ITERS": 4,
        "SOLVER.STEPS": (6,),
        "SOLVER.MAX_ITER": run.length,
        "SOLVER.CHECKPOINT_PERIOD": 3,
        "TEST.EVAL_PERIOD": 3,
        "TEST.BEST_CHECKPOINT": run.model == "reldn",
        "MODEL.WEIGHTS": run.weights if run.model == "reldn" else "",
        "OUTPUT_DIR": output,
        "SEED": seed,
    }
    if run.model == "reldn":
        settings["MODEL.ROI_RELATION_HEAD.TEST.TASK"] = "prdcls"
        settings["MODEL.ROI_RELATION_HEAD.VISUAL.DROPOUT"] = 0.3
    words = [word for key, value in settings.items() for word in (key, str(value))]
    return REPOSITORY / "configs" / "scenes" / f"{run.model}.yaml", [*NARROW, *words]


def _python_options(run: Run, output: Path, seed: int, workers: int) -> tuple[Path, list[str]]:
    settings = {
        "dataloader.train.num_workers": workers,
        "train.max_iter": run.length,
        "train.init_checkpoint": run.weights if run.model == "reldn" else "",
        "train.output_dir": output,
        "train.seed": seed,
    }
    file = REPOSITORY / "tests" / "builders" / f"mixed_{run.model}.py"
    return file, [f"{key}={value}" for key, value in settings.items()]


assert torch.utils.tensorboard, "imported here once, and not in each process"


class _KilledTrainer(Trainer):
    """A trainer that is killed at a chosen place."""

    kill: Kill = ("never", 0)

    def run_step(self) -> None:
        # Of several processes, one dies here that is not the main one.
        _die_if(self.kill == ("step", self.iter) and comm.get_rank() == comm.get_world_size() - 1)
        super().run_step()

    def build_checkpointer(self, *args: Any, **kwargs: Any) -> Any:
        checkpointer = super().build_checkpointer(*args, **kwargs)
        tag = checkpointer.tag_last_checkpoint

        def tag_or_die(name: str) -> None:
            _die_if(self.kill == ("tag", name))
            tag(name)

        checkpointer.tag_last_checkpoint = tag_or_die
        return checkpointer

    def _test_and_keep_results(self) -> dict[str, Any]:
        # In the middle: the evaluation has begun.
        _KilledTrainer.dies_in_test = self.kill == ("evaluation", min(self.iter + 1, self.max_iter))
        return super()._test_and_keep_results()

    dies_in_test = False

    @classmethod
    def test(cls, *args: Any, **kwargs: Any) -> Any:
        _die_if(cls.dies_in_test)
        return super().test(*args, **kwargs)


def _die_if(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


def leg(run: Run, folder: str, output: str, resume: bool, kill: Kill, seed: int, workers: int) -> None:
    """One leg of a training, in one of its processes. It writes what the model was given."""
    torch.set_num_threads(1)
    register_mixed_pictures(Path(folder))
    trainer = _KilledTrainer(setup(run.arguments(Path(output), resume, seed, workers)))
    trainer.kill = kill
    trainer.resume_or_load(resume=resume)
    taken = Path(f"{output}_taken_{comm.get_rank()}.txt")

    def write(model: torch.nn.Module, inputs: tuple[list[dict[str, Any]]]) -> None:
        if model.training:
            images = [(Path(x["file_name"]).name, int(x["image"].long().sum())) for x in inputs[0]]
            with taken.open("a") as file:
                file.write(json.dumps([trainer.iter, images]) + "\n")

    trainer.checkpointer.model.register_forward_pre_hook(write)
    trainer.train()


def train(
    run: Run,
    folder: Path,
    output: Path,
    *,
    resume: bool = False,
    kill: Kill = ("never", 0),
    seed: int = 7,
    workers: int = 0,
    seconds: float = _TIMEOUT,
) -> bool:
    """Runs one leg in forked processes, and kills all of them if it takes more than `seconds`.

    Returns:
        Whether it ended and was not killed.
    """
    legs = multiprocessing.get_context("fork").Process(
        target=_in_processes, args=(run, str(folder), str(output), resume, kill, seed, workers)
    )
    legs.start()
    legs.join(seconds)
    if legs.exitcode is None:
        os.killpg(legs.pid or 0, signal.SIGKILL)
        legs.join()
    return legs.exitcode == 0


def _in_processes(run: Run, folder: str, output: str, *args: Any) -> None:
    os.setsid()  # so that its processes and workers can be killed together
    if run.processes == 1:
        leg(run, folder, output, *args)
        return
    # Detectron2's launcher starts new interpreters, which import PyTorch for seconds.
    launching.start_processes = partial(launching.start_processes, start_method="fork")
    Path(folder, f"rendezvous_of_{run.processes}").unlink(missing_ok=True)
    run_in_processes(leg, run.processes, Path(folder), run, folder, output, *args)


@dataclass(frozen=True)
class End:
    """What a training left.

    Attributes:
        weights, best: name -> tensor of `model_final.pth` and, if there is one, `model_best.pth`.
        results: results of the last evaluation.
        metrics: lines of `metrics.json` without times.
        taken: process -> iteration -> names and sums of pixels of the images.
    """

    weights: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    results: Any
    metrics: list[dict[str, Any]]
    taken: list[dict[int, Any]]

    @classmethod
    def of(cls, output: Path, processes: int = 1) -> "End":
        """Reads the folder of a training."""
        lines = (output / "metrics.json").read_text().splitlines()
        timed = ("time", "eta_seconds")
        metrics = [
            {key: x for key, x in json.loads(line).items() if not key.endswith(timed)} for line in lines
        ]
        best = output / "model_best.pth"
        return cls(
            weights=torch.load(output / "model_final.pth")["model"],
            best=torch.load(best)["model"] if best.exists() else {},
            results=json.loads((output / "summary.json").read_text())["results"],
            metrics=metrics,
            taken=[_taken(Path(f"{output}_taken_{rank}.txt")) for rank in range(processes)],
        )


def _taken(file: Path) -> dict[int, Any]:
    return dict(json.loads(line) for line in file.read_text().splitlines())
