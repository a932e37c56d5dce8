#!/usr/bin/env python
"""Train "scenes-tiny", the model of the drawn scenes that the wheel holds, and pack it.

python tools/make_scenes_tiny.py --output output/scenes_tiny
python tools/make_scenes_tiny.py --from-runs output/scenes_tiny

The first command trains the detector and RelDN with a fixed seed, evaluates, and packs the weights in half
precision into reldn_d2/model_zoo/weights/scenes-tiny. A second call keeps what is finished. The second
command packs runs that are there. Both also evaluate the packed model, and compare its answers with those
before packing.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.structures import pairwise_iou

from reldn_d2.cli.demo import call
from reldn_d2.demo.run import SEED
from reldn_d2.demo.steps import Command, Steps
from reldn_d2.engine import RelationPredictor, setup_console
from reldn_d2.engine.parts import FINAL_WEIGHTS
from reldn_d2.engine.pretrained.folder import SUMS_FILE, WEIGHTS_FILE
from reldn_d2.evaluation.io.results import RESULTS_FILE
from reldn_d2.model_zoo import zoo_entry
from reldn_d2.structures.dataset_dicts import entity_boxes, entity_classes
from reldn_d2.utils.io import atomic_write, file_digest

NAME = "scenes-tiny"
DESCRIPTION = (
    "RelDN with a narrow ResNet-50 (three sixteenths of its width) on the drawn scenes of reldn_d2: people, "
    "cups, guitars, tables, hats and boxes. It is for trying things out and for tests. It knows nothing "
    "about photos."
)
TRAIN, TEST = "reldn_scenes_train", "reldn_scenes_test"
TASKS = ("prdcls", "sgdet")
#: Number of the test scene that travels with the model: one that it answers well, with hands at two cups.
SAMPLE = 31
#: The best relationships of a scene that are compared.
TOP = 20
# `reldn predict` shows relationships from this score on. None of these may get lost.
_SHOWN = 0.1
# Boxes of one entity before and after packing: the IoU of a hit in the evaluation. Suppression may keep
# another one of several boxes around the same thing.
_SAME_BOX_IOU = 0.5


@dataclass(frozen=True)
class Differences:
    """How answers change when weights are packed.

    Attributes:
        scenes: number of scenes.
        other_triplets: number of scenes with other triplets among the best `TOP`.
        lost: score of a triplet that is among them only before packing.
        score: difference of the scores of a triplet.
        box: difference of the coordinates of an entity's box, in pixels.

    The last three are the largest of all scenes.
    """

    scenes: int
    other_triplets: int
    lost: float
    score: float
    box: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, evaluate, pack, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    folders = parser.add_mutually_exclusive_group(required=True)
    folders.add_argument("--output", type=Path, help="folder of the runs")
    folders.add_argument("--from-runs", type=Path, help="the same with finished runs, which are only packed")
    parser.add_argument(
        "--target", type=Path, help="folder of the packed model (default: that of the model zoo)"
    )
    args = parser.parse_args(arguments)
    setup_console()
    folder: Path = args.output or args.from_runs
    target: Path = args.target or zoo_entry(NAME).folder
    if args.output:
        train(folder)
    pack(folder / "reldn", target)
    evaluate_packed(target, folder / "packed")
    print_digest(target)
    before, after = (RelationPredictor.from_pretrained(x, device="cpu") for x in (folder / "reldn", target))
    differences = {task: compare(answers(before, task), answers(after, task)) for task in TASKS}
    with atomic_write(folder / "differences.json") as file:
        file.write(json.dumps({task: asdict(x) for task, x in differences.items()}, indent=1).encode())
    print(differences)
    if any(found.lost >= _SHOWN for found in differences.values()):
        raise SystemExit(f"the packed model has lost a triplet of the best {TOP}")


def train(folder: Path) -> None:
    """Trains both stages, with the detector's boxes computed once, and evaluates them."""
    steps = Steps(folder, number=4, call=call)
    detector, detections, reldn = (folder / name for name in ("detector", "detections", "reldn"))
    trained, boxes = detector / FINAL_WEIGHTS, [detections / f"{name}.npz" for name in (TRAIN, TEST)]
    seed = ("--seed", SEED, "--resume")
    words = ["train", "--config-file", "scenes/tiny_detector.yaml", "--output", str(detector), *seed]
    steps.run(Command("detector", words, trained))
    words = ["cache-detections", "--weights", str(detector), "--output", str(detections)]
    steps.run(Command("detections", words, boxes[0], [trained]))
    words = [
        "train",
        "--config-file",
        "scenes/tiny_reldn.yaml",
        "--weights",
        str(detector),
        "--output",
        str(reldn),
    ]
    used = ["DATASETS.DETECTION_FILES_TRAIN", f"('{boxes[0]}',)", "DATASETS.TEST", "()"]
    steps.run(Command("reldn", [*words, *seed, *used], reldn / FINAL_WEIGHTS, [trained, boxes[0]]))
    words = ["evaluate", "--weights", str(reldn), "--dataset", TEST, "--task", *TASKS]
    result = reldn / "inference" / TEST / TASKS[-1] / RESULTS_FILE
    steps.run(Command("evaluate", words, result, [reldn / FINAL_WEIGHTS]))


def pack(run: Path, target: Path) -> None:
    """Saves a run for the wheel, and a test scene beside it."""
    predictor = RelationPredictor.from_pretrained(run, device="cpu")
    entry = zoo_entry(NAME)
    info = replace(
        predictor.info, description=DESCRIPTION, license=entry.licence.lower(), data_notice=entry.notice
    )
    # The card is written anew, also if the last one was edited.
    (target / "README.md").unlink(missing_ok=True)
    predictor.save_pretrained(target, info=info, half_precision=True, name=NAME)
    sample = Path(DatasetCatalog.get(TEST)[SAMPLE]["file_name"])
    with atomic_write(target / "sample.png") as file:
        file.write(sample.read_bytes())


def evaluate_packed(target: Path, output: Path) -> None:
    """Evaluates the packed model and its detector."""
    for task in TASKS:
        words = [
            "--weights",
            str(target),
            "--dataset",
            TEST,
            "--task",
            task,
            "--output",
            str(output / "reldn"),
        ]
        call(["evaluate", *words, "--restart"])
    detector = ["--config-file", "scenes/tiny_detector.yaml", "--weights", str(target)]
    call(["evaluate", *detector, "--dataset", TEST, "--output", str(output / "detector"), "--restart"])


def print_digest(target: Path) -> None:
    """Prints what the manifest says about the model, and the digest of its weights."""
    weights = target / WEIGHTS_FILE
    digest, size = file_digest(target / SUMS_FILE), weights.stat().st_size
    print(f"for reldn_d2/model_zoo/models.yaml: sha256: {digest}, bytes: {size}")
    print(f"sha256 of {WEIGHTS_FILE}: {file_digest(weights)}")


def answers(predictor: RelationPredictor, task: str) -> list[Any]:
    """What a model finds in every test scene, in "prdcls" between the annotated entities."""
    scenes = DatasetCatalog.get(TEST)
    if task == "sgdet":
        return [predictor(scene["file_name"]) for scene in scenes]
    return [
        predictor(scene["file_name"], boxes=entity_boxes(scene), classes=entity_classes(scene))
        for scene in scenes
    ]


def compare(before: Sequence[Any], after: Sequence[Any]) -> Differences:
    """Compares the best relationships of two models in the same images.

    Args:
        before, after: answers of `RelationPredictor`, one for each image.
    """
    others, lost, scores, boxes = 0, [0.0], [0.0], [0.0]
    for one, other in zip(before, after, strict=True):
        same = same_entities(one["instances"], other["instances"])
        second = triplets(other["relations"])
        best = list(triplets(one["relations"]).items())[:TOP]
        # In the numbers that the entities have after packing; negative for those that are gone.
        top = {(same.get(s, -1 - s), same.get(o, -1 - o), p): score for (s, o, p), score in best}
        missing = top.keys() - set(list(second)[:TOP])
        others += bool(missing)
        lost += [top[triplet] for triplet in missing]
        scores += [abs(score - second[triplet]) for triplet, score in top.items() if triplet in second]
        shown = {entity for (s, o, _), _ in best for entity in (s, o)} & same.keys()
        first_boxes, second_boxes = (x["instances"].pred_boxes.tensor for x in (one, other))
        boxes += [float((first_boxes[i] - second_boxes[same[i]]).abs().max()) for i in shown]
    return Differences(len(before), others, max(lost), max(scores), max(boxes))


def same_entities(one: Any, other: Any) -> dict[int, int]:
    """Entities of one answer -> those of the other with the same class and nearly the same box."""
    iou = pairwise_iou(one.pred_boxes, other.pred_boxes)
    iou[one.pred_classes[:, None] != other.pred_classes[None, :]] = 0
    return {int(i): int(j) for i, j in np.argwhere((iou >= _SAME_BOX_IOU).numpy())}


def triplets(relations: Any) -> dict[tuple[int, int, int], float]:
    """Subject, object and the best predicate of each pair -> score, the best first."""
    best = relations[relations.rank_in_pair == 1]
    rows = zip(best.subject_index, best.object_index, best.pred_predicates, best.scores, strict=True)
    return {(int(s), int(o), int(p)): float(score) for s, o, p, score in rows}


if __name__ == "__main__":
    main()
