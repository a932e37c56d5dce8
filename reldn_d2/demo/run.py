"""The demo from start to end: trains the models, evaluates them, and writes the report.

Trains a detector, then RelDN on its detections: three models, without pixels, with cross entropy alone, and
with the contrastive losses as well. A second run keeps the finished steps.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.data import DatasetCatalog

from reldn_d2.engine import setup_console
from reldn_d2.evaluation import load_per_image
from reldn_d2.evaluation.io.results import PER_IMAGE_FILE, RESULTS_FILE
from reldn_d2.utils.io import atomic_write

from .cases import load_prdcls, scene_cases
from .models import BASELINE, FREQUENCY, FULL, WITHOUT_PIXELS
from .pictures import write_scenes
from .report import Demo, Evaluation, print_summary, write_report
from .steps import Steps

MODELS = {WITHOUT_PIXELS: "semantic_spatial", BASELINE: "reldn_l0", FULL: "reldn"}
TASKS = ("prdcls", "sgdet")
# Chosen before any run with it, and fixed, so that a demo can be repeated.
SEED = "1"
NUM_SAMPLES = 10


@dataclass(frozen=True)
class Size:
    """How much the demo does.

    Attributes:
        train_dataset, test_dataset: names of the scenes.
        options: overrides of the config for every training and evaluation.
    """

    train_dataset: str
    test_dataset: str
    options: tuple[str, ...] = ()


COMPLETE = Size("scenes_train", "scenes_test")
# Sixteen training scenes, eight test scenes, three steps of each training.
QUICK = Size(
    "scenes_tiny_train",
    "scenes_tiny_test",
    (
        *("DATASETS.TRAIN", "('scenes_tiny_train',)"),
        *("SOLVER.MAX_ITER", "3"),
        *("SOLVER.STEPS", "()"),
        *("SOLVER.IMS_PER_BATCH", "4"),
    ),
)


def run_demo(output: Path, opts: list[str], *, quick: bool) -> Path:
    """Runs the steps of the demo that are missing, and writes the report.

    Args:
        output: folder for all files.
        opts: KEY VALUE overrides for all models, in a flat list. SEED is 1 unless they
            name another one.
        quick: only a few steps of each training, on few scenes. That shows that everything works; the numbers
            mean nothing.

    Returns:
        The report, `output`/report.html.

    Raises:
        ValueError: an override is wrong, or `output` has results of other settings.
        OSError: a file can't be written.
    """
    size = QUICK if quick else COMPLETE
    # Commands in the report must not show where this user's folders are.
    folder = Path(os.path.relpath(output))
    steps = Steps(folder)
    setup_console()
    train(steps, size, opts)
    results = evaluate(steps, size, opts)
    dataset_dicts = DatasetCatalog.get(size.test_dataset)
    models = {name: load_prdcls(folder / run, size.test_dataset) for name, run in MODELS.items()}
    scenes = scene_cases(models, dataset_dicts)
    write_samples(dataset_dicts, folder / "samples")
    demo = Demo(
        folder=folder,
        quick=quick,
        runs={name: folder / run for name, run in MODELS.items()},
        models=models,
        results=results,
        scenes=scenes,
        steps=steps.done,
    )
    write_scenes(scenes, folder / "scenes.jpg")
    report = write_report(demo)
    print_summary(demo, report)
    return report


def train(steps: Steps, size: Size, opts: Sequence[str]) -> None:
    """Trains the detector, saves its detections, and trains the models on them."""
    folder = steps.folder
    seed = [] if "SEED" in opts else ["--seed", SEED]
    detector, detections = folder / "detector" / "model_final.pth", folder / "detections"
    tests = ["DATASETS.TEST", f"('{size.test_dataset}',)"] if size is not COMPLETE else []
    steps.run(
        "train_detector",
        [
            *("train", "--config-file", "scenes/detector.yaml", "--output", str(detector.parent)),
            *("--resume", *seed, *size.options, *tests, *opts),
        ],
        detector,
    )
    used = detections / f"{size.train_dataset}.npz"
    steps.run(
        "detections",
        ["cache-detections", "--weights", str(detector.parent), "--output", str(detections)],
        used,
        [detector],
    )
    for run in MODELS.values():
        steps.run(
            f"train_{run}",
            [
                *("train", "--config-file", f"scenes/{run}.yaml", "--weights", str(detector.parent)),
                *("--output", str(folder / run), "--resume", *seed, *size.options),
                *("DATASETS.DETECTION_FILES_TRAIN", f"('{used}',)", "DATASETS.TEST", "()", *opts),
            ],
            folder / run / "model_final.pth",
            [detector, used],
        )


def evaluate(steps: Steps, size: Size, opts: Sequence[str]) -> dict[str, dict[str, Evaluation]]:
    """Evaluates all models. Returns model -> task -> results.

    A training saves its overrides beside its weights, so only the evaluation without weights needs them.
    """
    detections = steps.folder / "detections" / f"{size.test_dataset}.npz"
    on_detections = ["DATASETS.DETECTION_FILES_TEST", f"('{detections}',)"]

    def result(run: str, task: str, source: list[str], overrides: list[str], inputs: list[Path]) -> Evaluation:
        found = steps.folder / run / "inference" / size.test_dataset / task
        words = ["evaluate", *source, "--dataset", size.test_dataset, "--task", task, *overrides]
        steps.run(f"evaluate_{run}_{task}", words, found / RESULTS_FILE, inputs)
        return Evaluation(read_metrics(found / RESULTS_FILE), load_per_image(found / PER_IMAGE_FILE))

    # Its table is counted over the training scenes, so there is nothing to train.
    counted = ["--config-file", "scenes/frequency.yaml", "--output", str(steps.folder / "frequency")]
    results = {FREQUENCY: {"prdcls": result("frequency", "prdcls", counted, [*size.options, *opts], [])}}
    for name, run in MODELS.items():
        trained = steps.folder / run
        results[name] = {
            task: result(
                run,
                task,
                ["--weights", str(trained)],
                on_detections if task == "sgdet" else [],
                [trained / "model_final.pth", detections],
            )
            for task in TASKS
        }
    return results


def read_metrics(path: Path) -> dict[str, dict[str, float]]:
    """Reads the numbers of an evaluation. Returns protocol -> metric -> percent; undefined ones are NaN."""
    metrics: dict[str, dict[str, float]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            metrics.setdefault(row["protocol"], {})[row["metric"]] = float(row["value"] or "nan")
    return metrics


def write_samples(dataset_dicts: Sequence[dict[str, object]], folder: Path) -> None:
    """Writes the first test scenes as pictures without drawings, to try `reldn predict` on."""
    for dataset_dict in dataset_dicts[:NUM_SAMPLES]:
        source = Path(str(dataset_dict["file_name"]))
        with atomic_write(folder / f"scene_{source.stem}.png") as file:
            file.write(source.read_bytes())
