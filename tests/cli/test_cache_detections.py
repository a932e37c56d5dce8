"""`reldn cache-detections`: which files are kept, and which are made again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from reldn_d2.data import detections_made_by, detector_weights_of
from reldn_d2.engine import detector_identity
from reldn_d2.engine.run_identity import detector_digest
from tests.builders.commands import run_reldn
from tests.builders.tiny_models import REPOSITORY, TinyConfig, calm_down


def cache(config: Path, output: Path, *words: str) -> None:
    words = ("--config-file", str(config), "--output", str(output), "DATASETS.TRAIN", "()", *words)
    assert run_reldn("cache-detections", *words) == 0


def make_detector(tiny_config: TinyConfig, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    model: torch.nn.Module = build_model(tiny_config(file="detector.yaml"))
    calm_down(model)
    return model


def test_boxes_of_another_detector_are_made_again(
    tiny_config: TinyConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """This holds even if the file of its weights is older."""
    cfg = tiny_config("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", file="detector.yaml")
    config = tmp_path / "detector.yaml"
    config.write_text(cfg.dump())
    weights = {}
    for seed in (1, 2):
        weights[seed] = str(tmp_path / f"detector{seed}.pth")
        torch.save({"model": make_detector(tiny_config, seed).state_dict()}, weights[seed])
    found = tmp_path / "detections" / "reldn_scenes_tiny_test.npz"

    cache(config, found.parent, "MODEL.WEIGHTS", weights[2])
    first = found.read_bytes()
    assert detections_made_by(found) == detector_identity(cfg, make_detector(tiny_config, 2))
    assert detector_weights_of(found) == detector_digest(make_detector(tiny_config, 2))
    cache(config, found.parent, "MODEL.WEIGHTS", weights[2])
    assert "kept" in capsys.readouterr().out and found.read_bytes() == first
    cache(config, found.parent, "MODEL.WEIGHTS", weights[1])
    assert "kept" not in capsys.readouterr().out and found.read_bytes() != first
    cache(config, found.parent, "MODEL.WEIGHTS", weights[1], "TEST.DETECTIONS_PER_IMAGE", "3")
    assert "kept" not in capsys.readouterr().out
    with np.load(found) as archive:
        assert np.diff(archive["offsets"]).max() <= 3


def test_two_processes_write_the_boxes_of_one(
    tiny_config: TinyConfig,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process, so that sums are equal to the bit
    cfg = tiny_config("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", file="detector.yaml")
    config, weights = tmp_path / "detector.yaml", tmp_path / "detector.pth"
    config.write_text(cfg.dump())
    torch.save({"model": make_detector(tiny_config, 1).state_dict()}, weights)
    one, two = tmp_path / "one", tmp_path / "two"
    # Batches of one image are the same in both runs.
    words = ["MODEL.WEIGHTS", str(weights), "TEST.IMS_PER_BATCH", "1"]
    processes = ["--num-gpus", "2", "--dist-url"]
    cache(config, one, *words)
    cache(config, two, *processes, (tmp_path / "meet").as_uri(), *words)
    assert [file.name for file in two.iterdir()] == ["reldn_scenes_tiny_test.npz"]
    with np.load(one / "reldn_scenes_tiny_test.npz") as alone, np.load(next(two.iterdir())) as shared:
        assert alone.files == shared.files
        for name in alone.files:
            np.testing.assert_array_equal(alone[name], shared[name])
        assert len(alone["scores"]) > 0
    capfd.readouterr()
    cache(config, two, *processes, (tmp_path / "meet_again").as_uri(), *words)
    assert capfd.readouterr().out.count("is kept") == 1


def test_the_identity_is_of_weights_and_config_not_of_places(tiny_config: TinyConfig) -> None:
    cfg = tiny_config(file="detector.yaml")
    model = make_detector(tiny_config, 1)
    same = detector_identity(cfg, model)
    moved = tiny_config("MODEL.WEIGHTS", "elsewhere.pth", "OUTPUT_DIR", "elsewhere", file="detector.yaml")
    assert detector_identity(moved, model) == same
    assert detector_identity(cfg, make_detector(tiny_config, 2)) != same
    for options in (["INPUT.MIN_SIZE_TEST", "80"], ["MODEL.ROI_HEADS.NMS_THRESH_TEST", "0.4"]):
        assert detector_identity(tiny_config(*options, file="detector.yaml"), model) != same


PYTHON_DETECTOR = """
from detectron2.config import LazyCall as L, LazyConfig
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.evaluation import COCOEvaluator
from detectron2.modeling.meta_arch import GeneralizedRCNN
from reldn_d2.engine.datasets import load_registered

_cfg = LazyConfig.load(TINY_LAZY)
_names = ("backbone", "proposal_generator", "roi_heads", "pixel_mean", "pixel_std", "input_format")
model = L(GeneralizedRCNN)(**{name: _cfg.model[name] for name in _names})
model.roi_heads.box_predictor.test_score_thresh = 0.0
datasets, dataloader = _cfg.datasets, _cfg.dataloader
dataloader.pop("statistics")
dataloader.train.dataset = L(filter_images_with_only_crowd_annotations)(
    dataset_dicts=L(load_registered)(names="${datasets.train}")
)
dataloader.evaluator = L(COCOEvaluator)(
    dataset_name="${datasets.test}", use_fast_impl=False, allow_cached_coco=False
)
optimizer, lr_multiplier, train = _cfg.optimizer, _cfg.lr_multiplier, _cfg.train
"""


def test_a_config_in_python_caches_the_same_boxes(
    tiny_config: TinyConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = tmp_path / "detector.pth"
    torch.save({"model": make_detector(tiny_config, 1).state_dict()}, weights)
    cfg = tiny_config("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0", file="detector.yaml")
    (tmp_path / "detector.yaml").write_text(cfg.dump())
    python = tmp_path / "detector.py"
    lazy = REPOSITORY / "tests" / "builders" / "tiny_lazy.py"
    python.write_text(f"TINY_LAZY = {str(lazy)!r}\n{PYTHON_DETECTOR}")
    cache(tmp_path / "detector.yaml", tmp_path / "yaml", "MODEL.WEIGHTS", str(weights))
    command = ["cache-detections", "--config-file", str(python), "--output", str(tmp_path / "python")]
    for said in ("", "kept"):
        assert run_reldn(*command, f"train.init_checkpoint={weights}") == 0
        assert said in capsys.readouterr().out
    with (
        np.load(tmp_path / "yaml" / "reldn_scenes_tiny_test.npz") as one,
        np.load(tmp_path / "python" / "reldn_scenes_tiny_test.npz") as other,
    ):
        for name in ("boxes", "scores", "classes", "image_ids", "offsets"):
            np.testing.assert_array_equal(one[name], other[name])
        assert len(one["scores"]) > 0
    assert (tmp_path / "python" / "reldn_scenes_tiny_train.npz").is_file()
