import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import print_csv_format
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils import comm

from reldn_d2.evaluation import (
    EvaluatedSplit,
    PredictedGraph,
    RelationEvaluator,
    evaluate_graphs,
    load_per_image,
    load_predictions,
    motifs,
    rank_triplets,
)
from reldn_d2.evaluation.io.results import PER_IMAGE_FILE
from reldn_d2.evaluation.scorer import PREDICTIONS_FILE

A, B = [0.0, 0.0, 9.0, 9.0], [20.0, 0.0, 29.0, 9.0]
NAME = "evaluator_test"


def record(image_id: int, relations: list) -> dict[str, Any]:
    annotations = [{"bbox": b, "bbox_mode": BoxMode.XYXY_ABS, "category_id": c} for c, b in enumerate((A, B))]
    return {"image_id": image_id, "annotations": annotations, "relations": np.array(relations).reshape(-1, 3)}


RECORDS = [record(1, [(0, 1, 0), (0, 1, 1)]), record(2, [(1, 0, 0), (0, 0, 1)]), record(3, [])]


@pytest.fixture(autouse=True)
def dataset() -> Iterator[None]:
    DatasetCatalog.register(NAME, lambda: RECORDS)
    MetadataCatalog.get(NAME).set(thing_classes=["cat", "dog"], predicate_classes=["on", "by"])
    yield
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def output(rows: list, relations: list | None = None) -> dict[str, Instances]:
    """Predict the two boxes and `rows` of (subject, object, predicate, score, rank)."""
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
    entities, triplets, pairs = (Instances((40, 40)) for _ in range(3))
    entities.pred_boxes, entities.pred_classes = Boxes(torch.tensor([A, B])), torch.tensor([0, 1])
    entities.scores = torch.ones(2)
    triplets.subject_index, triplets.object_index, triplets.pred_predicates = table[:, :3].long().T
    triplets.scores, triplets.rank_in_pair = table[:, 3].float(), table[:, 4].long()
    result = {"instances": entities, "relations": triplets}
    if relations is not None:
        ends = torch.tensor(relations, dtype=torch.long).reshape(-1, 3)
        pairs.subject_index, pairs.object_index = ends[:, 0], ends[:, 1]
        pairs.pair_scores, pairs.predicate_probs = (
            torch.ones(len(ends)),
            torch.tensor([[0.9, 0.1]]).expand(len(ends), 2),
        )
        result["pair_answers"] = pairs
    return result


FIRST = output([(0, 1, 0, 0.9, 1), (0, 1, 1, 0.8, 2)])
SECOND = output([(1, 0, 1, 0.9, 1)])
THIRD = output([])


def run(
    evaluator: RelationEvaluator, *pairs: tuple[int, dict[str, Instances] | PredictedGraph]
) -> dict[str, dict[str, float]]:
    evaluator.reset()
    evaluator.process([{"image_id": image_id} for image_id, _ in pairs], [result for _, result in pairs])
    return evaluator.evaluate()


def test_results_are_nested_numbers_that_detectron2_can_log(caplog: pytest.LogCaptureFixture) -> None:
    evaluator = RelationEvaluator(NAME, "sgdet", ("motifs", "reldn", "reldn_openimages"))
    with caplog.at_level(logging.INFO):
        results = run(evaluator, (1, FIRST), (2, SECOND), (3, THIRD))
        print_csv_format(results)
    assert list(results) == ["sgdet/motifs", "sgdet/reldn", "sgdet/reldn_openimages"]
    assert results["sgdet/motifs"]["R@50"] == pytest.approx(25.0)  # (1/2 + 0/2) / 2
    assert results["sgdet/motifs"]["ngR@50"] == pytest.approx(50.0)
    flat = flatten_results_dict(results)
    assert all(type(value) is float for value in flat.values())
    assert "sgdet/reldn_openimages/AP_rel/on" in flat
    assert "protocol motifs" in caplog.text and "25.00" in caplog.text


def test_a_model_without_detectron2_gives_graphs_of_arrays() -> None:
    probs = np.array([[0.9, 0.8]])
    triplets = rank_triplets(np.array([0]), np.array([1]), np.ones(1), probs, list_length=100)
    graph = PredictedGraph(np.array([A, B]), np.array([0, 1]), np.ones(2), triplets)
    evaluator = RelationEvaluator(NAME, "sgdet", ("motifs",))
    found = run(evaluator, (1, graph), (2, SECOND), (3, THIRD))
    assert found == run(evaluator, (1, FIRST), (2, SECOND), (3, THIRD))
    with pytest.raises(ValueError, match="image 9: data set 'evaluator_test' has no image"):
        run(evaluator, (9, graph))


def test_order_of_processing_has_no_influence() -> None:
    evaluator = RelationEvaluator(NAME, "sgdet", ("motifs", "reldn_openimages"))
    forward = run(evaluator, (1, FIRST), (2, SECOND), (3, THIRD))
    assert run(evaluator, (3, THIRD), (2, SECOND), (1, FIRST)) == forward


def test_missing_images_are_an_error_after_predictions_are_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no prediction for 2 of 3 images: image 2, 3"):
        run(RelationEvaluator(NAME, "sgdet", output_dir=tmp_path), (1, FIRST))
    assert list(load_predictions(tmp_path / PREDICTIONS_FILE).predictions) == ["1"]
    results = run(RelationEvaluator(NAME, "sgdet", allow_missing=True), (1, FIRST))
    assert results["sgdet/motifs"]["ngR@50"] == pytest.approx(50.0)


def test_pair_answers_about_given_entities() -> None:
    evaluator = RelationEvaluator(NAME, "PRDCLS")
    results = run(
        evaluator,
        (1, output([(0, 1, 0, 0.9, 1)], [(0, 1, 0), (0, 1, 1)])),
        (2, output([], [(1, 0, 0), (0, 0, 1)])),
        (3, output([], [])),
    )
    assert results["prdcls/motifs"]["R@50"] == pytest.approx(25.0)
    assert results["prdcls/reldn"]["rel_k1_R@50"] == pytest.approx(
        50.0
    )  # image 2's self relation needs k = 2
    assert results["prdcls/reldn"]["rel_k2_R@50"] == pytest.approx(100.0)


def test_shards_of_workers_give_the_result_of_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone = run(RelationEvaluator(NAME, "sgdet"), (1, FIRST), (2, SECOND), (3, THIRD))
    first, second = RelationEvaluator(NAME, "sgdet"), RelationEvaluator(NAME, "sgdet")
    first.process([{"image_id": 1}, {"image_id": 2}], [FIRST, SECOND])
    # A padded sampler repeats images 1 and 2; the first worker's predictions count.
    second.process([{"image_id": i} for i in (3, 1, 2)], [THIRD, output([]), SECOND])
    shards = [first._predictions, second._predictions]
    monkeypatch.setattr(comm, "gather", lambda data, dst: shards)
    assert first.evaluate() == alone
    assert "image 1: processes have" in caplog.text and "image 2: processes" not in caplog.text
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert second.evaluate() == {}


def test_an_image_processed_twice_must_have_the_same_prediction() -> None:
    evaluator = RelationEvaluator(NAME, "sgdet")
    evaluator.process([{"image_id": 1}, {"image_id": 1}], [FIRST, FIRST])
    with pytest.raises(ValueError, match=r"image 1: processed twice .* reset\(\)"):
        evaluator.process([{"image_id": 1}], [SECOND])


def test_without_distributed_nothing_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comm, "gather", lambda data, dst: pytest.fail("gathered"))
    evaluator = RelationEvaluator(NAME, "sgdet", distributed=False, allow_missing=True)
    assert run(evaluator, (1, FIRST))


def test_files_allow_scoring_again(tmp_path: Path) -> None:
    evaluator = RelationEvaluator(NAME, "sgdet", output_dir=tmp_path / "inference")
    results = run(evaluator, (1, FIRST), (2, SECOND), (3, THIRD))
    saved = load_predictions(tmp_path / "inference" / PREDICTIONS_FILE)
    again = evaluate_graphs(
        evaluator._scorer.truths, saved.predictions, "sgdet", [motifs()], EvaluatedSplit(["on", "by"])
    )
    assert again["motifs"].metrics == results["sgdet/motifs"]
    counts = load_per_image(tmp_path / "inference" / PER_IMAGE_FILE)
    assert counts["motifs"].image_ids == ("1", "2", "3")
    assert counts["motifs"].ground_truths.tolist() == [2, 2, 0]
    assert counts["motifs"].hits["ngR@50"].tolist() == [2, 0, 0]
    assert json.loads((tmp_path / "inference" / PER_IMAGE_FILE).read_text())["task"] == "sgdet"
    assert len(list((tmp_path / "inference").iterdir())) == 6


def test_raw_predictions_are_on_disk_before_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("reldn_d2.evaluation.scorer.evaluate_graphs", crash)
    with pytest.raises(RuntimeError):
        run(RelationEvaluator(NAME, "sgdet", output_dir=tmp_path), (1, FIRST))
    assert list(load_predictions(tmp_path / PREDICTIONS_FILE).predictions) == ["1"]


def test_memory_does_not_grow_with_the_pairs_or_alias_the_model() -> None:
    rows = [(0, 1, 0, 0.9, 1), (0, 1, 1, 0.8, 2), (1, 0, 0, 0.7, 1), (1, 0, 1, 0.6, 2)]
    many = output(rows)
    many["instances"] = Instances.cat([many["instances"]] * 200)
    pairs = torch.cartesian_prod(torch.arange(400), torch.arange(400))
    triplets = Instances((40, 40))
    triplets.subject_index, triplets.object_index = pairs.T
    triplets.pred_predicates = torch.zeros(len(pairs), dtype=torch.long)
    triplets.scores, triplets.rank_in_pair = torch.linspace(1, 0, len(pairs)), triplets.pred_predicates + 1
    many["relations"] = triplets
    evaluator = RelationEvaluator(NAME, "sgdet")
    evaluator.process([{"image_id": 1}], [many])
    kept = evaluator._predictions["1"]
    assert len(kept.relations) == 100 and kept.relations.score.base is None
    many["instances"].pred_boxes.tensor.zero_()
    assert kept.boxes[1].tolist() == B


@pytest.mark.parametrize(
    ("image_id", "broken", "message"),
    [
        (9, FIRST, "image 9: data set"),
        (1, output([(0, 1, 0, float("nan"), 1)]), "image 1: relationship scores"),
        (1, output([(0, 2, 0, 0.5, 1)]), "image 1: object_index"),
        (2, output([(0, 1, 2, 0.5, 1)]), "image 2: pred_predicates"),
    ],
)
def test_bad_predictions_are_refused_with_the_image(image_id: int, broken: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RelationEvaluator(NAME, "sgdet").process([{"image_id": image_id}], [broken])


def test_missing_pair_answers_are_refused_if_they_are_ranked() -> None:
    with pytest.raises(ValueError, match=r"image 1: .*lacks 'pair_answers', which protocol reldn asked for"):
        RelationEvaluator(NAME, "prdcls").process([{"image_id": 1}], [FIRST])
    RelationEvaluator(NAME, "prdcls", ("motifs",)).process([{"image_id": 1}], [FIRST])


def test_a_data_set_without_relationships_gets_predictions_and_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(DatasetCatalog, "get", lambda name: [record(1, [])])
    assert run(RelationEvaluator(NAME, "sgdet", output_dir=tmp_path), (1, FIRST)) == {}
    assert "nothing to score" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [PREDICTIONS_FILE]


def test_unfit_tasks_protocols_and_data_sets_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="unknown task"):
        RelationEvaluator(NAME, "SGGEN")
    with pytest.raises(ValueError, match="not for sgcls"):
        RelationEvaluator(NAME, "sgcls", ("reldn_openimages",))
    MetadataCatalog.remove(NAME)
    with pytest.raises(ValueError, match="no thing_classes"):
        RelationEvaluator(NAME, "sgdet")
    MetadataCatalog.get(NAME)


def test_classes_that_are_no_integers_are_refused_and_not_rounded() -> None:
    broken = output([(0, 1, 0, 0.9, 1)])
    broken["instances"].pred_classes = torch.tensor([0.0, 1.5])
    with pytest.raises(ValueError, match="image 1, prediction: class must be an integer"):
        RelationEvaluator(NAME, "sgdet").process([{"image_id": 1}], [broken])


def test_results_of_earlier_predictions_do_not_stay_beside_new_ones(tmp_path: Path) -> None:
    evaluator = RelationEvaluator(NAME, "sgdet", output_dir=tmp_path)
    run(evaluator, (1, FIRST), (2, SECOND), (3, THIRD))
    with pytest.raises(ValueError, match="no prediction"):
        run(evaluator, (1, FIRST))
    assert [path.name for path in tmp_path.iterdir()] == [PREDICTIONS_FILE]


@pytest.mark.parametrize(("scored", "done"), [("sgdet", "prdcls"), ("prdcls", "sgcls"), ("SGCls", "sgdet")])
def test_the_output_of_another_task_is_refused(scored: str, done: str) -> None:
    evaluator = RelationEvaluator(NAME, scored, ("motifs",))
    message = f"image 1: .* of the task '{done}', .* scores '{scored.lower()}': .*RELATION_HEAD.TEST.TASK"
    with pytest.raises(ValueError, match=message):
        run(evaluator, (1, {**FIRST, "task": done}))
    # In any case of letters, and from a model that does not say it.
    results = run(
        evaluator, (1, {**FIRST, "task": scored}), (2, {**SECOND, "task": scored.upper()}), (3, THIRD)
    )
    assert list(results) == [f"{scored.lower()}/motifs"]
