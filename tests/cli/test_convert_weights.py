"""`reldn convert` for weights, from the command line to a model that predicts."""

import hashlib
import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor, nn
from torchvision.models import VGG, Weights, WeightsEnum, vgg16, vgg16_bn
from torchvision.models.vgg import make_layers

from reldn_d2.checkpoint import RelationCheckpointer
from reldn_d2.checkpoint.importers import to_vgg16_detector
from reldn_d2.engine import RelationPredictor, authors_checkpoint, load_config, vocabulary_of
from tests.builders.authors_checkpoints import (
    CONFIGS,
    SCENES,
    Widths,
    detector_shapes,
    random_weights,
    reldn_shapes,
)
from tests.builders.commands import Captured, line_of_refusal, refusal, run_reldn

WIDTHS = Widths()
PIXELS = ["INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", "[102.9801, 115.9465, 122.7717]"]
PIXELS += ["MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]"]
NETWORKS = {
    "vg/reldn_x101_fpn": False,
    "published/vg_x101_fpn": False,
    "vrd/reldn_vgg16_coco": True,
    "published/vrd_vgg16_coco": True,
}


def options(vgg: bool) -> list[str]:
    small = ["INPUT.MIN_SIZE_TEST", "96", "MODEL.RPN.POST_NMS_TOPK_TEST", "30"]
    return [*(WIDTHS.vgg_options() if vgg else WIDTHS.fpn_options()), *small]


def authors_file(folder: Path, weights: dict[str, Tensor]) -> Path:
    """A final checkpoint of the authors' training, as PyTorch 0.4 wrote it."""
    path = folder / "model_step62722.pth"
    content = {"step": 62722, "train_size": np.int64(5), "batch_size": 8, "model": weights, "optimizer": {}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def for_pixels(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scales random weights so that they detect something in an image: small features and box deltas."""
    for name, value in weights.items():
        if name.endswith("res1.bn1.weight"):
            value *= 0.02
        elif "bbox_pred" in name:
            value *= 0.1
    return weights


def words_for(source: Path, target: Path, config: str, *words: str) -> list[object]:
    """The words of a command."""
    file = CONFIGS / f"{config}.yaml"
    return ["convert", "checkpoint", "--input", source, "--config-file", file, "--output", target, *words]


def run(source: Path, target: Path, config: str, *words: str) -> None:
    assert run_reldn(*words_for(source, target, config, *words)) == 0


def trained_further(cfg: CfgNode, converted: Path) -> str:
    """A checkpoint of a training that starts from a converted one, after no step."""
    checkpointer = RelationCheckpointer(build_model(cfg), str(converted.parent))
    checkpointer.load(str(converted))
    checkpointer.save("trained")
    return str(converted.parent / "trained.pth")


@pytest.mark.parametrize(("config", "vgg"), NETWORKS.items(), ids=list(NETWORKS))
def test_a_converted_checkpoint_predicts(
    config: str, vgg: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = authors_file(tmp_path, for_pixels(random_weights(reldn_shapes(WIDTHS, vgg))))
    target = tmp_path / "out" / "model.pth"
    run(source, target, config, *options(vgg), *PIXELS)
    network = "VGG-16" if vgg else "ResNeXt-50-FPN of 4 groups"
    tensors = len(torch.load(target, weights_only=True)["model"])
    assert capsys.readouterr().out == f"wrote {target}: RelDN on {network}, {tensors} tensors\n"
    thresholds = [
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
        "0.001",
        "MODEL.ROI_RELATION_HEAD.OVERLAP_ONLY",
        "False",
    ]
    cfg = load_config(str(CONFIGS / f"{config}.yaml"), [*options(vgg), *PIXELS, *thresholds])
    cfg.MODEL.WEIGHTS = str(target) if "published" in config else trained_further(cfg, target)
    predictor = RelationPredictor(cfg)
    scenes = vocabulary_of("reldn_scenes_tiny_test")
    assert (
        predictor.thing_classes == scenes.thing_classes == ["person", "cup", "guitar", "table", "hat", "box"]
    )
    assert predictor.predicate_classes == scenes.predicate_classes and len(scenes.predicate_classes) == 7
    output = predictor(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8))
    assert len(output["relations"]) > 0


def test_both_meta_architectures_take_the_same_file(tmp_path: Path) -> None:
    source = authors_file(tmp_path, random_weights(reldn_shapes(WIDTHS, vgg=False)))
    for config in ("vg/reldn_x101_fpn", "published/vg_x101_fpn"):
        run(source, tmp_path / f"{Path(config).name}.pth", config, *options(vgg=False))
    first, second = (torch.load(tmp_path / f"{name}.pth") for name in ("reldn_x101_fpn", "vg_x101_fpn"))
    assert first["vocabulary"] == second["vocabulary"] and first["model"].keys() == second["model"].keys()
    assert all(torch.equal(value, second["model"][name]) for name, value in first["model"].items())


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_converted_checkpoint_needs_its_conventions_until_it_is_trained(
    ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = authors_file(tmp_path, random_weights(reldn_shapes(WIDTHS, vgg=True)))
    target = tmp_path / f"model.{ending}"
    run(source, target, "published/vrd_vgg16_coco", *options(vgg=True))
    small = [*options(vgg=True), "MODEL.WEIGHTS", str(target)]
    cfg = load_config(str(CONFIGS / "vrd/reldn_vgg16_coco.yaml"), [*small, *PIXELS])
    with pytest.raises(ValueError, match=rf"model\.{ending} was converted .* PublishedRelDN,"):
        RelationPredictor(cfg)
    # What `reldn evaluate` and a resumed training ask.
    with pytest.raises(ValueError, match="PublishedRelDN"):
        RelationCheckpointer(build_model(cfg), same_classes=True).load(str(target))
    RelationPredictor(load_config(str(CONFIGS / "published/vrd_vgg16_coco.yaml"), small))

    # The command above may have taken the logger from pytest.
    logger = logging.getLogger("fvcore.common.checkpoint")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger=logger.name):
        cfg.MODEL.WEIGHTS = trained_further(cfg, target)
    logger.removeHandler(caplog.handler)
    assert "goes on with the conventions of this package, which differ from theirs in pixels" in caplog.text
    RelationPredictor(cfg)


def published_file(folder: Path) -> tuple[Path, CfgNode]:
    """A converted checkpoint, and the published config that takes it."""
    source = authors_file(folder, random_weights(reldn_shapes(WIDTHS, vgg=True)))
    target = folder / "converted.pth"
    run(source, target, "published/vrd_vgg16_coco", *options(vgg=True))
    words = [*options(vgg=True), "MODEL.WEIGHTS", str(target)]
    return target, load_config(str(CONFIGS / "published/vrd_vgg16_coco.yaml"), words)


def own_config(*words: str) -> CfgNode:
    return load_config(str(CONFIGS / "vrd/reldn_vgg16_coco.yaml"), [*options(vgg=True), *words])


def test_conventions_stay_with_the_weights_when_they_are_saved_again(tmp_path: Path) -> None:
    target, cfg = published_file(tmp_path)
    RelationPredictor(cfg).save_pretrained(tmp_path / "saved")
    checkpointer = RelationCheckpointer(build_model(cfg), str(tmp_path))
    checkpointer.load(str(target))
    checkpointer.save("again")
    assert RelationPredictor.from_pretrained(tmp_path / "saved", device="cpu").thing_classes
    for weights in (tmp_path / "saved" / "model.safetensors", tmp_path / "again.pth"):
        RelationCheckpointer(build_model(cfg), complete=True).load(str(weights))
        with pytest.raises(ValueError, match="was converted from the authors' code and was not trained"):
            RelationPredictor(own_config(*PIXELS, "MODEL.WEIGHTS", str(weights)))


def test_a_training_from_converted_weights_needs_their_pixels(tmp_path: Path) -> None:
    target, _ = published_file(tmp_path)
    wanted = "set INPUT.FORMAT BGR, MODEL.PIXEL_MEAN .102.9801, 115.9465, 122.7717., MODEL.PIXEL_STD .1.0, "
    for load in ("load", "load_relation_part"):
        checkpointer = RelationCheckpointer(build_model(own_config()))
        with pytest.raises(ValueError, match=f"converted.pth was converted .*{wanted}"):
            getattr(checkpointer, load)(str(target))


def test_a_relation_part_of_converted_weights_changes_its_conventions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _ = published_file(tmp_path)
    checkpointer = RelationCheckpointer(build_model(own_config(*PIXELS)), str(tmp_path))
    said: list[str] = []
    monkeypatch.setattr(checkpointer.logger, "info", lambda text, *words: said.append(text % words))
    checkpointer.load_relation_part(str(target))
    assert any("goes on with the conventions of this package" in line for line in said)
    checkpointer.save("trained")
    assert "conventions" not in torch.load(tmp_path / "trained.pth", weights_only=True)


@pytest.mark.parametrize(
    ("config", "whole", "flag"),
    [
        ("vg/detector_x101_fpn", False, []),
        ("vg/detector_x101_fpn", True, ["--detector"]),
        ("published/vg_x101_fpn", True, ["--detector"]),
        ("published/vg_x101_fpn", False, ["--detector"]),
    ],
)
def test_detectors(config: str, whole: bool, flag: list[str], tmp_path: Path) -> None:
    shapes = reldn_shapes(WIDTHS, vgg=False) if whole else detector_shapes(WIDTHS, vgg=False)
    source, target = authors_file(tmp_path, random_weights(shapes)), tmp_path / "model.pth"
    run(source, target, config, *flag, *options(vgg=False))
    found = torch.load(target, weights_only=True)
    assert found["vocabulary"]["predicate_classes"] == [] and len(found["vocabulary"]["thing_classes"]) == 6
    cfg = load_config(str(CONFIGS / "vg" / "detector_x101_fpn.yaml"), options(vgg=False))
    RelationCheckpointer(build_model(cfg), complete=True).load(str(target))
    # RelDN can start from the converted detector.
    cfg = load_config(str(CONFIGS / "vg" / "reldn_x101_fpn.yaml"), options(vgg=False))
    model = build_model(cfg)
    RelationCheckpointer(model, vocabulary=vocabulary_of("reldn_scenes_tiny_test")).load(str(target))
    expected = found["model"]["roi_heads.box_head.fc1.weight"]
    assert torch.equal(model.relation_head.pair_classifier.subject_head.fc1.weight, expected)


@pytest.mark.parametrize(
    ("config", "whole", "message"),
    [
        (
            "vg/detector_x101_fpn",
            True,
            "holds RelDN on ResNeXt-50-FPN of 4 groups, and .* GeneralizedRCNN: .*--detector",
        ),
        ("vg/reldn_x101_fpn", False, "holds a detector on ResNeXt-50-FPN of 4 groups, and .* is RelDN"),
        ("published/vg_x101_fpn", False, "holds a detector .* is PublishedRelDN"),
        ("vrd/reldn_vgg16_coco", True, "looks like RelDN on ResNeXt-50-FPN of 4 groups, but it has"),
        ("vrd/detector_r50_fpn", False, "MODEL.PIXEL_MEAN is"),
    ],
)
def test_a_file_for_another_config_is_refused(
    config: str, whole: bool, message: str, tmp_path: Path, capsys: Captured
) -> None:
    shapes = reldn_shapes(WIDTHS, vgg=False) if whole else detector_shapes(WIDTHS, vgg=False)
    source, target = authors_file(tmp_path, random_weights(shapes)), tmp_path / "model.pth"
    words = words_for(source, target, config, *options(vgg=False), "MODEL.PIXEL_MEAN", "[1.0, 2.0, 3.0]")
    said = refusal(capsys, *words)
    assert re.search(message, said)
    assert said.startswith(f"{source} for {CONFIGS / config}.yaml: ")
    assert not target.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * torch.nan, r"1 parameters that are not finite: \S*spt_cls_scores\.bias \(8 NaN of 8"),
        (lambda x: x.long(), r"another type than the model: \S*spatial\.mlp\.4\.bias \(int64, in the model"),
    ],
)
def test_broken_weights_are_not_converted(
    change: Callable[[Tensor], Tensor], message: str, tmp_path: Path, capsys: Captured
) -> None:
    weights = random_weights(reldn_shapes(WIDTHS, vgg=False))
    weights["RelDN.spt_cls_scores.bias"] = change(weights["RelDN.spt_cls_scores.bias"])
    source, target = authors_file(tmp_path, weights), tmp_path / "model.pth"
    said = line_of_refusal(
        capsys, *words_for(source, target, "vg/reldn_x101_fpn", *options(vgg=False), *PIXELS, *SCENES)
    )
    assert said.startswith(str(source)) and re.search(message, said)
    assert not target.exists()


def test_class_names_of_a_users_data_set(tmp_path: Path) -> None:
    (tmp_path / "my_sets.py").write_text(
        "from detectron2.data import MetadataCatalog\n"
        "names = {'thing_classes': list('abcdef'), 'predicate_classes': list('tuvwxyz')}\n"
        "MetadataCatalog.get('converted_for_this').set(**names)\n"
    )
    source = authors_file(tmp_path, random_weights(reldn_shapes(WIDTHS, vgg=False)))
    own = [
        "--import",
        str(tmp_path / "my_sets.py"),
        *options(vgg=False),
        "DATASETS.TEST",
        "('converted_for_this',)",
    ]
    run(source, tmp_path / "model.pth", "vg/reldn_x101_fpn", *own)
    names = torch.load(tmp_path / "model.pth", weights_only=True)["vocabulary"]
    assert names == {"thing_classes": list("abcdef"), "predicate_classes": list("tuvwxyz")}


def test_another_number_of_classes_is_refused(tmp_path: Path, capsys: Captured) -> None:
    source = authors_file(tmp_path, random_weights(detector_shapes(WIDTHS, vgg=False)))
    wrong = [*options(vgg=False), "MODEL.ROI_HEADS.NUM_CLASSES", "5"]
    message = line_of_refusal(
        capsys, *words_for(source, tmp_path / "model.pth", "vg/detector_x101_fpn", *wrong)
    )
    assert re.search(f"{source} for .*NUM_CLASSES is 5, but data set reldn_scenes_tiny_test has 6", message)


def test_a_missing_file_is_an_error_of_one_line(tmp_path: Path, capsys: Captured) -> None:
    words = words_for(tmp_path / "nothing.pth", tmp_path / "x.pth", "vg/reldn_x101_fpn")
    assert "nothing.pth" in line_of_refusal(capsys, *words)


def test_a_config_in_python_is_refused(tmp_path: Path, capsys: Captured) -> None:
    config = CONFIGS / "lazy" / "scenes_reldn.py"
    words = ["--input", tmp_path / "x.pth", "--config-file", config, "--output", tmp_path / "y.pth"]
    message = line_of_refusal(capsys, "convert", "checkpoint", *words)
    assert message == f"{config}: converted checkpoints need a config in YAML"


class NarrowVGG(nn.Module):
    """torchvision's VGG-16 with other widths."""

    def __init__(self) -> None:
        super().__init__()
        plan: list[str | int] = []
        for width, convolutions in zip(WIDTHS.vgg, (2, 2, 3, 3, 3), strict=True):
            plan += [width] * convolutions + ["M"]
        self.features = make_layers(plan)
        whole = VGG(nn.Identity(), init_weights=False).classifier
        assert [type(x) for x in whole] == [nn.Linear, nn.ReLU, nn.Dropout] * 2 + [nn.Linear]
        linear = [
            nn.Linear(49 * WIDTHS.vgg[-1], WIDTHS.fc),
            nn.Linear(WIDTHS.fc, WIDTHS.fc),
            nn.Linear(WIDTHS.fc, 1000),
        ]
        self.classifier = nn.Sequential(
            *(linear[0], nn.ReLU(), nn.Dropout(), linear[1], nn.ReLU(), nn.Dropout(), linear[2])
        )


@torch.no_grad()
def test_torchvisions_network_and_the_detectors_agree(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = NarrowVGG().eval()
    source, target = tmp_path / "vgg16-397923af.pth", tmp_path / "vgg16.pth"
    torch.save(theirs.state_dict(), source)
    assert run_reldn("convert", "vgg16", "--input", source, "--output", target) == 0
    model = build_model(load_config(str(CONFIGS / "vrd" / "detector_vgg16_imagenet.yaml"), options(vgg=True)))
    model.eval()
    checkpointer = RelationCheckpointer(model, vocabulary=vocabulary_of("reldn_scenes_tiny_test"))
    checkpointer.load(str(target))
    x = torch.randn(2, 3, 64, 48)
    features = model.backbone(x)["conv5"]
    expected = theirs.features[:-1](x)
    assert expected.std() > 1e-3 and torch.allclose(features, expected, atol=1e-6)
    regions = torch.randn(3, WIDTHS.vgg[-1], 7, 7)
    expected = theirs.classifier[:5](regions.flatten(1))
    assert expected.std() > 1e-3 and torch.allclose(model.roi_heads.box_head(regions), expected, atol=1e-6)


def test_broken_imagenet_weights_are_not_converted(tmp_path: Path, capsys: Captured) -> None:
    weights = NarrowVGG().state_dict()
    weights["features.0.bias"][0] = torch.inf
    source, target = tmp_path / "vgg16.pth", tmp_path / "out.pth"
    torch.save(weights, source)
    message = line_of_refusal(capsys, "convert", "vgg16", "--input", source, "--output", target)
    assert message.startswith(f"{source} has 1 parameters that are not finite: backbone.conv1_1.bias (1 inf")
    assert not target.exists()


def test_torchvisions_vgg16_at_full_size() -> None:
    with torch.device("meta"):
        theirs = vgg16(weights=None).state_dict()
    converted = to_vgg16_detector(theirs)
    cfg = load_config(str(CONFIGS / "vrd" / "detector_vgg16_imagenet.yaml"))
    model = authors_checkpoint.model_without_memory(cfg)
    wanted = {n: v for n, v in model.items() if n.startswith(("backbone.", "roi_heads.box_head."))}
    assert {n: v.shape for n, v in converted.items()} == {n: v.shape for n, v in wanted.items()}


def test_other_networks_than_vgg16_are_refused() -> None:
    with torch.device("meta"):
        normalised, plain = vgg16_bn(weights=None).state_dict(), vgg16(weights=None).state_dict()
    with pytest.raises(ValueError, match=r"not torchvision's VGG-16.*features\.1\.bias"):
        to_vgg16_detector(normalised)
    for name in ("features.28.bias", "classifier.3.weight"):
        with pytest.raises(ValueError, match=f"1 names are missing or unknown, among them {name}"):
            to_vgg16_detector({n: v for n, v in plain.items() if n != name})


@pytest.fixture
def torchvision_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Moves torchvision's weights to another address, and PyTorch's cache to a new folder."""

    def move(address: str) -> None:
        at = Weights(url=address, transforms=lambda: None, meta={})
        moved = WeightsEnum("Elsewhere", {"IMAGENET1K_V1": at})
        monkeypatch.setattr("reldn_d2.cli.convert_backbone.VGG16_Weights", moved)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))

    return move


def test_the_download_is_checked_and_kept(
    tmp_path: Path, torchvision_at: Callable[[str], None], capsys: Captured
) -> None:
    torch.save(NarrowVGG().state_dict(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    right, wrong = f"vgg16-{hashlib.sha256(content).hexdigest()[:8]}.pth", "vgg16-00000000.pth"
    for name in (right, wrong):
        (tmp_path / name).write_bytes(content)
    target = tmp_path / "out.pth"
    torchvision_at((tmp_path / wrong).as_uri())
    capsys.readouterr()
    assert run_reldn("convert", "vgg16", "--output", target) == 2
    # PyTorch shows the progress of the download before the error.
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and "invalid hash" in last and not target.exists()
    torchvision_at((tmp_path / right).as_uri())
    assert run_reldn("convert", "vgg16", "--output", target) == 0
    assert "backbone.conv5_3.bias" in torch.load(target, weights_only=True)["model"]
    (tmp_path / right).unlink()
    assert run_reldn("convert", "vgg16", "--output", tmp_path / "again.pth") == 0


def test_without_network_the_address_is_named(
    tmp_path: Path, torchvision_at: Callable[[str], None], capsys: Captured
) -> None:
    address = (tmp_path / "vgg16-00000000.pth").as_uri()
    torchvision_at(address)
    message = line_of_refusal(capsys, "convert", "vgg16", "--output", tmp_path / "out.pth")
    assert message.startswith("the download failed") and f"fetch {address} and give it as --input" in message
