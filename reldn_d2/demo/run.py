"""The demo from start to end: trains the models, evaluates them, and writes the report.

Trains a detector, then RelDN on its detections: three models, without pixels, with cross entropy alone, and
with the contrastive losses as well. A second run keeps the finished steps.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.data import DatasetCatalog

from reldn_d2.engine import setup_console
from reldn_d2.engine.parts import FINAL_WEIGHTS
from reldn_d2.evaluation import load_per_image
from reldn_d2.evaluation.io.results import PER_IMAGE_FILE, RESULTS_FILE, read_results
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import say

from .cases import load_prdcls, scene_cases
from .models import BASELINE, FREQUENCY, FULL, WITHOUT_PIXELS
from .pictures import write_scenes
from .report import Demo, Evaluation, print_summary, write_report
from .steps import Steps

# Model -> name of its config and of its folder.
RUNS = {WITHOUT_PIXELS: "semantic_spatial", BASELINE: "reldn_l0", FULL: "reldn"}
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
        detector_options: overrides of the detector's config.
    """

    train_dataset: str
    test_dataset: str
    shown: int
    duration: str
    options: tuple[str, ...] = ()
    detector_options: tuple[str, ...] = ()


COMPLETE = Size("reldn_scenes_train", "reldn_scenes_test", shown=3, duration="about 13 minutes")
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


def run_demo(output: Path, opts: list[str], call: Callable[[Sequence[str]], None], *, quick: bool) -> Path:
    """Runs the steps of the demo that are missing, and writes the report.

    Args:
        output: folder for all files.
        opts: KEY VALUE overrides for all models, in a flat list. SEED is 1 unless they name another one.
        call: runs a command of `reldn`, see `Steps`.
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
    # The detector, its detections, three models, two evaluations of each, and one of the counted model.
    steps = Steps(folder, number=2 + len(RUNS) + 2 * len(RUNS) + 1, call=call)
    setup_console()
    say(f"The demo takes {size.duration} on two CPU cores. A second call keeps what is finished.")
    train(steps, size, opts)
    results = evaluate(steps, size, opts)
    dataset_dicts = DatasetCatalog.get(size.test_dataset)
    models = {name: load_prdcls(folder / run, size.test_dataset) for name, run in RUNS.items()}
    demo = Demo(
        folder=folder,
        quick=quick,
        shown=size.shown,
        runs={name: folder / run for name, run in RUNS.items()},
        models=models,
        results=results,
        scenes=scene_cases(models, dataset_dicts),
        steps=steps.done,
    )
    write_samples([Path(x["file_name"]) for x in dataset_dicts[:NUM_SAMPLES]], folder / "samples")
    write_scenes(demo.scenes, folder / "scenes.jpg")
    report = write_report(demo)
    print_summary(demo, report)
    return report


def train(steps: Steps, size: Size, opts: Sequence[str]) -> None:
    """Trains the detector, saves its detections, and trains the models on them."""
    seed = [] if "SEED" in opts else ["--seed", SEED]
    detector, detections = steps.folder / "detector", steps.folder / "detections"
    trained, used = detector / FINAL_WEIGHTS, detections / f"{size.train_dataset}.npz"
    steps.run(
        "train_detector",
        [
            *("train", "--config-file", "scenes/detector.yaml", "--output", str(detector), "--resume"),
            *(*seed, *size.options, *size.detector_options, *opts),
        ],
        trained,
    )
    steps.run(
        "detections",
        ["cache-detections", "--weights", str(detector), "--output", str(detections)],
        used,
        [trained],
    )
    for run in RUNS.values():
        output = steps.folder / run
        steps.run(
            f"train_{run}",
            [
                *("train", "--config-file", f"scenes/{run}.yaml", "--weights", str(detector)),
                *("--output", str(output), "--resume", *seed, *size.options),
                *("DATASETS.DETECTION_FILES_TRAIN", f"('{used}',)", "DATASETS.TEST", "()", *opts),
            ],
            output / FINAL_WEIGHTS,
            [trained, used],
        )


def evaluate(steps: Steps, size: Size, opts: Sequence[str]) -> dict[str, dict[str, Evaluation]]:
    """Evaluates all models.

    A training saves its overrides beside its weights, so only the model without weights needs them again.

    Returns:
        Model -> task -> results.
    """
    detections = steps.folder / "detections" / f"{size.test_dataset}.npz"
    on_detections = ["DATASETS.DETECTION_FILES_TEST", f"('{detections}',)"]
    # Its table is counted over the training scenes, so there is nothing to train.
    counted = ["--config-file", "scenes/frequency.yaml", "--output", str(steps.folder / "frequency")]
    overrides = [*size.options, *opts]
    results = {FREQUENCY: {"prdcls": _evaluated(steps, size, "frequency", "prdcls", counted, overrides)}}
    for name, run in RUNS.items():
        folder = steps.folder / run
        source, made = ["--weights", str(folder)], [folder / FINAL_WEIGHTS, detections]
        results[name] = {
            "prdcls": _evaluated(steps, size, run, "prdcls", source, [], made),
            "sgdet": _evaluated(steps, size, run, "sgdet", source, on_detections, made),
        }
    return results


def _evaluated(
    steps: Steps,
    size: Size,
    run: str,
    task: str,
    source: Sequence[str],
    overrides: Sequence[str],
    inputs: Sequence[Path] = (),
) -> Evaluation:
    """Evaluates one model on one task.

    Args:
        steps: steps of the demo.
        size: how much the demo does.
        run: folder of the model.
        task: task of the evaluation.
        source: options that name the model.
        overrides: overrides of its config.
        inputs: files that the evaluation reads.
    """
    folder = steps.folder / run / "inference" / size.test_dataset / task
    words = ["evaluate", *source, "--dataset", size.test_dataset, "--task", task, *overrides]
    steps.run(f"evaluate_{run}_{task}", words, folder / RESULTS_FILE, inputs)
    return Evaluation(read_results(folder / RESULTS_FILE), load_per_image(folder / PER_IMAGE_FILE))


def write_samples(images: Sequence[Path], folder: Path) -> None:
    """Copies scenes as scene_0.png and so on: pictures without drawings, to try `reldn predict` on.

    Args:
        images: files of the scenes.
        folder: folder for the copies.
    """
    for number, image in enumerate(images):
        with atomic_write(folder / f"scene_{number}{image.suffix}") as file:
            file.write(image.read_bytes())
