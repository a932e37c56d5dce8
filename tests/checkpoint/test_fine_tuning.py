"""Training for another vocabulary with train_net.py's own functions, and inference without data sets."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.engine import RelationPredictor, Trainer, cache_detections, load_model, vocabulary_of
from tests.builders.tiny_models import TinyConfig, calm_down, make_model

# The classes of the scenes are person, cup, guitar, table, hat, box and at, on, holds, plays, wears, inside
# of, under.
THINGS = ["hat", "person", "guitar", "unicorn", "table", "cup", "dragon"]
PREDICATES = ["under", "rides", "on", "at", "holds", "wears", "plays", "inside of", "feeds"]
HEAD = "relation_head.pair_classifier."
WEIGHTS = "MODEL.ROI_RELATION_HEAD.WEIGHTS"


@pytest.fixture
def party() -> Iterator[str]:
    """A data set of other classes: the scenes, with other names for their class numbers."""
    name = "party"
    DatasetCatalog.register(name, lambda: DatasetCatalog.get("reldn_scenes_tiny_train"))
    MetadataCatalog.get(name).set(
        thing_classes=THINGS, predicate_classes=PREDICATES, evaluator_type="relation"
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def at_party(cfg: CfgNode, party: str) -> CfgNode:
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (party,), ()
    cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES = len(THINGS), len(PREDICATES)
    cfg.SOLVER.MAX_ITER = 1
    return cfg


def save(model: Any, folder: Path) -> str:
    """Saves a model as a training on the scenes does."""
    vocabulary = vocabulary_of("reldn_scenes_tiny_train")
    RelationCheckpointer(model, str(folder), vocabulary=vocabulary).save("model")
    return str(folder / "model.pth")


def start(cfg: CfgNode) -> tuple[Trainer, dict[str, torch.Tensor]]:
    """A trainer that has loaded its start checkpoint, and the state of its model before that."""
    trainer = Trainer(cfg)
    fresh = {name: x.clone() for name, x in trainer.model.state_dict().items()}
    trainer.resume_or_load(resume=False)
    return trainer, fresh


def by_name(old: torch.Tensor, fresh: torch.Tensor, found: list[str], own: list[str]) -> torch.Tensor:
    """One row for each class, and the row of the background at the end."""
    rows = [old[found.index(word)] if word in found else fresh[i] for i, word in enumerate(own)]
    return torch.stack([*rows, old[-1]])


def test_both_stages_go_on_to_other_classes(
    tiny_config: TinyConfig, party: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = vocabulary_of("reldn_scenes_tiny_train")
    reldn = make_model(tiny_config())
    old, scenes = reldn.state_dict(), save(reldn, tmp_path / "scenes")

    # Stage 1 starts from RelDN's own checkpoint.
    stage1 = at_party(tiny_config("MODEL.WEIGHTS", scenes, file="detector.yaml"), party)
    stage1.OUTPUT_DIR = str(tmp_path / "detector")
    trainer, fresh = start(stage1)
    scores = "roi_heads.box_predictor.cls_score.weight"
    expected = by_name(old[scores], fresh[scores], words.thing_classes, THINGS)
    assert torch.equal(trainer.model.state_dict()[scores], expected)
    trainer.train()
    detector = torch.load(tmp_path / "detector" / "model_final.pth", weights_only=True)
    assert detector["vocabulary"] == {"thing_classes": THINGS, "predicate_classes": []}

    # Stage 2: the new detector, the old relation part.
    options = ["MODEL.WEIGHTS", str(tmp_path / "detector" / "model_final.pth"), WEIGHTS, scenes]
    stage2 = at_party(tiny_config(*options, "SOLVER.CHECKPOINT_PERIOD", "1"), party)
    with caplog.at_level(logging.WARNING):
        trainer, fresh = start(stage2)
    assert not any("UNTRAINED" in message for message in caplog.messages)
    state = trainer.model.state_dict()
    assert all(torch.equal(state[name], x) for name, x in detector["model"].items())
    for layer in ("visual.score.3", "visual.subject_skip", "visual.object_skip", "spatial.mlp.4"):
        for name in (f"{HEAD}{layer}.weight", f"{HEAD}{layer}.bias"):
            expected = by_name(old[name], fresh[name], words.predicate_classes, PREDICATES)
            assert torch.equal(state[name], expected), name
    for name in (
        f"{HEAD}visual.fuse.weight",
        f"{HEAD}subject_head.fc1.weight",
        "relation_backbone.fpn_lateral2.bias",
    ):
        assert torch.equal(state[name], old[name]), name
    table = f"{HEAD}semantic.log_prior"
    assert torch.equal(state[table], fresh[table]) and state[table].isfinite().all()
    trainer.train()
    saved = torch.load(Path(stage2.OUTPUT_DIR) / "model_final.pth", weights_only=True)
    assert saved["vocabulary"] == {"thing_classes": THINGS, "predicate_classes": PREDICATES}

    # A resumed run does not need the checkpoints that it started from.
    stage2.MODEL.WEIGHTS = stage2.MODEL.ROI_RELATION_HEAD.WEIGHTS = "gone.pth"
    stage2.SOLVER.MAX_ITER = 2
    resumed = Trainer(stage2)
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 1
    assert all(torch.equal(resumed.model.state_dict()[name], x) for name, x in saved["model"].items())


def test_a_reldn_on_a_detector_of_other_classes_is_warned_of(
    tiny_config: TinyConfig, party: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = at_party(tiny_config("MODEL.WEIGHTS", save(make_model(tiny_config()), tmp_path)), party)
    with caplog.at_level(logging.WARNING, logger="fvcore"):
        start(cfg)
    assert any("lacks 2 entity classes (unicorn, dragon)" in message for message in caplog.messages)


def test_another_vocabulary_is_not_evaluated(tiny_config: TinyConfig, party: str, tmp_path: Path) -> None:
    path = save(make_model(tiny_config()), tmp_path)
    MetadataCatalog.get("party_of_six").set(
        thing_classes=vocabulary_of("reldn_scenes_tiny_test").thing_classes[::-1],
        predicate_classes=vocabulary_of("reldn_scenes_tiny_test").predicate_classes,
    )
    try:
        for file in ("reldn.yaml", "detector.yaml", "frequency.yaml"):
            cfg = tiny_config("MODEL.WEIGHTS", path, file=file)
            load_model(cfg)
            cfg.DATASETS.TEST = ("party_of_six",)
            cfg.DATASETS.TRAIN = ("party_of_six",)
            with pytest.raises(ValueError, match=f"{path} has 6 thing_classes, .* differ from number 0"):
                load_model(cfg)
    finally:
        MetadataCatalog.remove("party_of_six")


def test_the_same_classes_keep_the_table_of_the_checkpoint(tiny_config: TinyConfig, tmp_path: Path) -> None:
    trained = make_model(tiny_config())
    trainer, fresh = start(tiny_config("MODEL.WEIGHTS", save(trained, tmp_path)))
    table = f"{HEAD}semantic.log_prior"
    assert torch.equal(trainer.model.state_dict()[table], trained.state_dict()[table])
    assert not torch.equal(fresh[table], trained.state_dict()[table])


def test_inference_needs_no_data(
    tiny_config: TinyConfig, party: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of training, then inference as on another machine, with a moved checkpoint and no data set."""
    cfg = at_party(tiny_config("MODEL.WEIGHTS", save(make_model(tiny_config()), tmp_path / "start")), party)
    trainer, _ = start(cfg)
    trainer.train()
    moved = tmp_path / "elsewhere" / "party.pth"
    moved.parent.mkdir()
    Path(cfg.OUTPUT_DIR, "model_final.pth").rename(moved)
    expected = trainer.model.state_dict()[f"{HEAD}semantic.log_prior"].clone()
    for catalog in (DatasetCatalog, MetadataCatalog):
        monkeypatch.setattr(catalog, "get", None)
    options = ["MODEL.WEIGHTS", str(moved), "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    alone = tiny_config(*options, "MODEL.ROI_HEADS.NUM_CLASSES", "7")
    alone.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES = 9
    alone.DATASETS.TRAIN = alone.DATASETS.TEST = ()
    predictor = RelationPredictor(alone)
    assert predictor.thing_classes == THINGS and predictor.predicate_classes == PREDICATES
    assert torch.equal(predictor.model.relation_head.pair_classifier.semantic.log_prior, expected)
    output = predictor(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    relations = output["relations"]
    assert len(relations) > 0 and relations.scores.isfinite().all()
    assert all(0 <= i < len(PREDICATES) for i in relations.pred_predicates.tolist())


def single_stage(tiny_config: TinyConfig, *options: str) -> CfgNode:
    return tiny_config(
        *(
            "MODEL.META_ARCHITECTURE",
            "RetinaNet",
            "MODEL.BACKBONE.NAME",
            "build_retinanet_resnet_fpn_backbone",
        ),
        *("MODEL.RESNETS.OUT_FEATURES", "['res3','res4','res5']"),
        *("MODEL.FPN.IN_FEATURES", "['res3','res4','res5']"),
        *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16],[32],[64],[96],[128]]"),
        *("MODEL.RETINANET.NUM_CLASSES", "6", "MODEL.ROI_HEADS.NUM_CLASSES", "80"),
        *("MODEL.RETINANET.SCORE_THRESH_TEST", "0.0", "DATASETS.TEST", "('reldn_scenes_tiny_test',)"),
        *options,
        file="detector.yaml",
    )


def test_boxes_of_a_single_stage_detector(tiny_config: TinyConfig, tmp_path: Path) -> None:
    """Precomputed boxes of RetinaNet with the features of a two-stage detector."""
    weights = tmp_path / "retina.pth"
    cfg = single_stage(tiny_config, "MODEL.WEIGHTS", str(weights))
    retina = build_model(cfg)
    calm_down(retina)
    torch.save({"model": retina.state_dict()}, weights)
    files = {}
    for name in ("reldn_scenes_tiny_train", "reldn_scenes_tiny_test"):
        files[name] = str(tmp_path / f"{name}.npz")
        cache_detections(cfg, load_model(cfg), name, Path(files[name]))

    reldn = tiny_config("MODEL.WEIGHTS", save(make_model(tiny_config()), tmp_path), "SOLVER.MAX_ITER", "1")
    reldn.DATASETS.DETECTION_FILES_TRAIN = (files["reldn_scenes_tiny_train"],)
    reldn.DATASETS.DETECTION_FILES_TEST = (files["reldn_scenes_tiny_test"],)
    inputs = next(iter(Trainer.build_test_loader(reldn, "reldn_scenes_tiny_test")))
    with torch.no_grad():
        found = load_model(cfg)(inputs)
        output = load_model(reldn)(inputs)
    for one, other in zip(found, output, strict=True):
        assert len(one["instances"]) > 0
        torch.testing.assert_close(
            other["instances"].pred_boxes.tensor, one["instances"].pred_boxes.tensor, atol=1e-3, rtol=0
        )
        assert torch.equal(other["instances"].pred_classes, one["instances"].pred_classes)
    trainer, _ = start(reldn)
    trainer.train()
    assert any(name.startswith("sgdet/") for name in trainer._last_eval_results)

    reldn.MODEL.WEIGHTS = str(weights)
    with pytest.raises(
        ValueError, match=r"retina\.pth is of a single-stage detector.*DATASETS\.DETECTION_FILES"
    ):
        start(reldn)


def test_a_single_stage_detector_counts_its_own_classes(tiny_config: TinyConfig) -> None:
    with pytest.raises(
        ValueError, match=r"MODEL\.RETINANET\.NUM_CLASSES is 80, but data set reldn_scenes_tiny_test has 6"
    ):
        load_model(single_stage(tiny_config, "MODEL.RETINANET.NUM_CLASSES", "80", "MODEL.WEIGHTS", "x"))


def test_detections_are_of_the_classes_that_the_checkpoint_was_compared_with(
    tiny_config: TinyConfig, party: str, tmp_path: Path
) -> None:
    cfg = tiny_config("MODEL.ROI_HEADS.NUM_CLASSES", "7", file="detector.yaml")
    with pytest.raises(ValueError, match="NUM_CLASSES is 7, but data set reldn_scenes_tiny_test has 6"):
        cache_detections(cfg, build_model(cfg), party, tmp_path / "never.npz")
