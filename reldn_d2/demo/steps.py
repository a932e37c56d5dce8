"""Run the main job from start to end, on the built-in scenes and two CPU cores: `make demo`.

Trains a detector, then RelDN on its detections (three models: without pixels, with cross entropy alone, and
with the contrastive losses as well). Evaluates all models and writes `report.html`. A second run keeps the
finished steps.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from reldn_d2.engine import Trainer, load_config, load_model, setup_console
from reldn_d2.evaluation import load_per_image
from reldn_d2.utils.io import atomic_write

from .report import BASELINE, FULL, Evaluation, Step, write_report

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "scenes"
ROOT = CONFIGS.parent.parent
TASKS = ("prdcls", "sgdet")
MODELS = {"semantic + spatial": "semantic_spatial.yaml", BASELINE: "reldn_l0.yaml", FULL: "reldn.yaml"}
FREQUENCY = "frequency only"


def run(arguments: list[str], result: Path, steps: list[Step], inputs: tuple[Path, ...] = ()) -> None:
    """Runs a Python program of this repository, unless its result exists already.

    Args:
        arguments: path of the program and its arguments.
        result: a file that the program writes. A JSON file beside it records the command and its duration.
        steps: list that the step is appended to.
        inputs: files that must be older than the result.

    Raises:
        SystemExit: the result exists, but was made by another command or before its inputs.
    """
    step = Step(shlex.join(["python", *arguments]))
    steps.append(step)
    record = result.with_suffix(".json")
    if result.exists() and record.exists():
        made_by = json.loads(record.read_text())
        outdated = any(path.stat().st_mtime > result.stat().st_mtime for path in inputs)
        if made_by["command"] != step.command or outdated:
            raise SystemExit(
                f"{result} was made by another command, or its input files changed later: delete "
                f"{result.parent}, or choose another --output"
            )
        step.seconds = made_by["seconds"]
        print(f"\n=== {result} exists and is kept", flush=True)
        return
    print(f"\n=== {step.command}", flush=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)
    step.seconds = time.perf_counter() - start
    with atomic_write(record) as file:
        file.write(json.dumps({"command": step.command, "seconds": step.seconds}).encode())


def train(output: Path, extra: list[str], steps: list[Step]) -> dict[str, Path]:
    """Trains the detector and the models. Returns the checkpoint of each model."""
    detector = output / "detector" / "model_final.pth"
    config = str(CONFIGS.relative_to(ROOT) / "detector.yaml")
    run(
        ["train_net.py", "--resume", "--config-file", config, "OUTPUT_DIR", str(detector.parent), *extra],
        detector,
        steps,
    )
    detections = output / "detections"
    cache = ["tools/cache_detections.py", "--config-file", config, "--output", str(detections)]
    run([*cache, "MODEL.WEIGHTS", str(detector), *extra], detections / "scenes_test.npz", steps, (detector,))
    weights = {}
    for name, file in MODELS.items():
        weights[name] = output / Path(file).stem / "model_final.pth"
        options = [
            "OUTPUT_DIR",
            str(weights[name].parent),
            "MODEL.WEIGHTS",
            str(detector),
            "DATASETS.TEST",
            "()",
        ]
        options += ["DATASETS.DETECTION_FILES_TRAIN", f"('{detections / 'scenes_train.npz'}',)"]
        config = str(CONFIGS.relative_to(ROOT) / file)
        run(
            ["train_net.py", "--resume", "--config-file", config, *options, *extra],
            weights[name],
            steps,
            (detector, detections / "scenes_train.npz"),
        )
    return weights


def evaluate(
    config: str,
    weights: Path | str,
    output: Path,
    tasks: tuple[str, ...],
    extra: list[str],
    steps: list[Step],
) -> dict[str, Evaluation]:
    """Evaluates a checkpoint on each task. The model is loaded once. Returns task -> results."""
    detections = f"('{output / 'detections' / 'scenes_test.npz'}',)"
    options = ["MODEL.WEIGHTS", str(weights), "DATASETS.DETECTION_FILES_TEST", detections]
    model: Any = None
    results = {}
    for task in tasks:
        folder = output / Path(config).stem
        chosen = [*extra, *options, "OUTPUT_DIR", str(folder), "MODEL.ROI_RELATION_HEAD.TEST.TASK", task]
        path = str(CONFIGS.relative_to(ROOT) / config)
        step = Step(shlex.join(["python", "train_net.py", "--eval-only", "--config-file", path, *chosen]))
        start = time.perf_counter()
        cfg = load_config(str(CONFIGS / config), chosen)
        model = load_model(cfg) if model is None else model
        model.task = task
        metrics = Trainer.test(cfg, model)
        counts = load_per_image(folder / "inference" / "scenes_test" / task / "relation_per_image.json")
        results[task] = Evaluation(metrics, counts)
        step.seconds = time.perf_counter() - start
        steps.append(step)
    return results


def main() -> None:
    """Runs all steps that are missing, and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "demo", help="folder for all files")
    opts_help = "KEY VALUE overrides for all trainings and evaluations"
    parser.add_argument("opts", nargs=argparse.REMAINDER, help=opts_help)
    args = parser.parse_args()
    output = args.output.resolve()
    steps: list[Step] = []
    weights = train(output, args.opts, steps)
    setup_console()
    results = {FREQUENCY: evaluate("frequency.yaml", "", output, ("prdcls",), args.opts, steps)}
    for name, config in MODELS.items():
        results[name] = evaluate(config, weights[name], output, TASKS, args.opts, steps)
    report = write_report(output, weights, results, steps)
    total = sum(step.seconds for step in steps)
    print(f"\nDone in {total / 60:.1f} minutes. The report is {report}")


if __name__ == "__main__":
    main()
