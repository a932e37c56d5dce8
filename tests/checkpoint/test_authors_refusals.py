"""The architectures that the converter recognises, and the checkpoints that it refuses."""

import pytest
import torch
from torch import Tensor

from reldn_d2.checkpoint.importers import AuthorsArchitecture, convert, detector_of
from reldn_d2.engine import authors_checkpoint, load_config
from tests.builders.authors_checkpoints import (
    CONFIGS,
    FULL_VGG,
    FULL_X101,
    SCENES,
    Widths,
    detector_shapes,
    random_weights,
    reldn_shapes,
    shapes_alone,
)

WIDTHS = Widths()
VGG_CONFIG = CONFIGS / "vrd" / "reldn_vgg16_coco.yaml"


@pytest.fixture(scope="module")
def vgg_model() -> dict[str, Tensor]:
    return authors_checkpoint.model_without_memory(load_config(str(VGG_CONFIG), WIDTHS.vgg_options()))


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return shapes_alone(reldn_shapes(WIDTHS, vgg=True))


def refusal(weights: dict[str, Tensor], model: dict[str, Tensor]) -> list[str]:
    """The lines of the message."""
    with pytest.raises(ValueError) as error:
        convert(weights, model)
    return str(error.value).splitlines()


def test_unknown_and_missing_names(weights: dict[str, Tensor], vgg_model: dict[str, Tensor]) -> None:
    weights["RelDN.spt_cls_feats.7.weight"] = weights.pop("RelDN.spt_cls_feats.2.weight")
    weights["Mask_Head.conv1.weight"] = torch.zeros(3)
    assert refusal(weights, vgg_model) == [
        "the checkpoint looks like RelDN on VGG-16, but it has",
        "unknown names (2): Mask_Head.conv1.weight, RelDN.spt_cls_feats.7.weight",
        "missing names (1): RelDN.spt_cls_feats.2.weight",
    ]


@pytest.mark.parametrize("name", reldn_shapes(WIDTHS, vgg=True))
def test_no_name_may_be_missing(name: str, weights: dict[str, Tensor], vgg_model: dict[str, Tensor]) -> None:
    del weights[name]
    lines = refusal(weights, vgg_model)
    if name == "RelDN.freq_bias.rel_baseline.weight":  # the only tensor of its module
        assert "without the semantic module" in lines[0]
        assert lines[1:] == [
            "tensors of the config's model that the checkpoint lacks (1): "
            "relation_head.pair_classifier.semantic.log_prior"
        ]
    else:
        assert lines[1:] == [f"missing names (1): {name}"]


def test_every_tensor_of_a_pyramid_is_wanted() -> None:
    model = authors_checkpoint.model_without_memory(
        load_config(str(CONFIGS / "vg" / "reldn_x101_fpn.yaml"), WIDTHS.fpn_options())
    )
    weights = shapes_alone(reldn_shapes(WIDTHS, vgg=False))
    assert convert(weights, model).keys() == model.keys()
    middle = "Prd_RCNN.Conv_Body.conv_body.res4.3.bn2.bias"
    extra = {f"Conv_Body.conv_body.res3.{i}.bn4.weight": torch.zeros(2) for i in range(4)}
    extra |= {f"RPN.other{i}.weight": torch.zeros(2) for i in range(8)}
    del weights[middle]
    lines = refusal(weights | extra, model)
    names = ", ".join([*sorted(extra)[:10]])
    assert lines[1:] == [f"unknown names (12): {names}, and 2 more", f"missing names (1): {middle}"]


def test_impossible_shapes_are_listed(weights: dict[str, Tensor], vgg_model: dict[str, Tensor]) -> None:
    weights["RelDN.spt_cls_feats.0.weight"] = torch.zeros(64, 30)
    weights["RelDN.freq_bias.rel_baseline.weight"] = torch.zeros(35, 8)
    assert refusal(weights, vgg_model)[1:] == [
        "tensors of impossible shapes (2): RelDN.spt_cls_feats.0.weight (64, 30) should have 28 columns, "
        "RelDN.freq_bias.rel_baseline.weight (35, 8) should have a row for each pair of entity classes"
    ]


def test_shapes_that_differ_from_the_models_are_listed(
    weights: dict[str, Tensor], vgg_model: dict[str, Tensor]
) -> None:
    weights["RelDN.prd_cls_scores.bias"] = torch.zeros(10)
    assert refusal(weights, vgg_model)[1:] == [
        "tensors that have another shape in the config's model (1): "
        "relation_head.pair_classifier.visual.score.3.bias (10,), in the model (8,)"
    ]


def test_parts_that_the_config_switches_off_are_listed(weights: dict[str, Tensor]) -> None:
    off = ["MODEL.ROI_RELATION_HEAD.SPATIAL.ENABLED", "False"]
    model = authors_checkpoint.model_without_memory(
        load_config(str(VGG_CONFIG), [*WIDTHS.vgg_options(), *off])
    )
    lines = refusal(weights, model)
    assert lines[1].startswith(
        "tensors that the config's model lacks, under our names (6): "
        "relation_head.pair_classifier.spatial.mlp.0.bias, "
    )
    assert len(lines) == 2


def test_parts_that_the_checkpoint_lacks_are_listed(vgg_model: dict[str, Tensor]) -> None:
    lines = refusal(shapes_alone(reldn_shapes(WIDTHS, vgg=True, spatial=False)), vgg_model)
    assert lines[0] == "the checkpoint looks like RelDN on VGG-16 without the spatial module, but it has"
    assert lines[1].startswith("tensors of the config's model that the checkpoint lacks (6): relation_head")
    assert len(lines) == 2


def test_another_architecture_than_the_configs_is_refused(vgg_model: dict[str, Tensor]) -> None:
    lines = refusal(shapes_alone(reldn_shapes(WIDTHS, vgg=False)), vgg_model)
    assert lines[0] == "the checkpoint looks like RelDN on ResNeXt-50-FPN of 4 groups, but it has"
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("shapes", "description"),
    [
        (reldn_shapes(FULL_VGG, vgg=True), "RelDN on VGG-16"),
        (reldn_shapes(FULL_X101, vgg=False), "RelDN on ResNeXt-101-FPN of 64 groups"),
        (detector_shapes(FULL_VGG, vgg=True), "a detector on VGG-16"),
        (detector_shapes(Widths(groups=1), vgg=False), "a detector on ResNet-50-FPN"),
        (detector_shapes(Widths(groups=1, blocks=(3, 8, 36, 3)), vgg=False), "a detector on ResNet-152-FPN"),
    ],
)
def test_the_architecture_is_recognised(shapes: dict[str, tuple[int, ...]], description: str) -> None:
    assert str(AuthorsArchitecture.of(shapes_alone(shapes))) == description


def test_unknown_depths_and_networks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[3, 4, 5, 3\] residual blocks"):
        AuthorsArchitecture.of(shapes_alone(detector_shapes(Widths(blocks=(3, 4, 5, 3)), vgg=False)))
    with pytest.raises(ValueError, match=r"features\.0\.weight, classifier\.weight"):
        AuthorsArchitecture.of({"features.0.weight": torch.zeros(1), "classifier.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="no checkpoint"):
        AuthorsArchitecture.of({})


def test_the_order_of_names_does_not_matter() -> None:
    shapes = detector_shapes(Widths(groups=1), vgg=False)
    backwards = {name: shapes[name] for name in reversed(shapes)}
    assert str(AuthorsArchitecture.of(shapes_alone(backwards))) == "a detector on ResNet-50-FPN"


def test_the_detector_of_a_reldn() -> None:
    for vgg in (True, False):
        weights = shapes_alone(reldn_shapes(WIDTHS, vgg))
        assert detector_of(weights).keys() == detector_shapes(WIDTHS, vgg).keys()


def test_the_number_of_tensors_at_full_size() -> None:
    assert len(reldn_shapes(FULL_VGG, vgg=True)) == 95
    assert len(reldn_shapes(FULL_X101, vgg=False)) == 699


@pytest.mark.parametrize("file", sorted((CONFIGS / "published").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_published_config_takes_its_checkpoint(file: object) -> None:
    cfg = load_config(str(file))
    vgg, spatial = "vgg16" in str(file), "vg_vgg16" not in str(file)
    classes, predicates = cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.ROI_RELATION_HEAD.NUM_PREDICATES
    full = FULL_VGG if vgg else FULL_X101
    widths = Widths(**{**vars(full), "classes": classes, "predicates": predicates})
    weights = shapes_alone(reldn_shapes(widths, vgg, spatial))
    authors_checkpoint.check_config(cfg, AuthorsArchitecture.of(weights))
    model = authors_checkpoint.model_without_memory(cfg)
    assert convert(weights, model).keys() == model.keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("INPUT.FORMAT", "RGB"),
        ("MODEL.PIXEL_MEAN", "[103.53, 116.28, 123.675]"),
        ("MODEL.PIXEL_STD", "[57.375, 57.12, 58.395]"),
        ("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", "(1.0, 1.0, 1.0, 1.0)"),
        ("MODEL.ANCHOR_GENERATOR.SIZES", "[[32, 64, 128, 256, 512]]"),
        ("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[2.0, 1.0, 0.5]]"),
        ("MODEL.RESNETS.STRIDE_IN_1X1", "True"),
        ("MODEL.ROI_RELATION_HEAD.VISUAL.FEATURES_BEFORE_RELU", "False"),
    ],
)
def test_configs_with_other_settings_are_refused(key: str, value: str) -> None:
    architecture = AuthorsArchitecture.of(shapes_alone(reldn_shapes(WIDTHS, vgg=False)))
    file = str(CONFIGS / "vg" / "reldn_x101_fpn.yaml")
    authors_checkpoint.check_config(load_config(file, SCENES), architecture)
    with pytest.raises(ValueError, match=f"does not suit these weights: {key} is "):
        authors_checkpoint.check_config(load_config(file, [key, value]), architecture)


def test_a_detector_does_not_need_the_settings_of_reldn() -> None:
    architecture = AuthorsArchitecture.of(shapes_alone(detector_shapes(Widths(groups=1), vgg=False)))
    options = ["MODEL.RESNETS.STRIDE_IN_1X1", "True"]
    options += ["MODEL.ROI_RELATION_HEAD.VISUAL.FEATURES_BEFORE_RELU", "False"]
    authors_checkpoint.check_config(
        load_config(str(CONFIGS / "vg" / "detector_x101_fpn.yaml"), options), architecture
    )


def test_random_weights_of_the_tests_differ() -> None:
    weights = random_weights(reldn_shapes(WIDTHS, vgg=True))
    assert not torch.equal(weights["S_Head.heads.0.weight"], weights["O_Head.heads.0.weight"])
