"""The settings of the paper's runs, and the agreement of configs that belong together."""

from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler

from reldn_d2.engine import Trainer
from reldn_d2.engine.yaml import is_relation_config
from tests.builders.config_files import RUNS, differences, leaves, load, name_of

HEAD = "MODEL.ROI_RELATION_HEAD."
LOSS_WEIGHTS = {f"{HEAD}LOSS.{name}.WEIGHT" for name in ("CLASS_AGNOSTIC", "ENTITY_CLASS", "PREDICATE_CLASS")}
# Config -> iterations, the two steps, images and epochs of its schedule.
STAGE_TWO = {
    "openimages/reldn_x101_fpn.yaml": (80930, (53954, 71937), 53953, 12),
    "openimages/mini_reldn_x101_fpn.yaml": (6750, (4500, 6000), 4500, 12),
    "vg/reldn_x101_fpn.yaml": (62723, (41815, 55754), 62723, 8),
    "vg/reldn_vgg16.yaml": (62723, (41815, 55754), 62723, 8),
    "vrd/reldn_vgg16_imagenet.yaml": (7560, (5040, 6720), 3780, 16),
    "vrd/reldn_vgg16_coco.yaml": (7560, (5040, 6720), 3780, 16),
    "vrd/reldn_r50_fpn.yaml": (7560, (5040, 6720), 3780, 16),
}
STAGE_ONE = {
    "openimages/detector_x101_fpn.yaml": (80930, (53954, 71937), 53953, 12),
    "openimages/mini_detector_x101_fpn.yaml": (6750, (4500, 6000), 4500, 12),
    "vg/detector_x101_fpn.yaml": (94085, (62723, 83631), 62723, 12),
    "vg/detector_vgg16.yaml": (94085, (62723, 83631), 62723, 12),
    "vrd/detector_vgg16_imagenet.yaml": (9450, (6300, 8400), 3780, 20),
    "vrd/detector_vgg16_coco.yaml": (4725, (3150, 4200), 3780, 10),
    "vrd/detector_r50_fpn.yaml": (4725, (3150, 4200), 3780, 10),
}
SCHEDULES = {**STAGE_ONE, **STAGE_TWO}
DATA = {
    "openimages/reldn_x101_fpn.yaml": ("reldn_openimages_vrd_train", "reldn_openimages_vrd_val", 57, 9),
    "openimages/mini_reldn_x101_fpn.yaml": (
        "reldn_openimages_vrd_mini_train",
        "reldn_openimages_vrd_mini_val",
        57,
        9,
    ),
    "vg/reldn_x101_fpn.yaml": ("reldn_vg150_trainval", "reldn_vg150_test", 150, 50),
    "vg/reldn_vgg16.yaml": ("reldn_vg150_trainval", "reldn_vg150_test", 150, 50),
    "vrd/reldn_vgg16_imagenet.yaml": ("reldn_vrd_train", "reldn_vrd_test", 100, 70),
    "vrd/reldn_vgg16_coco.yaml": ("reldn_vrd_train", "reldn_vrd_test", 100, 70),
    "vrd/reldn_r50_fpn.yaml": ("reldn_vrd_train", "reldn_vrd_test", 100, 70),
}
SOLVER = {
    "IMS_PER_BATCH": 8,
    "REFERENCE_WORLD_SIZE": 8,
    "BASE_LR": 0.01,
    "MOMENTUM": 0.9,
    "WEIGHT_DECAY": 1e-4,
    "BIAS_LR_FACTOR": 2.0,
    "WEIGHT_DECAY_BIAS": 0.0,
    "GAMMA": 0.1,
}
RELATION_HEAD = {
    "OVERLAP_ONLY": True,
    "FREEZE_NORM": True,
    "SEMANTIC.ENABLED": True,
    "SEMANTIC.LEARNABLE": True,
    "SEMANTIC.EPS": 1e-3,
    "SEMANTIC.BACKGROUND_COUNT": "all",
    "VISUAL.FUSED": True,
    "VISUAL.SUBJECT_SKIP": True,
    "VISUAL.OBJECT_SKIP": True,
    "VISUAL.FEATURES_BEFORE_RELU": True,
    "VISUAL.DROPOUT": 0.0,
    "LOSS.CROSS_ENTROPY_WEIGHT": 1.0,
    "LOSS.CLASS_AGNOSTIC.WEIGHT": 1.0,
    "LOSS.ENTITY_CLASS.WEIGHT": 0.5,
    "LOSS.PREDICATE_CLASS.WEIGHT": 0.1,
    "LOSS.CLASS_AGNOSTIC.MARGIN": 0.2,
    "LOSS.ENTITY_CLASS.MARGIN": 0.2,
    "LOSS.PREDICATE_CLASS.MARGIN": 0.2,
    "LOSS.NORMALIZATION": "published",
    "SAMPLING.METHOD": "published",
    "SAMPLING.BATCH_SIZE_PER_IMAGE": 2048,
    "SAMPLING.POSITIVES_PER_IMAGE": 512,
    "SAMPLING.ANCHORS_PER_IMAGE": 128,
    "TEST.TOP_K": 100,
}


@pytest.mark.parametrize("name", STAGE_TWO)
def test_stage_two_follows_the_published_code(name: str) -> None:
    cfg = load(name)
    found = leaves(cfg)
    for key, value in RELATION_HEAD.items():
        assert found[HEAD + key] == value, key
    assert found["SOLVER.PREDICATE_BACKBONE_LR_FACTOR"] == 0.1
    # The published VGG-16 model of VG has no spatial module.
    assert found[f"{HEAD}SPATIAL.ENABLED"] == (name != "vg/reldn_vgg16.yaml")
    (train,), (test,) = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    classes, predicates = cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES
    assert (train, test, classes, predicates) == DATA[name]


@pytest.mark.parametrize("name", SCHEDULES)
def test_both_stages_share_solver_input_and_detection(name: str) -> None:
    cfg = load(name)
    assert {key: cfg.SOLVER[key] for key in SOLVER} == SOLVER
    assert cfg.INPUT.MIN_SIZE_TRAIN == (800,) and cfg.INPUT.MIN_SIZE_TEST == 800
    assert cfg.INPUT.MAX_SIZE_TRAIN == cfg.INPUT.MAX_SIZE_TEST == 1333
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.05 and cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST == 0.5
    assert cfg.TEST.DETECTIONS_PER_IMAGE == 100
    assert cfg.MODEL.DEVICE == "cuda" and cfg.MODEL.BACKBONE.FREEZE_AT == 2


@pytest.mark.parametrize("name", [name for name in SCHEDULES if "r50" not in name])
def test_training_has_2000_proposals_as_published(name: str) -> None:
    assert load(name).MODEL.RPN.POST_NMS_TOPK_TRAIN == 2000
    assert load(name).MODEL.RPN.POST_NMS_TOPK_TEST == 1000


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_whole_epochs(name: str) -> None:
    iterations, steps, images, epochs = SCHEDULES[name]
    cfg = load(name)
    assert (iterations, steps) == (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS)
    assert iterations == pytest.approx(epochs * images / 8, abs=1)
    assert steps == (pytest.approx(iterations * 2 / 3, abs=1), pytest.approx(iterations * 8 / 9, abs=1))


def test_the_learning_rate_rises_from_a_third_and_falls_twice() -> None:
    cfg = load("vrd/reldn_vgg16_imagenet.yaml")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    expected = {0: 1 / 3, 250: 2 / 3, 500: 1, 5039: 1, 5040: 0.1, 6719: 0.1, 6720: 0.01, 7559: 0.01}
    for iteration, factor in expected.items():
        assert rates[iteration] == pytest.approx(0.01 * factor)


@pytest.mark.parametrize(
    ("processes", "rate", "iterations", "steps", "warmup"),
    [
        (1, 0.00125, 60480, (40320, 53760), 4000),
        (2, 0.0025, 30240, (20160, 26880), 2000),
        (4, 0.005, 15120, (10080, 13440), 1000),
        (8, 0.01, 7560, (5040, 6720), 500),
        (16, 0.02, 3780, (2520, 3360), 250),
    ],
)
def test_any_number_of_processes_sees_the_same_images(
    processes: int, rate: float, iterations: int, steps: tuple[int, int], warmup: int
) -> None:
    for name, (of_eight, *_) in SCHEDULES.items():
        solver = Trainer.auto_scale_workers(load(name), processes).SOLVER
        assert processes == solver.IMS_PER_BATCH  # one image for each process
        assert pytest.approx(rate) == solver.BASE_LR and warmup == solver.WARMUP_ITERS
        assert solver.MAX_ITER * processes == pytest.approx(of_eight * 8, abs=processes / 2)
        if of_eight == 7560:
            assert (iterations, steps) == (solver.MAX_ITER, solver.STEPS)


def test_learning_rate_groups() -> None:
    cfg = load("vrd/reldn_vgg16_imagenet.yaml", "MODEL.DEVICE", "meta")
    with torch.device("meta"):
        model = build_model(cfg)
    groups = Trainer.build_optimizer(cfg, model).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    classifier = "relation_head.pair_classifier."
    expected = {
        "relation_backbone.conv3_1.weight": (0.001, 1e-4),
        "relation_backbone.conv5_3.bias": (0.002, 0.0),
        f"{classifier}predicate_head.fc2.weight": (0.001, 1e-4),
        f"{classifier}predicate_head.fc2.bias": (0.002, 0.0),
        f"{classifier}subject_head.fc1.weight": (0.01, 1e-4),
        f"{classifier}object_head.fc1.bias": (0.02, 0.0),
        f"{classifier}visual.fuse.weight": (0.01, 1e-4),
        f"{classifier}spatial.mlp.4.bias": (0.02, 0.0),
        f"{classifier}semantic.log_prior": (0.02, 0.0),
    }
    for name, (rate, decay) in expected.items():
        assert found[name] == (pytest.approx(rate), decay), name
    # The detector is frozen, and so are the first four convolutions of the predicate backbone.
    assert all(name.startswith("relation_") for name in found)
    assert not any("conv1_" in name or "conv2_" in name for name in found)


TWINS = [file for file in RUNS if "_l0" in file.stem]


@pytest.mark.parametrize("file", TWINS, ids=name_of)
def test_a_twin_differs_in_its_loss_weights_alone(file: Path) -> None:
    original = file.with_stem(file.stem.replace("_l0", ""))
    assert differences(file, original) == {*LOSS_WEIGHTS, "OUTPUT_DIR"}
    twin = leaves(load(file))
    assert all(twin[key] == 0 for key in LOSS_WEIGHTS)


def test_every_run_of_the_paper_has_a_twin() -> None:
    assert {name_of(file).replace("_l0", "") for file in TWINS} >= STAGE_TWO.keys()


@pytest.mark.parametrize("name", STAGE_TWO)
def test_stage_two_starts_from_a_detector_of_its_own_architecture(name: str) -> None:
    cfg = load(name)
    detector = name.replace("reldn", "detector")
    stage_one = load(detector)
    assert f"{stage_one.OUTPUT_DIR}/model_final.pth" == cfg.MODEL.WEIGHTS
    assert not is_relation_config(stage_one)
    allowed = {"MODEL.META_ARCHITECTURE", "MODEL.WEIGHTS", "OUTPUT_DIR", "INPUT.RANDOM_FLIP"}
    allowed |= {"SOLVER.MAX_ITER", "SOLVER.STEPS"}
    for key in differences(name, detector):
        assert key in allowed or key.startswith(HEAD), key


def test_no_two_runs_write_into_one_folder() -> None:
    folders = [load(file).OUTPUT_DIR for file in RUNS]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("file", RUNS, ids=name_of)
def test_data_with_left_and_right_in_predicates_are_not_flipped(file: Path) -> None:
    cfg = load(file)
    if not is_relation_config(cfg):
        return
    predicates = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).predicate_classes
    sided = [name for name in predicates if {"left", "right"} & set(name.replace("-", " ").split())]
    if sided:
        assert cfg.INPUT.RANDOM_FLIP == "none"
    elif name_of(file) in STAGE_TWO:
        assert cfg.INPUT.RANDOM_FLIP == "horizontal"


def test_the_mini_set_is_counted_over_the_full_one() -> None:
    for file in RUNS:
        datasets = load(file).DATASETS
        mini = datasets.TRAIN == ("reldn_openimages_vrd_mini_train",)
        assert (("reldn_openimages_vrd_train",) if mini else ()) == datasets.STATISTICS


def test_each_benchmark_reports_its_numbers() -> None:
    def reported(name: str) -> tuple[set[str], tuple[int, ...], tuple[str, ...]]:
        test = load(name).MODEL.ROI_RELATION_HEAD.TEST
        assert test.TASK == "sgdet" and test.CONFUSION_SUBSET
        return set(test.PROTOCOLS), tuple(test.PREDICATES_PER_PAIR), tuple(test.EXCLUDED_PREDICATES)

    for name in STAGE_TWO:
        protocols, per_pair, left_out = reported(name)
        assert "confusion" in protocols
        if name.startswith("openimages"):
            assert protocols >= {"reldn_openimages", "openimages"} and left_out == ("under", "hits")
        elif name.startswith("vg"):
            assert protocols >= {"motifs", "reldn"} and left_out == ()
        else:
            assert protocols >= {"reldn", "vrd2016"} and {1, 10, 70} <= set(per_pair)
