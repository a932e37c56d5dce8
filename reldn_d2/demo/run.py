"""The demo from start to end: trains the models, evaluates them, and writes the report.

Trains a detector, then RelDN on its detections: three models, without pixels, with cross entropy alone, and
with the contrastive losses as well. A second run keeps the finished steps.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.data import DatasetCatalog

from reldn_d2.engine import setup_console
from reldn_d2.engine.parts import FINAL_WEIGHTS
from reldn_d2.engine.summary import INFERENCE
from reldn_d2.evaluation import load_per_image
from reldn_d2.evaluation.io.results import PER_IMAGE_FILE, RESULTS_FILE, read_results
from reldn_d2.evaluation.scorer import PREDICTIONS_FILE
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import say

from .cases import load_prdcls, scene_cases
from .models import BASELINE, FREQUENCY, FULL, WITHOUT_PIXELS
from .pictures import write_scenes
from .report import Demo, Evaluation, print_summary, write_report
from .side_by_side import run_side_by_side
from .steps import Call, Command, Steps

# Model -> name of its config and of its folder.
RUNS = {WITHOUT_PIXELS: "semantic_spatial", BASELINE: "reldn_l0", FULL: "reldn"}
# The same of the model without weights, which is evaluated on the first task alone.
FREQUENCY_RUN = "frequency"
TASKS = ("prdcls", "sgdet")
# Fixed, so that a demo can be repeated, and chosen before any run with it.
SEED = "1"
NUM_SAMPLES = 10


@dataclass(frozen=True)
class Size:
    """How much the demo does.

    Attributes:
        train_dataset, test_dataset: names of the scenes.
        shown: number of scenes of each kind of confusion in the report.
        duration: time on two CPU cores.
        options: overrides of the configs, for every model.
        detector_options: more overrides of the detector's config.
        relation_options: more overrides of RelDN's configs.
        side_by_side: whether two processes train and evaluate the models. They import PyTorch again, which
            takes several seconds.
    """

    train_dataset: str
    test_dataset: str
    shown: int
    duration: str
    options: tuple[str, ...] = ()
    detector_options: tuple[str, ...] = ()
    relation_options: tuple[str, ...] = ()
    side_by_side: bool = False


# Shorter than the schedules of configs/scenes; docs/results.md compares them. All stages of both ResNets stay
# equal, so they are computed once; only their pyramids differ.
COMPLETE = Size(
    "reldn_scenes_train",
    "reldn_scenes_test",
    shown=3,
    duration="about 7 minutes",
    options=(
        *("INPUT.MIN_SIZE_TRAIN", "(160,)"),
        *("INPUT.MIN_SIZE_TEST", "160"),
        # A scene has at most ten things.
        *("MODEL.RPN.PRE_NMS_TOPK_TEST", "200"),
        *("MODEL.RPN.POST_NMS_TOPK_TEST", "100"),
    ),
    detector_options=(
        *("SOLVER.BASE_LR", "0.02"),
        *("SOLVER.MAX_ITER", "200"),
        *("SOLVER.STEPS", "(150, 185)"),
    ),
    relation_options=(
        *("MODEL.BACKBONE.FREEZE_AT", "5"),
        *("SOLVER.BASE_LR", "0.03"),
        # At a rate of 0.04, the four losses became infinite once without it.
        *("SOLVER.CLIP_GRADIENTS.ENABLED", "True"),
        *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"),
        *("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.5"),
        *("SOLVER.WARMUP_ITERS", "15"),
        *("SOLVER.MAX_ITER", "320"),
        *("SOLVER.STEPS", "(240, 300)"),
    ),
    side_by_side=True,
)
# Sixteen training scenes and eight test scenes at half their size, and three steps of each training.
QUICK = Size(
    "reldn_scenes_tiny_train",
    "reldn_scenes_tiny_test",
    shown=1,
    duration="less than a minute",
    options=(
        *("DATASETS.TRAIN", "('reldn_scenes_tiny_train',)"),
        *("INPUT.MIN_SIZE_TRAIN", "(96,)"),
        *("INPUT.MIN_SIZE_TEST", "96"),
        *("SOLVER.MAX_ITER", "3"),
        *("SOLVER.STEPS", "()"),
        *("SOLVER.IMS_PER_BATCH", "2"),
        *("SOLVER.BASE_LR", "0.0001"),  # a few steps from random weights must not diverge
    ),
    detector_options=("DATASETS.TEST", "('reldn_scenes_tiny_test',)"),
)


def run_demo(output: Path, opts: list[str], call: Call, *, quick: bool) -> Path:
    """Runs the steps of the demo that are missing, and writes the report.

    Args:
        output: folder for all files.
        opts: KEY VALUE overrides for all models, in a flat list. SEED is 1 unless they name another one.
        call: runs a command of `reldn`, see `steps.Call`. Other processes must be able to import it.
        quick: only a few steps of each training, on few scenes. That shows that everything works; the numbers
            mean nothing.

    Returns:
        The report, report.html in the folder.

    Raises:
        ValueError: an override is wrong, or the folder has results of other settings.
        OSError: a file can't be written.
    """
    size = QUICK if quick else COMPLETE
    # The commands in the report must not show where this user's folders are.
    folder = Path(os.path.relpath(output))
    # The detector, its detections, and a training and an evaluation of each model, but no training of one.
    steps = Steps(folder, number=2 + 2 * len(RUNS) + 1, call=call)
    setup_console()
    say(f"The demo takes {size.duration} on two CPU cores. A second call keeps what is finished.")
    start = time.perf_counter()
    make_detections(steps, size, opts)
    train_and_evaluate(steps, size, opts)
    dataset_dicts = DatasetCatalog.get(size.test_dataset)
    of_prdcls = {name: result_file(folder, run, size, "prdcls") for name, run in RUNS.items()}
    predictions = {name: file.with_name(PREDICTIONS_FILE) for name, file in of_prdcls.items()}
    demo = Demo(
        folder=folder,
        quick=quick,
        shown=size.shown,
        runs={name: folder / run for name, run in RUNS.items()},
        models={name: load_prdcls(folder / RUNS[name], size.test_dataset) for name in (BASELINE, FULL)},
        results=read_evaluations(folder, size),
        scenes=scene_cases(predictions, dataset_dicts),
        steps=steps.done,
    )
    write_samples([Path(x["file_name"]) for x in dataset_dicts[:NUM_SAMPLES]], folder / "samples")
    write_scenes(demo.scenes, folder / "scenes.jpg")
    report = write_report(demo)
    print_summary(demo, report, time.perf_counter() - start)
    return report


def make_detections(steps: Steps, size: Size, opts: Sequence[str]) -> None:
    """Trains the detector, and saves its detections."""
    detector, detections = steps.folder / "detector", steps.folder / "detections"
    trained = detector / FINAL_WEIGHTS
    train = [
        *("train", "--config-file", "scenes/detector.yaml", "--output", str(detector), "--resume"),
        *(*_seed(opts), *size.options, *size.detector_options, *opts),
    ]
    steps.run(Command("train_detector", train, trained))
    cache = ["cache-detections", "--weights", str(detector), "--output", str(detections)]
    steps.run(Command("detections", cache, detections / f"{size.train_dataset}.npz", [trained]))


def train_and_evaluate(steps: Steps, size: Size, opts: Sequence[str]) -> None:
    """Trains the models on the detections, and evaluates them."""
    output = steps.folder / FREQUENCY_RUN
    # Its table is counted over the training scenes, so there is nothing to train.
    counted = [
        *("evaluate", "--config-file", "scenes/frequency.yaml", "--output", str(output)),
        *("--dataset", size.test_dataset, "--task", "prdcls", *size.options, *opts),
    ]
    result = result_file(steps.folder, FREQUENCY_RUN, size, "prdcls")
    of_counted = Command(f"evaluate_{FREQUENCY_RUN}", counted, result)
    of_model = {name: model_commands(steps.folder, run, size, opts) for name, run in RUNS.items()}
    # The two models with pixels take nearly all of the time.
    lists = [[*of_model[BASELINE], of_counted], [*of_model[FULL], *of_model[WITHOUT_PIXELS]]]
    if size.side_by_side:
        run_side_by_side(steps, lists)
    else:
        for command in (command for commands in lists for command in commands):
            steps.run(command)


def model_commands(folder: Path, run: str, size: Size, opts: Sequence[str]) -> list[Command]:
    """The commands that train and evaluate a model.

    Args:
        folder: the demo's folder.
        run: name of the model's config and folder.
        size: how much the demo does.
        opts: overrides of the config. A training saves them beside its weights, so an evaluation needs none.
    """
    detector, detections, output = folder / "detector", folder / "detections", folder / run
    used, tested = (detections / f"{name}.npz" for name in (size.train_dataset, size.test_dataset))
    weights = output / FINAL_WEIGHTS
    train = [
        *("train", "--config-file", f"scenes/{run}.yaml", "--weights", str(detector)),
        *("--output", str(output), "--resume", *_seed(opts), *size.options),
        *size.relation_options,
        *("DATASETS.DETECTION_FILES_TRAIN", f"('{used}',)", "DATASETS.TEST", "()", *opts),
    ]
    evaluate = [
        *("evaluate", "--weights", str(output), "--dataset", size.test_dataset, "--task", *TASKS),
        *("DATASETS.DETECTION_FILES_TEST", f"('{tested}',)"),
    ]
    return [
        Command(f"train_{run}", train, weights, [detector / FINAL_WEIGHTS, used]),
        Command(f"evaluate_{run}", evaluate, result_file(folder, run, size, TASKS[-1]), [weights, tested]),
    ]


def _seed(opts: Sequence[str]) -> list[str]:
    return [] if "SEED" in opts else ["--seed", SEED]


def result_file(folder: Path, run: str, size: Size, task: str) -> Path:
    """The results of a model on a task."""
    return folder / run / INFERENCE / size.test_dataset / task / RESULTS_FILE


def read_evaluations(folder: Path, size: Size) -> dict[str, dict[str, Evaluation]]:
    """Reads what the evaluations wrote.

    Returns:
        Model -> task -> results.
    """
    done = {FREQUENCY: (FREQUENCY_RUN, TASKS[:1])} | {name: (run, TASKS) for name, run in RUNS.items()}
    results: dict[str, dict[str, Evaluation]] = {}
    for name, (run, tasks) in done.items():
        files = {task: result_file(folder, run, size, task) for task in tasks}
        results[name] = {
            task: Evaluation(read_results(file), load_per_image(file.with_name(PER_IMAGE_FILE)))
            for task, file in files.items()
        }
    return results


def write_samples(images: Sequence[Path], folder: Path) -> None:
    """Copies scenes as scene_0.png and so on: pictures without drawings, to try `reldn predict` on.

    Args:
        images: files of the scenes.
        folder: folder for the copies.
    """
    for number, image in enumerate(images):
        with atomic_write(folder / f"scene_{number}{image.suffix}") as file:
            file.write(image.read_bytes())
