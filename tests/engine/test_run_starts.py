"""What is checked and said before a run trains or evaluates."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from reldn_d2.engine import (
    RelationPredictor,
    Trainer,
    check_num_gpus,
    evaluate,
    load_config,
    parts_of,
    set_up_process,
    setup,
)
from reldn_d2.engine.first_screen import DataCounts, count_data
from tests.builders.tiny_models import TinyConfig
from tests.builders.tiny_runs import KINDS, arguments, train


def lines_of(text: str) -> dict[str, str]:
    """Name -> text of the lines in the blocks that a run shows; of equal names the first."""
    lines = [line.strip().partition("  ") for line in text.splitlines() if line.startswith("  ")]
    return {name: words.strip() for name, _, words in reversed(lines)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_says_what_it_trains(
    kind: str, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    trainer, _ = train(kind, output=output, weights=weights, seed=5)
    out = capsys.readouterr().out
    said = lines_of(out)
    images = DatasetCatalog.get("reldn_scenes_tiny_train")
    entities = sum(len(image["annotations"]) for image in images)
    related = sum(len(image["relations"]) for image in images)
    assert said["data"] == (
        f"reldn_scenes_tiny_train: {len(images)} images, {entities} entities, {related} relationships; "
        "6 classes, 7 predicates"
    )
    assert said["trained on"] == f"{related} relationships in {len(images)} images"
    assert said["tested on"] == "reldn_scenes_tiny_test"
    total = sum(x.numel() for x in trainer.model.parameters())
    trained = sum(x.numel() for x in trainer.model.parameters() if x.requires_grad)
    assert said["model"] == f"RelDN with FPN on ResNet; trains {trained:,} of {total:,} parameters"
    method = "the paper's" if kind == "yaml" else "the paper's pairs"
    assert said["method"] == method
    assert said["recipe"].startswith("3 iterations of 2 images (0.375 epochs); learning rate 0.001; ")
    assert said["start"] == weights and said["output"] == str(output)
    assert said["device"] == "cpu, 1 process" and said["seed"] == "5 (from the config)"
    assert said["config"].endswith("reldn.yaml" if kind == "yaml" else "tiny_lazy.py")
    log = (output / "log.txt").read_text()
    assert all(words in log for words in said.values())
    # The rest is in the log file only.
    assert "RelDN(" in log and "RelDN(" not in out
    assert "copypaste" in log and "copypaste" not in out
    assert "PyTorch" in log and "PyTorch" not in out
    assert len(out.splitlines()) < 60 < len(log.splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_says_what_it_evaluates(
    kind: str, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = evaluate(setup(arguments(kind, output=tmp_path / "run", weights=weights, eval_only=True)))
    out = capsys.readouterr().out
    said = lines_of(out)
    assert said["data"].startswith("reldn_scenes_tiny_test: 8 images, ") and said["data"].endswith(
        "7 predicates"
    )
    assert said["weights"] == weights and "recipe" not in said
    assert said["results"] == str(
        tmp_path / "run" / "inference" / "reldn_scenes_tiny_test" / "prdcls" / "relation_results.md"
    )
    headline = f"R@50 of prdcls/motifs: {results['prdcls/motifs']['R@50']:.2f} (on reldn_scenes_tiny_test)"
    assert f"\n  {headline}\n" in out
    assert headline in (tmp_path / "run" / "inference" / "summary.md").read_text()
    assert not (tmp_path / "run" / "summary.md").exists(), "that of a training"


def test_data_are_counted_before_and_after_the_filters() -> None:
    def image(relations: list[tuple[int, int, int]], *crowd: int) -> dict:
        boxes = [{"bbox": [0, 0, 9, 9], "bbox_mode": 0, "category_id": 0, "iscrowd": x} for x in crowd]
        return {"image_id": 1, "annotations": boxes, "relations": relations}

    images = [
        image([(0, 1, 2), (0, 1, 2), (1, 1, 0), (0, 1, 3)], 0, 0),  # a repeat, and one with itself
        image([(0, 0, 1)], 0),
        image([], 1, 1),
        image([]),
    ]
    assert count_data(images, with_relations=True) == DataCounts(4, 5, 5, 1, 2)
    assert count_data(images, with_relations=False) == DataCounts(4, 5, 0, 2, 0)
    assert count_data(np.array(images)[:0], with_relations=True) == DataCounts(0, 0, 0, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_used_folder_is_not_overwritten(kind: str, weights: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    train(kind, output=output, weights=weights)
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=r"model_final\.pth.*--resume.*delete") as caught:
        setup(arguments(kind, output=output, weights=weights, seed=3))
    assert str(output) in str(caught.value) and "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in output.rglob("*") if file.is_file()} == before
    # An evaluation and a resumed run are no new training.
    setup(arguments(kind, output=output, weights=weights, eval_only=True))
    setup(arguments(kind, output=output, weights=weights, resume=True))


def test_a_folder_with_other_weights_is_not_used(weights: str, tmp_path: Path) -> None:
    """The start of a training may lie in its folder."""
    assert Path(weights).parent == tmp_path
    setup(arguments("yaml", output=tmp_path, weights=weights))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [{}, {"eval_only": True}, {"resume": True}])
def test_a_missing_gpu_is_one_line_with_the_remedy(
    kind: str, flags: dict[str, bool], weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    output, key = tmp_path / "run", {"yaml": "MODEL.DEVICE", "python": "train.device"}[kind]
    remedy = f"add {key} cpu" if kind == "yaml" else f"add {key}=cpu"
    args = arguments(kind, output=output, weights=weights, device="cuda", **flags)
    with pytest.raises(ValueError, match=f"{key} is 'cuda', but PyTorch finds no GPU here: {remedy}"):
        setup(args)
    assert not output.exists()
    cfg = load_config(args.config_file, args.opts)
    for use in (Trainer, evaluate, RelationPredictor, lambda x: parts_of(x).model()):
        with pytest.raises(ValueError, match="finds no GPU here"):
            use(cfg)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("device", "gpus", "problem", "remedy"),
    [
        ("cuda:1", 1, "but the last GPU that PyTorch finds here is cuda:0", "cuda"),
        ("cuda:1", 0, "but PyTorch finds no GPU here", "cpu"),
        ("meta", 0, "but PyTorch can't use it here", "cpu"),
        ("xpu", 0, "but PyTorch can't use it here", "cpu"),
    ],
)
def test_a_device_that_is_not_here_is_one_line_with_the_remedy(
    kind: str, device: str, gpus: int, problem: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    args = arguments(kind, device=device)
    parts = parts_of(load_config(args.config_file, args.opts))
    with pytest.raises(ValueError, match=f" is '{device}', {problem}: add ") as caught:
        parts.check_device()
    words = " ".join(parts.override(parts.keys.device, remedy))
    assert str(caught.value).endswith(f": add {words} (or --device {remedy}, where it is an option)")


@pytest.mark.parametrize(("number", "gpus", "refused"), [(2, 1, True), (8, 0, False), (2, 2, False)])
def test_more_processes_than_gpus_are_refused(
    number: int, gpus: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ValueError, match=r"--num-gpus is 2, .*give 1 at most") if refused else nullcontext():
        check_num_gpus(number)


@pytest.mark.parametrize(
    ("processes", "given", "share"), [(1, None, 6), (2, None, 3), (8, None, 1), (2, "6", 6)]
)
def test_processes_of_a_machine_share_its_threads(
    processes: int, given: str | None, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    threads = [6]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(comm, "get_local_size", lambda: processes)
    set_up_process(parts_of(load_config("scenes/detector.yaml")))
    assert threads[-1] == share


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_that_does_not_exist_is_named(kind: str, weights: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is 'gpu': write cpu or cuda"):
        setup(arguments(kind, output=tmp_path / "run", weights=weights, device="gpu"))


def test_a_detector_says_what_it_trains(tiny_config: TinyConfig, caplog: pytest.LogCaptureFixture) -> None:
    cfg = tiny_config("SOLVER.MAX_ITER", "1", "SOLVER.WARMUP_ITERS", "5", file="detector.yaml")
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    with caplog.at_level("INFO", logger="reldn_d2"):
        trainer.train()
    started, *_, ended = [x for x in caplog.messages if x.startswith("Training")]
    said = lines_of(started)
    assert said["data"].endswith("entities; 6 classes") and said["trained on"] == "16 images"
    assert said["start"] == "random weights" and said["model"].startswith(
        "GeneralizedRCNN with FPN on ResNet"
    )
    assert said["recipe"].endswith(
        "WarmupMultiStepLR, warm-up of 1 iterations (SOLVER.WARMUP_ITERS 5 is cut)"
    )
    found = lines_of(ended)
    assert found["bbox"].startswith("AP ") and ", AP50 " in found["bbox"]
    assert found["predictions"].endswith("coco_instances_results.json")
    summary = json.loads((Path(cfg.OUTPUT_DIR) / "summary.json").read_text())
    assert summary["iterations"] == 1 and "AP50" in summary["results"]["bbox"]
