"""`reldn train`, and the commands that take the folder of a training as it is."""

import csv
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from reldn_d2.engine import Trainer, load_config
from reldn_d2.evaluation.io.results import RESULTS_FILE
from tests.builders.commands import Captured, line_of_refusal, run_reldn
from tests.builders.tiny_models import REPOSITORY, TINY

LAZY = REPOSITORY / "tests" / "builders" / "tiny_lazy.py"
# Registers data sets and a backbone.
OWN_PARTS = """
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.fpn import build_resnet_fpn_backbone

for split in ("train", "test"):
    name, like = f"own_{split}", f"reldn_scenes_tiny_{split}"
    DatasetCatalog.register(name, lambda like=like: DatasetCatalog.get(like))
    scenes = MetadataCatalog.get(like)
    names = {key: scenes.get(key) for key in ("thing_classes", "predicate_classes")}
    MetadataCatalog.get(name).set(**names)


@BACKBONE_REGISTRY.register()
def build_own_backbone(cfg, input_shape):
    return build_resnet_fpn_backbone(cfg, input_shape)
"""
OWN = ["DATASETS.TRAIN", "('own_train',)", "DATASETS.TEST", "('own_test',)"]


def train(config: object, output: Path, *words: object) -> None:
    assert run_reldn("train", "--config-file", config, "--output", output, *words) == 0


def saved(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "model_final.pth", weights_only=True)["model"]
    return state


def protocols_in(folder: Path, data_set: str, task: str) -> set[str]:
    with (folder / "inference" / data_set / task / RESULTS_FILE).open(newline="") as file:
        return {row["protocol"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a trained detector."""
    folder = tmp_path_factory.mktemp("trainings") / "detector"
    train("scenes/detector.yaml", folder, "--seed", 3, *TINY, "MODEL.WEIGHTS", "")
    return folder


@pytest.fixture(scope="module")
def reldn_folder(detector: Path) -> Path:
    """Folder of RelDN, trained on the detector and then moved. Its detections have low scores."""
    folder = detector.with_name("reldn")
    words = ["--weights", detector, "--seed", 4, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
    train("scenes/reldn.yaml", folder, *words, *TINY)
    return folder.rename(folder.with_name("moved"))


def test_a_detector_is_trained(detector: Path) -> None:
    cfg = load_config(str(detector / "config.yaml"))
    assert cfg.SEED == 3 and str(detector) == cfg.OUTPUT_DIR
    assert "roi_heads.box_predictor.cls_score.weight" in saved(detector)


def test_reldn_is_trained_on_the_detector(detector: Path, reldn_folder: Path) -> None:
    cfg = load_config(str(reldn_folder / "config.yaml"))
    assert cfg.SEED == 4 and str(detector / "model_final.pth") == cfg.MODEL.WEIGHTS
    before, after = saved(detector), saved(reldn_folder)
    assert before.keys() < after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert protocols_in(reldn_folder, "reldn_scenes_tiny_test", cfg.MODEL.ROI_RELATION_HEAD.TEST.TASK)


def test_the_folder_of_a_training_can_be_evaluated(reldn_folder: Path) -> None:
    config = (reldn_folder / "config.yaml").read_bytes()
    words = ["--weights", reldn_folder, "--task", "prdcls", "--protocol", "motifs"]
    assert run_reldn("evaluate", *words, "--dataset", "reldn_scenes_tiny_test") == 0
    assert protocols_in(reldn_folder, "reldn_scenes_tiny_test", "prdcls") == {"motifs"}
    assert run_reldn("evaluate", *words, "--dataset", "reldn_scenes_tiny_train", "--confusion-subset") == 0
    assert protocols_in(reldn_folder, "reldn_scenes_tiny_train", "prdcls") == {"motifs", "motifs_confusable"}
    # The config says how the weights were trained, not how they were evaluated.
    assert (reldn_folder / "config.yaml").read_bytes() == config


def test_the_results_of_an_evaluation_may_go_elsewhere(
    reldn_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    words = ["--weights", reldn_folder / "model_final.pth", "--task", "sgcls", "--output", tmp_path / "new"]
    assert run_reldn("evaluate", *words, "MODEL.ROI_RELATION_HEAD.TEST.PROTOCOLS", "('reldn',)") == 0
    assert protocols_in(tmp_path / "new", "reldn_scenes_tiny_test", "sgcls") == {"reldn"}
    key = "MODEL.ROI_RELATION_HEAD.TEST.TASK"
    message = line_of_refusal(capsys, "evaluate", *words, key, "sgdet")
    assert message == f"--task and the override {key} set the same: leave one out"


def test_the_folder_of_a_training_predicts(reldn_folder: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 80, 3), 128, np.uint8))
    words = ["--weights", reldn_folder, "--output", tmp_path / "graphs", "--score-threshold", "0"]
    assert run_reldn("predict", "--input", tmp_path / "a.png", *words) == 0
    assert {path.name for path in (tmp_path / "graphs").iterdir()} == {"a.json", "a.png", "record"}


def test_the_folder_of_a_detector_caches_its_detections(detector: Path, capsys: Captured) -> None:
    words = ["cache-detections", "--weights", detector, "--dataset", "reldn_scenes_tiny_test"]
    assert run_reldn(*words) == 0
    assert [path.name for path in (detector / "detections").iterdir()] == ["reldn_scenes_tiny_test.npz"]
    capsys.readouterr()
    assert run_reldn(*words) == 0
    assert "is kept" in capsys.readouterr().out


def test_a_config_in_python_is_trained(detector: Path, tmp_path: Path) -> None:
    words = ["--weights", detector, "--seed", 5, "--device", "cpu", "dataloader.train.total_batch_size=1"]
    train(LAZY, tmp_path / "run", *words)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["train"]["seed"] == 5
    assert config["train"]["init_checkpoint"] == str(detector / "model_final.pth")
    assert saved(detector).keys() < saved(tmp_path / "run").keys()
    # The saved config is enough, and the one in Python may be named.
    cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 80, 3), 128, np.uint8))
    words = ["predict", "--input", tmp_path / "a.png", "--weights", tmp_path / "run"]
    words += ["--output", tmp_path / "graphs"]
    assert run_reldn(*words) == run_reldn(*words, "--config-file", LAZY) == 0


def test_a_module_of_the_user_registers_data_sets_and_a_backbone(tmp_path: Path) -> None:
    module, folder = tmp_path / "own_parts.py", tmp_path / "run"
    module.write_text(OWN_PARTS.replace("build_own_backbone", "build_own_backbone_1"))
    words = ["--import", module, *TINY, *OWN, "MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", "1"]
    train("scenes/detector.yaml", folder, *words, "MODEL.BACKBONE.NAME", "build_own_backbone_1")
    assert "backbone.fpn_output2.weight" in saved(folder)
    assert load_config(str(folder / "config.yaml")).DATASETS.TRAIN == ("own_train",)


@pytest.mark.slow
def test_a_module_of_the_user_is_imported_in_every_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    module, folder = tmp_path / "own_parts.py", tmp_path / "run"
    module.write_text(OWN_PARTS.replace("build_own_backbone", "build_own_backbone_2"))
    words = ["--import", module, "--num-gpus", 2, "--dist-url", (tmp_path / "meet").as_uri(), *TINY, *OWN]
    words += ["MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", "1", "MODEL.BACKBONE.NAME", "build_own_backbone_2"]
    train("scenes/detector.yaml", folder, *words)
    assert "backbone.fpn_output2.weight" in saved(folder)
    assert "Warning" not in capfd.readouterr().err  # what the imports of the processes warn of is harmless


def test_a_run_goes_on_where_it_stopped(detector: Path, tmp_path: Path) -> None:
    words = ["--weights", detector, *TINY, "DATASETS.TEST", "()", "SOLVER.MAX_ITER", "2"]
    train("scenes/reldn.yaml", tmp_path / "run", "--seed", 1, *words)
    words[-1] = "3"
    train("scenes/reldn.yaml", tmp_path / "run", "--seed", 1, "--resume", *words)
    state = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)
    assert state["iteration"] == 2  # counted from 0


def test_what_cannot_be_trained_is_one_line(tmp_path: Path, capsys: Captured) -> None:
    words = ["train", "--config-file", "scenes/reldn.yaml", "--output", tmp_path / "run"]
    message = line_of_refusal(capsys, *words, "--weights", tmp_path / "none.pth")
    assert message.startswith(f"--weights {tmp_path / 'none.pth'}: there is no such file or folder")
    message = line_of_refusal(capsys, *words, "SOLVER.MAXITER", "1")
    assert message.startswith("'SOLVER.MAXITER' is no key of the config: did you mean SOLVER.MAX_ITER")
    message = line_of_refusal(capsys, "train", "--config-file", "scenes/redln.yaml")
    assert "did you mean scenes/reldn.yaml" in message
    message = line_of_refusal(capsys, *words, "--import", tmp_path / "none.py")
    assert "none.py" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("saved_before", [False, True])
def test_an_interrupted_training_says_what_is_done(
    saved_before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    step = Trainer.run_step

    def interrupted_at_two(trainer: Trainer) -> None:
        if trainer.iter == 2:
            raise KeyboardInterrupt
        step(trainer)

    monkeypatch.setattr(Trainer, "run_step", interrupted_at_two)
    period = "1" if saved_before else "100"
    words = [*TINY, "MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", "4", "SOLVER.CHECKPOINT_PERIOD", period]
    output = tmp_path / "run"
    assert run_reldn("train", "--config-file", "scenes/detector.yaml", "--output", output, *words) == 130
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "interrupted" in x]
    assert "2 of 4 iterations are done" in line
    assert ("model_0000001.pth, and --resume" in line) == saved_before
    assert ("no checkpoint was saved yet" in line) != saved_before


def run_train_net(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit status of `train_net.py` with these words, in this process."""
    monkeypatch.setattr(sys, "argv", ["train_net.py", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / "train_net.py"), run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_train_net_reports_expected_errors_as_reldn_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    words = ["--config-file", "scenes/detector.yaml", "OUTPUT_DIR", tmp_path, "MODEL.BACKBONE.NAME", "mine"]
    assert run_train_net(monkeypatch, *words) == 2
    message = capsys.readouterr().err
    assert message == f"error: {line_of_refusal(capsys, 'train', *words)}\n"
    assert run_train_net(monkeypatch, "--verbose", *words) == 2
    assert "Traceback" in (shown := capsys.readouterr().err) and shown.endswith(message)


def test_train_net_keeps_the_traceback_of_unexpected_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_with(error: BaseException) -> None:
        def setup(_args: object) -> None:
            raise error

        monkeypatch.setattr("reldn_d2.engine.setup", setup)

    fails_with(KeyError("ours"))
    with pytest.raises(KeyError, match="ours"):
        run_train_net(monkeypatch)
    fails_with(KeyboardInterrupt())
    assert run_train_net(monkeypatch) == 130


@pytest.mark.slow
def test_train_net_reports_the_error_of_two_processes_once(tmp_path: Path) -> None:
    words = ["--config-file", "scenes/detector.yaml", "--num-gpus", "2", "OUTPUT_DIR", str(tmp_path / "run")]
    found = subprocess.run(
        [sys.executable, str(REPOSITORY / "train_net.py"), *words, "DATASETS.TRAIN", "('nowhere',)"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert found.returncode == 2 and "Traceback" not in found.stderr
    errors = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "data set 'nowhere' is not registered" in errors[0]
