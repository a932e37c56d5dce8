"""`--recipe small` at a size that tests can afford: two steps of each stage on three pictures."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from reldn_d2.data import RegisteredData, register_data_file
from reldn_d2.engine import RelationPredictor, load_config
from reldn_d2.recipes import SmallResult, train_small
from tests.builders.narrow_resnet import NARROW_RESNET
from tests.builders.own_data import small_party, write_data_file

TINY = (
    *(word for pair in NARROW_RESNET.items() for word in pair),
    *("MODEL.FPN.OUT_CHANNELS", "16", "MODEL.ROI_BOX_HEAD.FC_DIM", "32", "SEED", "1"),
    *("MODEL.RPN.POST_NMS_TOPK_TEST", "30", "TEST.DETECTIONS_PER_IMAGE", "12"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.BASE_LR", "0.001", "SOLVER.WARMUP_ITERS", "0"),
    *("SOLVER.STEPS", "()"),
)


@pytest.fixture
def party(tmp_path: Path) -> RegisteredData:
    return register_data_file(small_party(tmp_path / "party", things=3, predicates=2))


def run(data: RegisteredData, output: Path, *stages: str, length: int = 2, **options: Any) -> SmallResult:
    chosen = {"stages": stages} if stages else {}
    opts = (*TINY, "SOLVER.MAX_ITER", str(length))
    return train_small(
        data, **{"output": output, "weights": "scratch", "device": "cpu", "opts": opts} | chosen | options
    )


def iteration(file: Path) -> int:
    return int(torch.load(file, weights_only=True)["iteration"])


def test_one_call_leaves_one_folder_to_predict_with(party: RegisteredData, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = run(party, output)
    assert result.folder == output and result.start.startswith("random weights")
    assert {"bbox", "sgdet/motifs", "prdcls/motifs"} <= result.results.keys()
    assert [file.name for file in result.drawings] == [f"{i:02d}_test_{i}.png" for i in (1, 2, 3)]
    assert all(file.parent == output / "drawings" and file.is_file() for file in result.drawings)
    for name in ("detector/model_final.pth", "detector/config.yaml", "metrics.json", "last_checkpoint"):
        assert (output / name).is_file()
    for task in ("sgdet", "prdcls"):
        assert (output / "inference" / "party_test" / task / "relation_results.csv").is_file()
    screen = (output / "log.txt").read_text()
    last = screen[screen.rindex("Recipe small finished") :]
    assert "prdcls/motifs" in last and str(output / "inference") in last
    assert "model       RelDN" not in (output / "detector" / "log.txt").read_text()
    assert "model       RelDN" in (output / "log.txt").read_text()

    cfg = load_config(str(output / "config.yaml"), ["MODEL.WEIGHTS", str(output / "model_final.pth")])
    assert cfg.DATASETS.TRAIN == ("party_train",) and cfg.INPUT.MIN_SIZE_TEST == 40
    predictor = RelationPredictor(cfg)
    assert predictor.thing_classes == [*party.thing_classes]
    assert predictor.predicate_classes == [*party.predicate_classes]
    assert "relations" in predictor(np.zeros((40, 60, 3), dtype=np.uint8))


def test_stages_run_alone_are_resumed_and_extended(party: RegisteredData, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(ValueError, match=r"detector has no model_final.pth: run the stage 'detector' to its"):
        run(party, output, "relations")
    assert run(party, output, "detector").results.keys() == {"bbox"}
    assert not (output / "model_final.pth").exists()
    for stage in ("evaluate", "draw"):
        with pytest.raises(ValueError, match=r"out has no config.yaml: run the stage 'relations' to its end"):
            run(party, output, stage)
    assert "sgdet/motifs" in run(party, output, "relations").results
    found = run(party, output, "evaluate").results
    assert {"sgdet/motifs", "prdcls/motifs"} <= found.keys()
    assert len(run(party, output, "draw").drawings) == 3

    with pytest.raises(ValueError, match=r"has checkpoints of an earlier training .*--resume"):
        run(party, output, "detector")
    before = (output / "detector" / "model_final.pth").read_bytes()
    run(party, output, "relations", length=3, resume=True)
    assert iteration(output / "model_final.pth") == 2, "counted from 0"
    assert (output / "detector" / "model_final.pth").read_bytes() == before
    run(party, output, "detector", length=3, resume=True)
    assert iteration(output / "detector" / "model_final.pth") == 2


def test_a_detector_of_these_classes_is_not_trained_again(party: RegisteredData, tmp_path: Path) -> None:
    run(party, tmp_path / "first", "detector")
    output = tmp_path / "second"
    weights = str(tmp_path / "first" / "detector" / "model_final.pth")
    result = run(party, output, "detector", "relations", weights=weights)
    assert "taken as it is" in result.start and not (output / "detector").exists()
    cfg = load_config(str(output / "config.yaml"))
    assert weights == cfg.MODEL.WEIGHTS
    own, first = (
        torch.load(x, weights_only=True)["model"] for x in (output / "model_final.pth", cfg.MODEL.WEIGHTS)
    )
    assert all(torch.equal(own[name], value) for name, value in first.items()), "it is frozen"


def test_a_detector_of_other_classes_is_fine_tuned(party: RegisteredData, tmp_path: Path) -> None:
    run(party, tmp_path / "first", "detector")
    other = small_party(tmp_path / "other", things=4, predicates=1)
    data = register_data_file(other.rename(other.with_name("garden.yaml")))
    output = tmp_path / "second"
    weights = str(tmp_path / "first" / "detector" / "model_final.pth")
    result = run(data, output, "detector", weights=weights)
    assert "fine-tuned" in result.start
    cfg = load_config(str(output / "detector" / "config.yaml"))
    assert weights == cfg.MODEL.WEIGHTS
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 4 and cfg.DATASETS.TRAIN == ("garden_train",)
    assert "(person, cup, thing 2), 1 are new (thing 3)" in (output / "detector" / "log.txt").read_text()


def test_imagenet_weights_are_trained_on(party: RegisteredData, tmp_path: Path) -> None:
    torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), tmp_path / "lite0.pth")
    output = tmp_path / "out"
    run(party, output, "detector", "relations", weights=str(tmp_path / "lite0.pth"), length=1)
    detector, relations = (load_config(str(output / x / "config.yaml")) for x in ("detector", ""))
    assert Path(detector.MODEL.WEIGHTS) == output / "efficientnet_lite0.pth"
    assert detector.MODEL.ANCHOR_GENERATOR.SIZES == [[4.0], [8.0], [16.0], [32.0]]
    assert relations.MODEL.BACKBONE.NAME == "build_reldn_timm_fpn_backbone"
    assert relations.MODEL.ROI_RELATION_HEAD.VISUAL.DROPOUT == 0.8, "the settings for few photos"


def test_data_without_a_test_split_are_only_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_party(tmp_path)
    only_train = {"annotations": "train.json", "images": "images"}
    data = register_data_file(write_data_file(tmp_path, "photos", train=only_train))
    result = run(data, tmp_path / "out", "detector", "evaluate", "draw")
    assert result.results == {} and result.drawings == []
    assert "photos.yaml has no split test or val: nothing is evaluated or drawn" in capsys.readouterr().out


def test_what_the_recipe_can_not_do_is_said_first(party: RegisteredData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no stage 'relation': did you mean relations"):
        run(party, tmp_path / "out", "relation")
    only_test = {"annotations": "test.json", "images": "images"}
    data = register_data_file(write_data_file(tmp_path / "party", "photos", test=only_test))
    with pytest.raises(ValueError, match=r"photos.yaml has no split 'train', which the recipe trains on"):
        run(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not logging.getLogger("reldn_d2").handlers
