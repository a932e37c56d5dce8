"""A resumed run must be the run that wrote the checkpoint. If not, it stops and says what differs."""

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import default_argument_parser
from detectron2.structures import BoxMode

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.data import save_detections
from reldn_d2.engine import Trainer, evaluate, load_config, parts_of, setup, vocabulary_of
from reldn_d2.engine.relation_training import load_datasets
from reldn_d2.engine.run_identity import check_resumed, run_identity
from reldn_d2.structures.annotations import Annotations
from tests.builders.tiny_models import REPOSITORY, TinyConfig

DatasetDict = dict[str, Any]
MARGIN = "MODEL.ROI_RELATION_HEAD.LOSS.ENTITY_CLASS.MARGIN"


@pytest.fixture
def scenes() -> list[DatasetDict]:
    return copy.deepcopy(DatasetCatalog.get("reldn_scenes_tiny_train")[:3])


def identity_of(cfg: CfgNode, scenes: list[DatasetDict]) -> dict[str, str]:
    parts = parts_of(cfg)
    return run_identity(parts.settings(), parts.free_keys(), scenes)


def differences(saved: CfgNode, now: CfgNode, scenes: list[DatasetDict]) -> str:
    """The message of a run of config `now` about a checkpoint of config `saved`; empty if there is none."""
    return said(identity_of(saved, scenes), identity_of(now, scenes))


def said(saved: dict[str, str], current: dict[str, str]) -> str:
    try:
        check_resumed(saved, current, "run/model_final.pth")
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("SOLVER.BASE_LR", "0.002", "SOLVER.BASE_LR was 0.001, now 0.002"),
        (MARGIN, "0.4", f"{MARGIN} was 0.2, now 0.4"),
        ("SOLVER.STEPS", "(1,)", "SOLVER.STEPS was [], now [1]"),
        ("DATASETS.STATISTICS", "('a',)", 'DATASETS.STATISTICS was [], now ["a"]'),
        # The detections that stage 2 trains on depend on these keys.
        ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.5", "SCORE_THRESH_TEST was 0.05, now 0.5"),
        ("MODEL.RPN.POST_NMS_TOPK_TEST", "40", "POST_NMS_TOPK_TEST was 30, now 40"),
        ("TEST.DETECTIONS_PER_IMAGE", "50", "TEST.DETECTIONS_PER_IMAGE was 12, now 50"),
        # It changes the normalisation of the model.
        ("TEST.PRECISE_BN.ENABLED", "True", "TEST.PRECISE_BN.ENABLED was false, now true"),
    ],
)
def test_what_training_depends_on_may_not_differ(
    key: str, value: str, expected: str, tiny_config: TinyConfig, scenes: list[DatasetDict]
) -> None:
    message = differences(tiny_config(), tiny_config(key, value), scenes)
    assert expected in message
    assert message.startswith("run/model_final.pth") and message.count(", now ") == 1
    assert "set it back" in message and "OUTPUT_DIR" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("VERSION", "3"),
        ("OUTPUT_DIR", "elsewhere"),
        ("VIS_PERIOD", "9"),
        ("CUDNN_BENCHMARK", "True"),
        ("MODEL.DEVICE", "cuda"),
        ("MODEL.WEIGHTS", "gone.pth"),
        ("MODEL.ROI_RELATION_HEAD.TEST.TASK", "prdcls"),
        ("DATALOADER.NUM_WORKERS", "9"),
        ("DATASETS.TEST", "('other',)"),
        ("DATASETS.DETECTION_FILES_TEST", "('other.npz',)"),
        ("DATASETS.PROPOSAL_FILES_TEST", "('other.pkl',)"),
        ("DATASETS.DETECTION_FILES_TRAIN", "('moved.npz',)"),
        ("INPUT.MIN_SIZE_TEST", "64"),
        ("SOLVER.CHECKPOINT_PERIOD", "3"),
        ("SEED", "7"),
        ("TEST.EVAL_PERIOD", "5"),
        ("TEST.BEST_CHECKPOINT", "True"),
    ],
)
def test_what_training_does_not_depend_on_may_differ(
    key: str, value: str, tiny_config: TinyConfig, scenes: list[DatasetDict]
) -> None:
    assert differences(tiny_config(), tiny_config(key, value), scenes) == ""


def test_precise_batch_norm_makes_the_evaluation_period_count(
    tiny_config: TinyConfig, scenes: list[DatasetDict]
) -> None:
    precise = ("TEST.PRECISE_BN.ENABLED", "True")
    message = differences(tiny_config(*precise), tiny_config(*precise, "TEST.EVAL_PERIOD", "5"), scenes)
    assert "TEST.EVAL_PERIOD was 0, now 5" in message


def test_numbers_set_in_python_may_be_numpys(tiny_config: TinyConfig, scenes: list[DatasetDict]) -> None:
    cfg = tiny_config()
    cfg.SOLVER.STEPS = tuple(np.array([1]))
    assert differences(cfg, cfg.clone(), scenes) == ""
    assert "SOLVER.STEPS was []" in differences(tiny_config(), cfg, scenes)


def test_differences_are_listed_up_to_a_number() -> None:
    saved = {f"KEY_{i}": "1" for i in range(12)}
    message = said(saved, dict.fromkeys(saved, "2"))
    assert all(f"KEY_{i} was 1, now 2" in message for i in range(10))
    assert "KEY_10" not in message and "and 2 more" in message and "set them back" in message
    assert "more" not in said(saved, saved | {"KEY_0": "2", "KEY_1": "2"})


def test_keys_of_one_release_only_are_not_compared() -> None:
    assert said({"OLD": "1", "BOTH": "1"}, {"NEW": "2", "BOTH": "1"}) == ""


def test_parts_that_moved_between_releases_are_not_compared() -> None:
    """A run of a Python config names its parts by where their classes were."""
    now = {
        "dataloader.train.mapper._target_": '"reldn_d2.data.mapper.RelationDatasetMapper"',
        "model.relation_head.sample_pairs._target_": '"reldn_d2.modeling.relation_head.sampling.PairSampler"',
        "optimizer._target_": '"torch.optim.sgd.SGD"',
    }
    old = {
        "dataloader.train.mapper._target_": '"reldn_d2.data.dataset_mapper.RelationDatasetMapper"',
        "model.relation_head.sample_pairs._target_": '"reldn_d2.modeling.relation_head.options.with_options"',
        "optimizer._target_": '"torch.optim.sgd.SGD"',
    }
    assert said(old, now) == ""
    assert "optimizer._target_ was" in said({**old, "optimizer._target_": '"torch.optim.adamw.AdamW"'}, now)
    exists = '"reldn_d2.modeling.relation_head.head.RelDNHead"'
    assert "mapper._target_ was" in said({**old, "dataloader.train.mapper._target_": exists}, now)


NOTHING = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "classes": np.zeros(0)}


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("annotation", {"bbox": [1.0, 2.0, 3.0, 4.0]}),
        ("annotation", {"bbox_mode": BoxMode.XYWH_ABS}),
        ("annotation", {"category_id": 99}),
        ("annotation", {"iscrowd": 1}),
        ("image", {"relations": []}),
        ("image", {"detections": NOTHING}),
        ("image", {"image_id": 99}),
        ("image", {"height": 99}),
        ("image", {"width": 99}),
        ("image", {"file_name": "other.png"}),
        ("relation", {0: 1}),
        ("relation", {1: 1}),
        ("relation", {2: 99}),
    ],
)
def test_changed_annotations_are_noticed(
    part: str, change: dict[Any, Any], tiny_config: TinyConfig, scenes: list[DatasetDict]
) -> None:
    image = scenes[-1]
    image["relations"] = [[0, 2, 3], [2, 0, 4]]
    saved = identity_of(tiny_config(), scenes)
    target = {"image": image, "annotation": image["annotations"][1], "relation": image["relations"][0]}[part]
    for key, value in change.items():
        target[key] = value
    message = said(saved, identity_of(tiny_config(), scenes))
    assert "training data (sha256 of annotations and precomputed detections) was " in message
    assert message.count(", now ") == 1


def test_another_data_set_is_noticed(tiny_config: TinyConfig, scenes: list[DatasetDict]) -> None:
    saved = identity_of(tiny_config(), scenes)
    other = tiny_config("DATASETS.TRAIN", "('reldn_scenes_tiny_test',)")
    message = said(saved, identity_of(other, scenes[:2]))
    assert "number of training images was 3, now 2" in message
    assert 'DATASETS.TRAIN was ["reldn_scenes_tiny_train"], now ["reldn_scenes_tiny_test"]' in message
    assert said(saved, identity_of(tiny_config(), scenes[::-1])), "the sampler draws by position"


def test_a_folder_may_move(tiny_config: TinyConfig, scenes: list[DatasetDict]) -> None:
    saved = identity_of(tiny_config(), scenes)
    for image in scenes:
        image["file_name"] = f"/elsewhere/{Path(image['file_name']).name}"
    assert said(saved, identity_of(tiny_config(), scenes)) == ""


def test_annotations_kept_as_arrays_are_the_same_data(
    tiny_config: TinyConfig, scenes: list[DatasetDict]
) -> None:
    """A loader may change the form of its annotations: a run from before goes on."""
    for i, image in enumerate(scenes):
        listed = list(image["annotations"])
        boxes = [[round(x) for x in a["bbox"]] for a in listed]
        crowd = [i == 1] * len(listed)
        image["annotations"] = [
            {"bbox": b, "bbox_mode": BoxMode.XYXY_ABS, "category_id": a["category_id"], "iscrowd": int(c)}
            for a, b, c in zip(listed, boxes, crowd, strict=True)
        ]
    saved = identity_of(tiny_config(), scenes)
    for i, image in enumerate(scenes):
        boxes, classes = ([a[key] for a in image["annotations"]] for key in ("bbox", "category_id"))
        image["annotations"] = Annotations(boxes, classes, [True] * len(boxes) if i == 1 else None)
    assert said(saved, identity_of(tiny_config(), scenes)) == ""
    scenes[0]["annotations"].boxes[0, 0] += 1
    assert "training data" in said(saved, identity_of(tiny_config(), scenes))


def test_a_detector_needs_only_boxes(tiny_config: TinyConfig, scenes: list[DatasetDict]) -> None:
    for key in ("relations", "image_id", "height", "width"):
        del scenes[0][key]
    del scenes[0]["annotations"][0]["iscrowd"]
    assert identity_of(tiny_config(file="detector.yaml"), scenes)


def test_changed_detections_are_noticed(tiny_config: TinyConfig, tmp_path: Path) -> None:
    names = ("reldn_scenes_tiny_train",)
    cfg, classes = tiny_config(), vocabulary_of(*names).thing_classes
    ids = [image["image_id"] for image in DatasetCatalog.get(*names)]
    box = np.array([[1.0, 2.0, 30.0, 40.0]])

    def identity(file: str, last: tuple[Any, Any, Any]) -> dict[str, str]:
        found = {image_id: (box, [0.5], [1]) for image_id in ids[:-1]}
        save_detections(tmp_path / file, {**found, ids[-1]: last}, classes)
        return identity_of(cfg, load_datasets(cfg, names, [str(tmp_path / file)]))

    saved = identity("saved.npz", (box, [0.5], [1]))
    assert said(saved, identity("copy.npz", (box, [0.5], [1]))) == ""
    for last in ((box + 1, [0.5], [1]), (box, [0.6], [1]), (box, [0.5], [2]), ([], [], [])):
        assert "training data" in said(saved, identity("changed.npz", last))
    assert "training data" in said(saved, identity_of(cfg, load_datasets(cfg, names, [])))


def save_start(cfg: CfgNode) -> Path:
    """A checkpoint as training writes it, without the time that training takes."""
    trainer = Trainer(cfg)  # its checkpointer has only a weak reference to it
    trainer.checkpointer.save("start", iteration=0)
    return Path(cfg.OUTPUT_DIR) / "start.pth"


def test_the_same_run_goes_on(tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture) -> None:
    """The config.yaml that the run wrote has lists instead of tuples, and can be resumed, too."""
    checkpoint = save_start(tiny_config())
    folder = checkpoint.parent
    run = torch.load(checkpoint, weights_only=True)["run"]
    assert run["SOLVER.BASE_LR"] == "0.001" and run["number of training images"] == "16"
    (folder / "config.yaml").write_text(tiny_config("DATASETS.TEST", "()").dump())
    resumed = Trainer(load_config(str(folder / "config.yaml")))
    with caplog.at_level(logging.WARNING, logger="reldn_d2"):
        resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 1
    assert not [record for record in caplog.records if record.name.startswith("reldn_d2")]
    resumed.train()
    saved = torch.load(folder / "model_final.pth", weights_only=True)
    assert saved["iteration"] == 1 and saved["run"] == run
    assert set(saved) == {"model", "trainer", "vocabulary", "run", "iteration", "sha256"}


def test_another_run_stops_before_it_loads(tiny_config: TinyConfig) -> None:
    """The key is named even if the weights do not fit, because it says more than the shape of a layer."""
    checkpoint = save_start(tiny_config())
    other = Trainer(tiny_config("MODEL.ROI_BOX_HEAD.FC_DIM", "16", MARGIN, "0.4"))
    before = copy.deepcopy(other.model.state_dict())
    with pytest.raises(ValueError, match=r"ENTITY_CLASS\.MARGIN was 0\.2, now 0\.4") as caught:
        other.resume_or_load(resume=True)
    assert str(checkpoint) in str(caught.value)
    assert "MODEL.ROI_BOX_HEAD.FC_DIM was 32, now 16" in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in other.model.state_dict().items())


def test_the_config_counts_as_scaled_to_the_processes(tiny_config: TinyConfig) -> None:
    cfg = tiny_config("SOLVER.REFERENCE_WORLD_SIZE", "2", "SOLVER.IMS_PER_BATCH", "4")
    run = torch.load(save_start(cfg), weights_only=True)["run"]
    assert run["SOLVER.IMS_PER_BATCH"] == "2" and run["SOLVER.REFERENCE_WORLD_SIZE"] == "1"


def test_a_checkpoint_of_an_earlier_release_goes_on(
    tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = save_start(tiny_config())
    saved = torch.load(checkpoint, weights_only=True)
    del saved["run"], saved["sha256"]
    torch.save(saved, checkpoint)
    trainer = Trainer(tiny_config("SOLVER.BASE_LR", "0.002"))
    with caplog.at_level(logging.WARNING, logger="reldn_d2"):
        trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 1
    assert any(str(checkpoint) in message and "not compared" in message for message in caplog.messages)


def test_identities_are_compared_only_when_resuming(tiny_config: TinyConfig) -> None:
    """Another run may start from the weights, and an evaluation may have another config."""
    checkpoint = save_start(tiny_config())
    other = tiny_config("MODEL.WEIGHTS", str(checkpoint), "SOLVER.BASE_LR", "0.002")
    trainer = Trainer(other)
    trainer.resume_or_load(resume=False)
    assert trainer.start_iter == 0
    other.DATASETS.TEST = ("reldn_scenes_tiny_test",)
    other.MODEL.ROI_RELATION_HEAD.TEST.TASK = "prdcls"
    assert "prdcls/motifs" in evaluate(other, resume=True)
    model = Trainer.build_model(other)
    assert "run" not in RelationCheckpointer(model).load(str(checkpoint), checkpointables=[])
    RelationCheckpointer(model, str(checkpoint.parent)).save("bare")
    assert set(torch.load(checkpoint.parent / "bare.pth", weights_only=True)) == {"model", "sha256"}


def test_the_identity_of_a_detector_is_compared_too(tiny_config: TinyConfig) -> None:
    first = Trainer(tiny_config(file="detector.yaml"))
    first.resume_or_load(resume=True)  # there is nothing to resume from
    assert first.start_iter == 0
    first.checkpointer.save("start", iteration=0)
    with pytest.raises(ValueError, match=r"SOLVER\.BASE_LR was 0\.001, now 0\.002"):
        Trainer(tiny_config("SOLVER.BASE_LR", "0.002", file="detector.yaml")).resume_or_load(resume=True)


def test_a_config_is_the_same_after_it_went_through_a_file(tmp_path: Path, scenes: list[DatasetDict]) -> None:
    for file in sorted((REPOSITORY / "configs").rglob("*.yaml")):
        cfg = load_config(str(file))
        (tmp_path / "config.yaml").write_text(cfg.dump())
        assert differences(cfg, load_config(str(tmp_path / "config.yaml")), scenes) == "", file


@pytest.mark.parametrize("flag", ["--resume", "--eval-only"])
def test_the_config_file_of_a_run_stays_as_it_was_trained(flag: str, tmp_path: Path) -> None:
    def start(rate: str, *flags: str) -> str:
        options = ["OUTPUT_DIR", str(tmp_path), "SOLVER.BASE_LR", rate]
        config = str(REPOSITORY / "configs" / "scenes" / "reldn.yaml")
        setup(default_argument_parser().parse_args(["--config-file", config, *flags, *options]))
        return (tmp_path / "config.yaml").read_text()

    start("0.5", flag)
    first = start("0.125", flag)  # the earlier call trained nothing
    assert "BASE_LR: 0.125" in first
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    assert start("0.25", flag) == first
    assert "BASE_LR: 0.25" in start("0.25")
