"""Evaluation from config to numbers: chosen protocols, queries, expected results, logs of a training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import save_detections
from reldn_d2.engine import Trainer, evaluate
from reldn_d2.engine.protocols import chosen_protocols
from reldn_d2.engine.run_identity import detector_digest
from reldn_d2.evaluation import PROTOCOLS
from reldn_d2.evaluation.ground_truth import ground_truth_graphs
from reldn_d2.evaluation.protocols.confusion import confusion_triplets, is_confusable
from reldn_d2.evaluation.protocols.recall import RecallProtocol
from reldn_d2.structures.dataset_dicts import entity_boxes, entity_classes
from tests.builders.tiny_models import TinyConfig, make_model

TEST = "MODEL.ROI_RELATION_HEAD.TEST"
SPLITS = ("reldn_scenes_tiny_train", "reldn_scenes_tiny_test")


@pytest.fixture(scope="module")
def perfect_detections(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of detections that equal the annotation, for models whose detector is not run."""
    files = {}
    for name in SPLITS:
        files[name] = str(tmp_path_factory.mktemp("detections") / f"{name}.npz")
        found = {
            x["image_id"]: (
                entity_boxes(x).astype(np.float32),
                np.linspace(1.0, 0.5, len(x["annotations"]), dtype=np.float32),
                entity_classes(x),
            )
            for x in DatasetCatalog.get(name)
        }
        save_detections(files[name], found, MetadataCatalog.get(name).thing_classes)
    return files


@pytest.fixture
def sgdet_config(tiny_config: TinyConfig, perfect_detections: dict[str, str], tmp_path: Path) -> CfgNode:
    """A model of classes alone, with weights and right detections. Its SGDET is fast and not 0."""
    RelationCheckpointer(make_model(tiny_config()), str(tmp_path)).save("model")
    cfg = tiny_config("MODEL.WEIGHTS", str(tmp_path / "model.pth"), file="frequency.yaml")
    cfg.DATASETS.DETECTION_FILES_TEST = (perfect_detections["reldn_scenes_tiny_test"],)
    return cfg


def names(cfg: CfgNode) -> list[str]:
    return [protocol.name for protocol in chosen_protocols(cfg)]


def choose(cfg: CfgNode, protocols: Sequence[str], task: str = "sgdet") -> CfgNode:
    cfg.MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS = tuple(protocols)
    cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK = task
    return cfg


# --- protocols


def test_every_protocol_can_be_chosen_for_the_tasks_it_is_defined_for(tiny_config: TinyConfig) -> None:
    every = sorted(PROTOCOLS)
    assert names(choose(tiny_config(), every)) == every
    given = names(choose(tiny_config(), every, "prdcls"))
    assert {"motifs", "reldn", "confusion"} <= set(given)
    assert {"vrd2016", "reldn_openimages"}.isdisjoint(given)


def test_the_settings_of_protocols_are_the_configs(tiny_config: TinyConfig) -> None:
    cfg = choose(tiny_config(), ["reldn", "openimages", "reldn_openimages"])
    cfg.MODEL.ROI_RELATION_HEAD.TEST.PREDICATES_PER_PAIR = (1, 70)
    cfg.MODEL.ROI_RELATION_HEAD.TEST.EXCLUDED_PREDICATES = ("no such predicate",)
    reldn, *openimages = chosen_protocols(cfg)
    assert isinstance(reldn, RecallProtocol)
    assert {ranked.predicates_per_pair for ranked in reldn.lists} == {1, 70}
    assert [protocol.excluded_predicates for protocol in openimages] == [("no such predicate",)] * 2


def test_an_unknown_protocol_is_refused_before_anything_runs(tiny_config: TinyConfig) -> None:
    cfg = choose(tiny_config(), ["motifs", "recall"])
    with pytest.raises(ValueError, match=r"unknown protocol 'recall'; the protocols are motifs, .*confusion"):
        Trainer.build_test_loader(cfg, "reldn_scenes_tiny_test")
    with pytest.raises(ValueError, match="unknown protocol 'recall'"):
        Trainer.build_evaluator(cfg, "reldn_scenes_tiny_test")


# --- queries


def inputs_of(cfg: CfgNode) -> list[dict[str, Any]]:
    return [x for batch in Trainer.build_test_loader(cfg, "reldn_scenes_tiny_test") for x in batch]


def test_the_loader_asks_for_triplets_where_a_protocol_compares_them(tiny_config: TinyConfig) -> None:
    dataset_dicts = DatasetCatalog.get("reldn_scenes_tiny_test")
    truths = ground_truth_graphs(dataset_dicts, 6, 7)
    asked = inputs_of(choose(tiny_config("DATALOADER.NUM_WORKERS", "0"), ["motifs", "confusion"]))
    assert len(asked) == len(truths) == 8
    for inputs in asked:
        truth = truths[str(inputs["image_id"])]
        assert inputs["queries"].triplets.tolist() == confusion_triplets(truth).tolist()
        assert not len(inputs["queries"].pairs)
    assert sum(len(x["queries"].triplets) for x in asked) > 0
    sgdet = inputs_of(choose(tiny_config("DATALOADER.NUM_WORKERS", "0"), ["motifs", "reldn"]))
    assert all("queries" not in x for x in sgdet)
    given = inputs_of(choose(tiny_config("DATALOADER.NUM_WORKERS", "0"), ["motifs", "reldn"], "prdcls"))
    assert all(x["queries"].pairs.tolist() == x["relations"][:, :2].tolist() for x in given)
    detector = choose(tiny_config("DATALOADER.NUM_WORKERS", "0", file="detector.yaml"), ["confusion"])
    assert all("queries" not in x for x in inputs_of(detector))


def test_asking_changes_no_dict_of_the_data_set(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_dicts = DatasetCatalog.get("reldn_scenes_tiny_test")
    keys = [set(x) for x in dataset_dicts]
    monkeypatch.setitem(DatasetCatalog.data, "reldn_scenes_tiny_test", lambda: dataset_dicts)
    Trainer.build_test_loader(choose(tiny_config(), ["confusion"]), "reldn_scenes_tiny_test")
    assert [set(x) for x in dataset_dicts] == keys


def test_every_task_reports_confusion(sgdet_config: CfgNode) -> None:
    """Classes alone can't tell confusable instances apart: with equal entity scores all of them are ties."""
    sgdet_config.TEST.IMS_PER_BATCH = 3
    for task in ("prdcls", "sgcls", "sgdet"):
        results = evaluate(choose(sgdet_config, ["confusion"], task))
        assert set(results) == {f"{task}/confusion"}
        metrics = results[f"{task}/confusion"]
        shares = [metrics[f"entity_instance_{x}"] for x in ("right", "confusion_rate", "missed")]
        assert sum(shares) == pytest.approx(100)
        if task == "prdcls":
            assert shares == pytest.approx([50, 50, 0])
        if task == "sgdet":
            assert shares[2] == 0 and min(shares[:2]) > 0


def test_the_confusion_subset_is_reported_when_the_config_says_so(
    sgdet_config: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_dicts = DatasetCatalog.get("reldn_scenes_tiny_test")
    truths = ground_truth_graphs(dataset_dicts, 6, 7)
    plain = next(x for x in dataset_dicts if is_confusable(truths[str(x["image_id"])]))
    # An image with one relationship and no confusable case.
    row = plain["relations"][0]
    ends = [plain["annotations"][i] for i in row[:2]]
    plain = {**plain, "image_id": "plain", "annotations": ends, "relations": np.array([[0, 1, row[2]]])}
    monkeypatch.setitem(DatasetCatalog.data, "reldn_scenes_tiny_test", lambda: [*dataset_dicts, plain])
    sgdet_config.DATASETS.DETECTION_FILES_TEST = ()
    choose(sgdet_config, ["motifs", "confusion"], "prdcls")
    assert set(evaluate(sgdet_config)) == {"prdcls/motifs", "prdcls/confusion"}
    sgdet_config.MODEL.ROI_RELATION_HEAD.TEST.CONFUSION_SUBSET = True
    results = evaluate(sgdet_config)
    assert set(results) == {
        *("prdcls/motifs", "prdcls/confusion"),
        *("prdcls/motifs_confusable", "prdcls/confusion_confusable"),
    }
    assert results["prdcls/motifs"]["R@20"] != results["prdcls/motifs_confusable"]["R@20"]
    assert results["prdcls/confusion"] == results["prdcls/confusion_confusable"]


# --- expected results


def test_expected_results_pass_within_the_tolerance_and_end_the_run_outside(sgdet_config: CfgNode) -> None:
    value = evaluate(sgdet_config)["sgdet/motifs"]["R@50"]
    assert 1 < value <= 100
    sgdet_config.TEST.EXPECTED_RESULTS = [["sgdet/motifs", "R@50", value - 0.5, 0.6]]
    assert evaluate(sgdet_config)["sgdet/motifs"]["R@50"] == value
    for task, metric, expected in (
        ("sgdet/motifs", "R@50", value - 0.7),
        ("sgdet/motifs", "R@51", value),
    ):
        sgdet_config.TEST.EXPECTED_RESULTS = [[task, metric, expected, 0.6]]
        with pytest.raises(SystemExit):
            evaluate(sgdet_config)


def test_expected_results_name_the_data_set_where_there_are_several(
    sgdet_config: CfgNode, perfect_detections: dict[str, str]
) -> None:
    sgdet_config.DATASETS.TEST = SPLITS
    sgdet_config.DATASETS.DETECTION_FILES_TEST = tuple(perfect_detections[name] for name in SPLITS)
    results = evaluate(choose(sgdet_config, ["motifs", "reldn"]))
    assert set(results) == {f"{name}/sgdet/{protocol}" for name in SPLITS for protocol in ("motifs", "reldn")}
    values = [results[f"{name}/sgdet/motifs"]["R@50"] for name in SPLITS]
    assert values[0] != values[1]
    for i, expected in ((0, values[0]), (1, values[1])):
        sgdet_config.TEST.EXPECTED_RESULTS = [[f"{SPLITS[i]}/sgdet/motifs", "R@50", expected, 1e-6]]
        evaluate(sgdet_config)
    sgdet_config.TEST.EXPECTED_RESULTS = [[f"{SPLITS[0]}/sgdet/motifs", "R@50", values[1], 1e-6]]
    with pytest.raises(SystemExit):
        evaluate(sgdet_config)


def test_boxes_of_another_detector_are_named(
    sgdet_config: CfgNode,
    perfect_detections: dict[str, str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = detector_digest(make_model(sgdet_config))
    with np.load(perfect_detections["reldn_scenes_tiny_test"]) as archive:
        arrays = {name: x for name, x in archive.items() if name != "sha256"}
    file = str(tmp_path / "boxes.npz")
    sgdet_config.DATASETS.DETECTION_FILES_TEST = (file,)
    # Nobody knows who made the file of an earlier release.
    del arrays["detector_weights"]
    for made_by, is_named in (
        ({}, False),
        ({"detector_weights": "0"}, True),
        ({"detector_weights": own}, False),
    ):
        np.savez(file, **arrays, **{name: np.array(x) for name, x in made_by.items()})
        caplog.clear()
        evaluate(sgdet_config)
        assert (f"{file} was made by another detector than the one in" in caplog.text) == is_named


# --- training


@pytest.fixture
def training_config(
    sgdet_config: CfgNode, tiny_config: TinyConfig, perfect_detections: dict[str, str]
) -> CfgNode:
    """A config without a backbone and a detector: steps take milliseconds. Every 20th is logged."""
    options = ["MODEL.WEIGHTS", sgdet_config.MODEL.WEIGHTS, "SOLVER.MAX_ITER", "25", "TEST.EVAL_PERIOD", "20"]
    cfg = tiny_config(*options, file="semantic_spatial.yaml")
    cfg.DATASETS.DETECTION_FILES_TRAIN = (perfect_detections["reldn_scenes_tiny_train"],)
    cfg.DATASETS.DETECTION_FILES_TEST = (perfect_detections["reldn_scenes_tiny_test"],)
    return choose(cfg, ["motifs", "confusion"])


def train(cfg: CfgNode) -> Any:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    return trainer.train()


def test_periodic_evaluations_are_in_metrics_json_and_tensorboard(training_config: CfgNode) -> None:
    train(training_config)
    output = Path(training_config.OUTPUT_DIR)
    events = EventAccumulator(str(output))
    events.Reload()
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    for key in ("sgdet/motifs/R@50", "sgdet/motifs/mR@50", "sgdet/confusion/entity_instance_right"):
        written = {line["iteration"]: line[key] for line in lines if key in line}
        assert set(written) == {19, 25}, key
        assert all(0 < value <= 100 for value in written.values()), key
        shown = {event.step: event.value for event in events.Scalars(key)}
        assert shown == pytest.approx(written), key


def test_a_training_on_several_data_sets_checks_what_is_expected(
    training_config: CfgNode, perfect_detections: dict[str, str]
) -> None:
    training_config.DATASETS.TEST = SPLITS
    training_config.DATASETS.DETECTION_FILES_TEST = tuple(perfect_detections[name] for name in SPLITS)
    training_config.SOLVER.MAX_ITER = 1
    key = "reldn_scenes_tiny_train/sgdet/motifs"
    training_config.TEST.EXPECTED_RESULTS = [[key, "R@50", 50.0, 50.0]]
    results = train(training_config)
    assert set(results) == {f"{name}/sgdet/{x}" for name in SPLITS for x in ("motifs", "confusion")}
    lines = (Path(training_config.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    assert json.loads(lines[-1])[f"{key}/R@50"] == results[key]["R@50"]
    training_config.TEST.EXPECTED_RESULTS = [[key, "R@50", 150.0, 1.0]]
    with pytest.raises(SystemExit):
        train(training_config)
