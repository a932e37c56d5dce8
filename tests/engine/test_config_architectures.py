"""A step of training and of inference of each architecture at reduced width, as train_net.py runs them."""

import json
from math import isfinite
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from reldn_d2.engine import Trainer, evaluate
from tests.builders.config_files import BASE, load
from tests.builders.tiny_models import calm_down, make_model

pytestmark = pytest.mark.usefixtures("stand_ins")

LOSSES = ["cross_entropy", "class_agnostic", "entity_class", "predicate_class"]
REDUCED = [
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "DATALOADER.NUM_WORKERS", "0"),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", "16", "MODEL.FPN.OUT_CHANNELS", "16"),
    *("MODEL.RELDN_VGG.CHANNELS", "[4, 4, 8, 8, 8]"),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", "8", "MODEL.RESNETS.RES2_OUT_CHANNELS", "16"),
    *("MODEL.RPN.PRE_NMS_TOPK_TEST", "100", "MODEL.RPN.POST_NMS_TOPK_TEST", "40"),
    *("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", "32"),
    # No class has a high score in an untrained model of many classes.
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", "TEST.DETECTIONS_PER_IMAGE", "6"),
    *("INPUT.MIN_SIZE_TRAIN", "[96]", "INPUT.MIN_SIZE_TEST", "96"),
    *("SOLVER.REFERENCE_WORLD_SIZE", "0", "SOLVER.IMS_PER_BATCH", "2"),
    *("SOLVER.MAX_ITER", "1", "SOLVER.STEPS", "()"),
]
NARROW = ["MODEL.RESNETS.WIDTH_PER_GROUP", "4"]
NARROW_GROUPS = ["MODEL.RESNETS.NUM_GROUPS", "4", "MODEL.RESNETS.WIDTH_PER_GROUP", "1"]
MASKS = ["MODEL.ROI_MASK_HEAD.CONV_DIM", "8"]
# Architecture -> its own file, or a base file that configs/README.md combines with others; options.
ARCHITECTURES = {
    "VGG-16": ("vrd/reldn_vgg16_imagenet.yaml", []),
    "VGG-16 without the spatial module": ("vg/reldn_vgg16.yaml", []),
    "X-101-FPN": ("openimages/mini_reldn_x101_fpn.yaml", NARROW_GROUPS),
    "R-50-FPN": ("vrd/reldn_r50_fpn.yaml", NARROW),
    "R-101-FPN": ("rcnn_r101_fpn", NARROW),
    "timm": ("rcnn_timm_fpn", []),
    "Cascade": ("cascade_rcnn_r50_fpn", NARROW),
    "Mask": ("mask_rcnn_r50_fpn", [*NARROW, *MASKS]),
    "C4": ("rcnn_r50_c4", [*NARROW, "MODEL.ROI_RELATION_HEAD.VISUAL.FEATURES_BEFORE_RELU", "False"]),
}


def put_together(detector: str, folder: Path) -> Path:
    """A config of VRD for an architecture that has no file of its own."""
    parts = [f"{BASE / name}.yaml" for name in (detector, "recipe", "data_vrd", "reldn_recipe")]
    file = folder / "config.yaml"
    file.write_text(json.dumps({"_BASE_": parts}))
    return file


def reduced(file: str | Path, folder: Path, *options: str) -> CfgNode:
    return load(file, *REDUCED, "OUTPUT_DIR", str(folder / "run"), *options)


@pytest.mark.parametrize(("file", "options"), list(ARCHITECTURES.values()), ids=list(ARCHITECTURES))
def test_a_step_of_training_and_of_inference(file: str, options: list[str], tmp_path: Path) -> None:
    path = file if file.endswith(".yaml") else put_together(file, tmp_path)
    cfg = reduced(path, tmp_path, *options)
    trainer = Trainer(cfg)
    calm_down(trainer.model)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()

    lines = (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()
    logged = json.loads(lines[0])
    assert all(isfinite(logged[f"loss_rel_{name}"]) for name in LOSSES)
    changed = {name for name, value in trainer.model.state_dict().items() if not value.equal(before[name])}
    assert changed and all(name.startswith("relation_") for name in changed)
    for part in ("relation_backbone.", "subject_head.", "object_head.", "predicate_head.", "log_prior"):
        assert any(part in name for name in changed), part
    spatial = any(".spatial." in name for name in changed)
    assert spatial == cfg.MODEL.ROI_RELATION_HEAD.SPATIAL.ENABLED

    protocols = cfg.MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS
    assert {f"sgdet/{name}" for name in protocols} <= trainer._last_eval_results.keys()
    inputs = next(iter(Trainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])))
    trainer.model.eval()
    for task in ("sgdet", "sgcls", "prdcls"):
        trainer.model.task = task
        (output,) = trainer.model(inputs)
        assert len(output["relations"]) > 0 and torch.isfinite(output["relations"].scores).all()


@pytest.mark.parametrize(
    ("published", "trained", "options"),
    [
        ("published/vrd_vgg16_coco.yaml", "vrd/reldn_vgg16_coco.yaml", []),
        ("published/vg_x101_fpn.yaml", "vg/reldn_x101_fpn.yaml", NARROW_GROUPS),
    ],
)
def test_published_conventions_evaluate_the_same_weights(
    published: str, trained: str, options: list[str], tmp_path: Path
) -> None:
    weights = str(tmp_path / "weights.pth")
    torch.save({"model": make_model(reduced(trained, tmp_path, *options)).state_dict()}, weights)
    cfg = reduced(published, tmp_path, *options, "MODEL.WEIGHTS", weights)
    results = evaluate(cfg)
    protocols = cfg.MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS
    assert {f"sgdet/{name}" for name in protocols} <= results.keys()


def test_published_conventions_are_not_for_training(tmp_path: Path) -> None:
    cfg = reduced("published/vrd_vgg16_coco.yaml", tmp_path)
    with pytest.raises(ValueError, match="PublishedRelDN is for evaluation: train RelDN"):
        Trainer(cfg).train()


def test_the_semantic_module_alone_is_evaluated_and_not_trained(tmp_path: Path) -> None:
    file = "ablations/modules/sem.yaml"
    cfg = reduced(file, tmp_path, *NARROW_GROUPS)
    with pytest.raises(
        ValueError, match="nothing to train: with the semantic module alone, run with --eval-only"
    ):
        Trainer(cfg)
    detector = cfg.clone()
    detector.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    cfg.MODEL.WEIGHTS = str(tmp_path / "detector.pth")
    model = build_model(detector)
    calm_down(model)
    torch.save({"model": model.state_dict()}, cfg.MODEL.WEIGHTS)
    results = evaluate(cfg)
    assert 0 <= results["sgdet/reldn_openimages"]["R@50"] <= 100
