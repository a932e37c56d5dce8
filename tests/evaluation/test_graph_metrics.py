"""Graphs in batches: the numbers are those of `evaluate_graphs`, bit for bit."""

import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.utils import comm

from reldn_d2.evaluation import (
    EvaluatedSplit,
    GraphMetrics,
    GroundTruthGraph,
    PairAnswers,
    PredictedGraph,
    ProtocolResult,
    TripletAnswers,
    confusion_triplets,
    evaluate_graphs,
    rank_triplets,
    training_split,
)
from tests.builders.evaluation_scenes import NAMES, predicted_graph, truth_graph
from tests.builders.processes import run_in_processes

CLASSES, IMAGES = 2, 9
IDS = [str(7 * i) for i in range(IMAGES)]  # text order is not the order of the numbers
PROTOCOLS = {
    "sgdet": ["motifs", "reldn", "vrd2016", "openimages", "reldn_openimages", "confusion"],
    "prdcls": ["motifs", "reldn", "confusion"],
}
A, B = (0, 0, 9, 9), (20, 0, 29, 9)
TRUTH = truth_graph([A, B], [0, 1], [(0, 1, 0)])
FOUND = predicted_graph([A, B], [0, 1], [(0, 1, 0, 0.9, 1)])


def truth(image_id: str) -> GroundTruthGraph:
    """Boxes of few classes side by side; some images have no relationship."""
    rng = np.random.default_rng(int(image_id))
    left = np.arange(4) * 8.0
    boxes = np.stack([left, np.zeros(4), left + 10, np.full(4, 10.0)], axis=1)
    relations = np.concatenate([rng.integers(4, size=(5, 2)), rng.integers(len(NAMES), size=(5, 1))], axis=1)
    return GroundTruthGraph(boxes, rng.integers(CLASSES, size=4), relations[: 5 * (int(image_id) % 4 != 3)])


def prediction(image_id: str) -> PredictedGraph:
    """Scores with ties, also between images."""
    image, rng = truth(image_id), np.random.default_rng(1000 + int(image_id))
    pairs = np.argwhere(~np.eye(4, dtype=bool))
    probs = rng.integers(1, 8, size=(len(pairs), len(NAMES))) / 8
    triplets = rank_triplets(*pairs.T, np.ones(len(pairs)), probs, list_length=100)
    asked_pairs, asked = image.relations[:, :2], confusion_triplets(image)
    return PredictedGraph(
        image.boxes,
        image.classes,
        np.ones(4),
        triplets,
        PairAnswers(*asked_pairs.T, np.ones(len(asked_pairs)), rng.random((len(asked_pairs), len(NAMES)))),
        TripletAnswers(*asked.T, rng.random(len(asked)), rng.random(len(asked)) < 0.8),
    )


SPLIT = EvaluatedSplit(NAMES, training_split([truth("0"), truth("7")], CLASSES, len(NAMES)))
SUBSETS = {"confusable": {"0", "14", "35"}}


def expected(task: str) -> dict[str, ProtocolResult]:
    truths, predictions = {i: truth(i) for i in IDS}, {i: prediction(i) for i in IDS}
    return evaluate_graphs(truths, predictions, task, PROTOCOLS[task], SPLIT, subsets=SUBSETS)


def metrics_of(task: str, batches: Sequence[Sequence[str]]) -> GraphMetrics:
    metrics = GraphMetrics(task, PROTOCOLS[task], SPLIT)
    for batch in batches:
        metrics.update({i: truth(i) for i in batch}, {i: prediction(i) for i in batch[::-1]})
    return metrics


def assert_equal(found: Mapping[str, ProtocolResult], wanted: Mapping[str, ProtocolResult]) -> None:
    assert list(found) == list(wanted)
    for name, result in wanted.items():
        np.testing.assert_equal(dataclasses.asdict(found[name]), dataclasses.asdict(result))


@pytest.mark.parametrize("task", PROTOCOLS)
def test_batches_in_any_order_give_the_same_numbers(task: str) -> None:
    wanted = expected(task)
    assert wanted["motifs"].metrics["R@20"] > 0 and "motifs_confusable" in wanted
    for batches in (
        [IDS],
        [IDS[4:], [], IDS[3::-1]],
        [[i] for i in np.random.default_rng(0).permutation(IDS)],
    ):
        assert_equal(metrics_of(task, batches).compute(subsets=SUBSETS), wanted)


def test_more_images_after_compute_and_a_new_start() -> None:
    metrics = metrics_of("sgdet", [IDS[:5]])
    before = metrics.compute(subsets=SUBSETS)
    metrics.update({i: truth(i) for i in IDS[5:]}, {i: prediction(i) for i in IDS[5:]})
    assert_equal(metrics.compute(subsets=SUBSETS), expected("sgdet"))
    assert len(metrics) == IMAGES
    metrics.reset()
    assert len(metrics) == 0
    metrics.update({i: truth(i) for i in IDS[:5]}, {i: prediction(i) for i in IDS[:5]})
    assert_equal(metrics.compute(subsets=SUBSETS), before)


def test_merging_and_pickles() -> None:
    first, second, third = (metrics_of("prdcls", [IDS[i::3]]) for i in range(3))
    second = pickle.loads(pickle.dumps(second))
    third.update({IDS[0]: truth(IDS[0])}, {IDS[0]: prediction(IDS[0])})  # counts once
    first.merge([third, second])
    assert_equal(first.compute(subsets=SUBSETS), expected("prdcls"))
    assert len(second) == 3 and len(third) == 4
    other = metrics_of("prdcls", [])
    other.update({IDS[1]: truth(IDS[2])}, {IDS[1]: prediction(IDS[2])})
    with pytest.raises(ValueError, match=f"image {IDS[1]}: two processes have different graphs for it"):
        first.merge([other])
    with pytest.raises(ValueError, match="can't be merged"):
        first.merge([metrics_of("sgdet", [])])
    assert_equal(first.compute(subsets=SUBSETS), expected("prdcls"))


def test_no_images_and_images_without_relationships() -> None:
    metrics = GraphMetrics("sgdet", ["motifs"], EvaluatedSplit(NAMES))
    metrics.update({}, {})
    for _ in range(2):
        with pytest.raises(ValueError, match="no annotated relationship"):
            metrics.compute()
        metrics.update({"1": truth_graph([A], [0], [])}, {"1": FOUND})
        metrics.reset()


def test_an_image_is_given_once_and_a_wrong_batch_adds_nothing() -> None:
    metrics = GraphMetrics("sgdet", ["motifs"], EvaluatedSplit(NAMES))
    metrics.update({"1": TRUTH}, {"1": FOUND})
    with pytest.raises(ValueError, match=r"image 1: it was in an earlier update.*reset\(\)"):
        metrics.update({"2": TRUTH, "1": TRUTH}, {"1": FOUND, "2": FOUND})
    nan = dataclasses.replace(FOUND, boxes=np.full((2, 4), np.nan))
    with pytest.raises(ValueError, match="image 3, prediction: boxes"):
        metrics.update({"2": TRUTH, "3": TRUTH}, {"2": FOUND, "3": nan})
    with pytest.raises(ValueError, match="does not have: 9"):
        metrics.update({"2": TRUTH}, {"2": FOUND, "9": FOUND})
    with pytest.raises(ValueError, match="no prediction for 1 of 2 images: image 2"):
        metrics.update({"2": TRUTH, "3": TRUTH}, {"3": FOUND})
    with pytest.raises(ValueError, match=r"image 2: the ids of images are texts .*, not int; give str\(id\)"):
        metrics.update({2: TRUTH}, {2: FOUND})
    assert len(metrics) == 1


def test_missing_predictions_count_as_empty_if_allowed() -> None:
    metrics = GraphMetrics("sgdet", ["motifs"], EvaluatedSplit(NAMES), allow_missing=True)
    metrics.update({"1": TRUTH, "2": TRUTH}, {"1": FOUND})
    assert metrics.compute()["motifs"].metrics["R@20"] == 50.0


def tensors(part: Any) -> Any:
    """The graph with tensors in place of arrays."""
    if isinstance(part, np.ndarray):
        return torch.from_numpy(part).requires_grad_(part.dtype.kind == "f")
    if dataclasses.is_dataclass(part):
        return type(part)(**{x.name: tensors(getattr(part, x.name)) for x in dataclasses.fields(part)})
    return part


def test_tensors_are_taken_as_arrays() -> None:
    metrics = GraphMetrics("prdcls", PROTOCOLS["prdcls"], SPLIT)
    for i in IDS:
        metrics.update({i: tensors(truth(i))}, {i: tensors(prediction(i))})
    assert_equal(metrics.compute(subsets=SUBSETS), expected("prdcls"))
    half = dataclasses.replace(FOUND, boxes=torch.tensor([A, B], dtype=torch.bfloat16))
    found = evaluate_graphs({"1": tensors(TRUTH)}, {"1": half}, "sgdet", ["motifs"], EvaluatedSplit(NAMES))
    assert found["motifs"].metrics["R@20"] == 100.0


def test_arrays_may_be_used_again_after_an_update() -> None:
    metrics = GraphMetrics("sgdet", PROTOCOLS["sgdet"], SPLIT)
    for i in IDS:
        true, predicted = truth(i), prediction(i)
        metrics.update({i: true}, {i: predicted})
        for array in (true.boxes, true.classes, true.relations, predicted.boxes, predicted.relations.score):
            array[...] = 0
        predicted.relations.predicate[...] = 0
        predicted.triplet_answers.score[...] = 0
    assert_equal(metrics.compute(subsets=SUBSETS), expected("sgdet"))


def test_a_gather_in_one_process_changes_nothing() -> None:
    metrics = metrics_of("prdcls", [IDS])
    metrics.gather()
    assert_equal(metrics.compute(subsets=SUBSETS), expected("prdcls"))


def gather_in_a_process(folder: str, shares: Sequence[Sequence[str]]) -> None:
    torch.set_num_threads(1)
    mine = shares[comm.get_rank()]
    metrics = metrics_of("prdcls", [mine[2:], mine[:2]])
    metrics.gather()
    if comm.is_main_process():
        Path(folder, "results.pkl").write_bytes(pickle.dumps(metrics.compute(subsets=SUBSETS)))
    else:
        assert len(metrics) == 0


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    shares = [IDS[::2], [*IDS[1::2], IDS[0]]]  # a sampler that pads gives an image to both
    run_in_processes(gather_in_a_process, 2, tmp_path, str(tmp_path), shares)
    assert_equal(pickle.loads((tmp_path / "results.pkl").read_bytes()), expected("prdcls"))
