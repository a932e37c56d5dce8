"""Files of an earlier release load, resume and predict the same numbers."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, build_detection_train_loader
from detectron2.utils.env import seed_all_rng

from reldn_d2 import add_reldn_config
from reldn_d2.data import (
    detections_made_by,
    load_detections_into_dataset,
    prepare_training_relations,
)
from reldn_d2.data.images import read_image
from reldn_d2.engine import RelationPredictor, Trainer, load_config, load_model, vocabulary_of
from reldn_d2.engine.exact_resume import ExactResume
from reldn_d2.evaluation import load_predictions
from reldn_d2.evaluation.scorer import DatasetScorer
from tests.builders.tiny_models import REPOSITORY

OLD = REPOSITORY / "tests" / "old_release"
TEST = "MODEL.ROI_RELATION_HEAD.TEST"
EVERY_PROTOCOL = ("motifs", "reldn", "vrd2016", "openimages", "reldn_openimages", "confusion")
# Other kinds of processors sum in another order.
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


def config_of(run: str, *options: str, weights: str = "model_final.pth") -> CfgNode:
    cfg = load_config(str(OLD / run / "config.yaml"), ["MODEL.WEIGHTS", str(OLD / run / weights), *options])
    assert isinstance(cfg, CfgNode)
    return cfg


def test_old_keys_are_converted_with_one_warning(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.WARNING):
        config_of("reldn")
    (message,) = [x.getMessage() for x in caplog.records if x.levelno == logging.WARNING]
    for words in ("EXHAUSTIVE", "LEFT_OUT_PREDICATES", f"now {TEST}.EXCLUDED_PREDICATES", "config.yaml"):
        assert words in message
    changed = (
        (OLD / "reldn" / "config.yaml")
        .read_text()
        .replace("LEFT_OUT_PREDICATES: []", "LEFT_OUT_PREDICATES: [near]")
    )
    (tmp_path / "old.yaml").write_text(changed)
    cfg = load_config(str(tmp_path / "old.yaml"), [f"{TEST}.EXHAUSTIVE", "True"])
    assert list(cfg.MODEL.ROI_RELATION_HEAD.TEST.EXCLUDED_PREDICATES) == ["near"]
    assert "EXHAUSTIVE" not in cfg.MODEL.ROI_RELATION_HEAD.TEST
    cfg = load_config(str(tmp_path / "old.yaml"), [f"{TEST}.LEFT_OUT_PREDICATES", "['near']"])
    assert cfg.MODEL.ROI_RELATION_HEAD.TEST.EXCLUDED_PREDICATES == ["near"]


def test_an_override_by_the_new_name_wins_over_an_old_file(tmp_path: Path) -> None:
    old = (OLD / "reldn" / "config.yaml").read_text()
    (tmp_path / "old.yaml").write_text(old.replace("LEFT_OUT_PREDICATES: []", "LEFT_OUT_PREDICATES: [near]"))
    cfg = load_config(str(tmp_path / "old.yaml"), [f"{TEST}.EXCLUDED_PREDICATES", "['by']"])
    assert list(cfg.MODEL.ROI_RELATION_HEAD.TEST.EXCLUDED_PREDICATES) == ["by"]


def test_another_project_may_merge_an_old_config_itself() -> None:
    cfg = get_cfg()
    add_reldn_config(cfg)
    cfg.merge_from_file(str(OLD / "reldn" / "config.yaml"))
    assert cfg.MODEL.META_ARCHITECTURE == "RelDN" and cfg.MODEL.FPN.OUT_CHANNELS == 8
    assert cfg.clone() == cfg


def test_it_predicts_the_same() -> None:
    cfg = config_of("reldn", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0")
    image = read_image(DatasetCatalog.get("reldn_scenes_tiny_test")[0]["file_name"], "BGR")
    found, expected = RelationPredictor(cfg)(image), np.load(OLD / "prediction.npz")
    entities, relations = found["instances"], found["relations"]
    np.testing.assert_allclose(entities.pred_boxes.tensor, expected["boxes"], rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(entities.scores, expected["scores"], **CLOSE)
    np.testing.assert_array_equal(entities.pred_classes, expected["classes"])
    columns = {
        "subject": relations.subject_index,
        "object": relations.object_index,
        "predicate": relations.pred_predicates,
    }
    rows = zip(*(expected[name].tolist() for name in (*columns, "score")), strict=True)
    old = {(s, o, p): score for s, o, p, score in rows}
    rows = zip(*(x.tolist() for x in (*columns.values(), relations.scores)), strict=True)
    new = {(s, o, p): score for s, o, p, score in rows}
    # The last triplet of the list may change places with the next one behind it.
    both = old.keys() & new.keys()
    assert len(both) >= len(old) - 3
    np.testing.assert_allclose([new[key] for key in both], [old[key] for key in both], **CLOSE)


@pytest.mark.parametrize("task", ["sgdet", "prdcls"])
def test_its_predictions_score_the_same(task: str) -> None:
    saved = load_predictions(OLD / f"predictions_{task}.npz")
    expected = json.loads((OLD / "metrics.json").read_text())[task]
    names = [name.partition("/")[2] for name in expected]
    assert names == sorted(EVERY_PROTOCOL) if task == "sgdet" else len(names) == 3
    scorer = DatasetScorer(saved.dataset_name, saved.task, names)
    results = scorer.score({i: scorer.prepare(i, graph) for i, graph in saved.predictions.items()})
    assert results.keys() == expected.keys()
    for name, metrics in expected.items():
        # Metrics of later releases are not among the expected ones; none of the old ones is lost.
        found = {metric: results[name][metric] for metric in metrics}
        assert found == pytest.approx(metrics, abs=1e-9), name


def test_its_detector_detects_the_same() -> None:
    classes = vocabulary_of("reldn_scenes_tiny_test").thing_classes
    assert len(detections_made_by(OLD / "detections.npz")) == 64
    images = load_detections_into_dataset(
        DatasetCatalog.get("reldn_scenes_tiny_test"), OLD / "detections.npz", classes
    )
    cfg = config_of("detector", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0")
    batch = next(iter(Trainer.build_test_loader(cfg, "reldn_scenes_tiny_test")))
    with torch.no_grad():
        outputs = load_model(cfg)(batch)
    for image, output in zip(images, outputs, strict=False):
        found, expected = output["instances"], image["detections"]
        assert len(found) == len(expected["scores"]) > 0
        np.testing.assert_allclose(np.sort(found.scores), np.sort(expected["scores"]), **CLOSE)


class OldOrder(Trainer):
    """A trainer that draws images and random numbers in the order of 0.1.0."""

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, dataset_dicts: Any = None) -> Any:
        images = prepare_training_relations(dataset_dicts, "the old images")
        return build_detection_train_loader(cfg, dataset=images, mapper=cls.build_mapper(cfg, is_train=True))

    def build_hooks(self) -> list[Any]:
        return [hook for hook in super().build_hooks() if not isinstance(hook, ExactResume)]


def test_its_training_goes_on_as_it_did(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD / "reldn", run)
    (run / "last_checkpoint").write_text("model_0000001.pth")
    (run / "model_final.pth").unlink()
    cfg = config_of("reldn", "OUTPUT_DIR", str(run), "DATASETS.TEST", "()")
    seed_all_rng(cfg.SEED)  # as `setup` does
    trainer = OldOrder(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 2
    trainer.train()
    before = torch.load(OLD / "reldn" / "model_0000001.pth")["model"]
    after = torch.load(run / "model_final.pth")["model"]
    expected: dict[str, Any] = json.loads((OLD / "resumed.json").read_text())
    assert {name for name, x in after.items() if not torch.equal(x, before[name])} == expected.keys()
    for name, (total, absolute) in expected.items():
        value = after[name].double()
        assert float(value.abs().sum()) == pytest.approx(absolute, rel=1e-3), name
        assert float(value.sum()) == pytest.approx(total, abs=1e-3 * absolute), name


def test_a_python_run_of_an_earlier_release_goes_on(tmp_path: Path) -> None:
    """Its checkpoints hold the state of the inner trainer, but not under a name."""
    trainer = Trainer(config_of("reldn", "OUTPUT_DIR", str(tmp_path), "DATASETS.TEST", "()"))
    state = trainer.state_dict()
    inner = state.pop("_trainer")
    inner["optimizer"]["param_groups"][0]["lr"] = 0.75
    trainer.load_state_dict({**state, "iteration": 5, "optimizer": inner["optimizer"]})
    assert trainer.iter == 5
    assert trainer.optimizer.param_groups[0]["lr"] == 0.75
