"""Two and three real processes give the same numbers and files as one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils import comm

from reldn_d2.evaluation import GroundTruthGraph, RelationEvaluator
from reldn_d2.evaluation.protocols.confusion import confusion_triplets
from tests.builders.processes import run_in_processes

NAME, TRAIN = "distributed_evaluator_test", "distributed_evaluator_test_train"
PREDICATES, IMAGES = 4, 12  # text order of the image ids is not their order as numbers
PROTOCOLS = {
    "sgdet": ("motifs", "reldn", "vrd2016", "openimages", "reldn_openimages", "confusion"),
    "prdcls": ("motifs", "reldn", "confusion"),
}
# Images of each worker of a run. Padding samplers repeat images, and some workers get none.
RUNS = {
    "one": [[*range(IMAGES)]],
    "two": [[7, 3, 11, 10, 9, 8, 0], [2, 1, 0, 6, 5, 4, 3, 7]],
    "two_and_the_main_one_is_empty": [[], [*range(IMAGES)][::-1]],
    "three": [[5, 4, 3, 2, 1, 0, 6], [], [11, 10, 9, 8, 7, 6, 6, 0]],
}


def truth(image_id: int) -> GroundTruthGraph:
    """Boxes of few classes side by side; every fourth image has no relationship."""
    rng = np.random.default_rng(image_id)
    left = np.arange(5) * 8.0
    boxes = np.stack([left, np.zeros(5), left + 10, np.full(5, 10.0)], axis=1)
    relations = np.concatenate([rng.integers(5, size=(6, 2)), rng.integers(PREDICATES, size=(6, 1))], axis=1)
    return GroundTruthGraph(boxes, rng.integers(2, size=5), relations[: 0 if image_id % 4 == 3 else 6])


def records(image_ids: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": i,
            "annotations": [
                {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": label}
                for box, label in zip(truth(i).boxes.tolist(), truth(i).classes.tolist(), strict=True)
            ],
            "relations": truth(i).relations,
        }
        for i in image_ids
    ]


def output(image_id: int) -> dict[str, Instances]:
    """A prediction that depends on the image alone."""
    image, g = truth(image_id), torch.Generator().manual_seed(image_id)
    entities, triplets, pairs, named = (Instances((20, 50)) for _ in range(4))
    entities.pred_boxes = Boxes(torch.from_numpy(image.boxes).float())
    entities.pred_classes, entities.scores = torch.from_numpy(image.classes), torch.ones(5)
    ends = torch.combinations(torch.arange(5)).repeat_interleave(PREDICATES, dim=0)
    triplets.subject_index, triplets.object_index = ends.T
    probs = (8 * torch.rand(10, PREDICATES, generator=g)).round() / 8  # ties, between images too
    order = probs.argsort(dim=1, descending=True, stable=True)
    triplets.pred_predicates, triplets.scores = order.flatten(), probs.gather(1, order).flatten()
    triplets.rank_in_pair = torch.arange(1, PREDICATES + 1).repeat(10)
    relations = torch.from_numpy(image.relations)
    pairs.subject_index, pairs.object_index = relations[:, 0], relations[:, 1]
    pairs.pair_scores = torch.ones(len(relations))
    pairs.predicate_probs = torch.rand(len(relations), PREDICATES, generator=g)
    asked = torch.from_numpy(confusion_triplets(image))
    named.subject_index, named.object_index, named.pred_predicates = asked.T
    named.scores, named.detected = (
        torch.rand(len(asked), generator=g),
        torch.rand(len(asked), generator=g) < 0.8,
    )
    return {"instances": entities, "relations": triplets, "pair_answers": pairs, "triplet_answers": named}


def evaluate(folder: str, runs: Sequence[str]) -> None:
    torch.set_num_threads(1)
    for name, image_ids in ((NAME, range(IMAGES)), (TRAIN, range(20, 22))):
        DatasetCatalog.register(name, lambda image_ids=image_ids: records(image_ids))
        names = [str(p) for p in range(PREDICATES)]
        MetadataCatalog.get(name).set(thing_classes=["a", "b"], predicate_classes=names, train_dataset=TRAIN)
    try:
        for run in runs:
            for task, protocols in PROTOCOLS.items():
                mine = RUNS[run][comm.get_rank()]
                evaluator = RelationEvaluator(
                    NAME, task, protocols, output_dir=Path(folder, run, task), confusion_subset=True
                )
                for i in mine:
                    evaluator.process([{"image_id": i}], [output(i)])
                results = evaluator.evaluate()
                if comm.is_main_process():
                    torch.save(dict(results), Path(folder, f"{run}_{task}.pth"))
                else:
                    assert results == {}
    finally:
        for name in (NAME, TRAIN):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_equals_one_process(folder: Path, runs: Sequence[str]) -> None:
    evaluate(str(folder), ["one"])
    for task in PROTOCOLS:
        alone = torch.load(folder / f"one_{task}.pth")
        written = files(folder / "one" / task)
        assert "relation_predictions.npz" in written and len(written) > 1
        assert alone[f"{task.lower()}/motifs"]["R@20"] > 0 and f"{task.lower()}/motifs_confusable" in alone
        for run in runs:
            np.testing.assert_equal(torch.load(folder / f"{run}_{task}.pth"), alone)
            assert files(folder / run / task) == written


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    runs = ["two", "two_and_the_main_one_is_empty"]
    run_in_processes(evaluate, 2, tmp_path, str(tmp_path), runs)
    assert_equals_one_process(tmp_path, runs)


@pytest.mark.slow
def test_three_processes_one_without_images(tmp_path: Path) -> None:
    run_in_processes(evaluate, 3, tmp_path, str(tmp_path), ["three"])
    assert_equals_one_process(tmp_path, ["three"])
