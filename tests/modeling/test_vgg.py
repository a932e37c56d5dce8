"""VGG-16 and its box head against torchvision's."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from torch import nn
from torchvision.models import vgg, vgg16

from reldn_d2.engine import load_config
from reldn_d2.modeling import VGG16, RelDNVGGBoxHead
from reldn_d2.modeling.region_heads import before_last_relu
from tests.builders.tiny_models import REPOSITORY, TINY

CHANNELS = [64, 128, 256, 512, 512]
NAMES = [
    *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"),
    *("conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3"),
]


def torchvision_convolutions(features: nn.Sequential) -> dict[str, nn.Conv2d]:
    found = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    return dict(zip(NAMES, found, strict=True))


@torch.no_grad()
def with_weights_of(features: nn.Sequential, channels: list[int]) -> VGG16:
    ours = VGG16(channels=channels)
    for name, layer in torchvision_convolutions(features).items():
        own = ours.get_submodule(name)
        own.weight.copy_(layer.weight)
        own.bias.copy_(layer.bias.normal_())
    return ours


@pytest.mark.parametrize("channels", [CHANNELS, [4, 6, 8, 10, 12]], ids=["full", "narrow"])
@torch.no_grad()
def test_features_are_those_of_torchvision(channels: list[int]) -> None:
    torch.manual_seed(0)
    a, b, c, d, e = channels
    layers: list[str | int] = [a, a, "M", b, b, "M", c, c, c, "M", d, d, d, "M", e, e, e]
    theirs = vgg.make_layers([*layers, "M"])
    ours = with_weights_of(theirs, channels)
    images = torch.randn(2, 3, 37, 50)  # neither side a multiple of 16
    expected = theirs[:-1](images)  # without the last pool
    assert expected.shape == (2, e, 2, 3)
    (name, found), *others = ours(images).items()
    assert name == "conv5" and not others
    assert torch.allclose(found, expected, atol=1e-5 * expected.abs().max().item())


@torch.no_grad()
def test_random_weights_keep_the_scale_of_features() -> None:
    torch.manual_seed(0)
    model = VGG16(channels=[32] * 5)
    assert all((model.get_submodule(name).bias == 0).all() for name in NAMES)
    features = model(torch.randn(2, 3, 64, 64))["conv5"]
    assert 0.1 < features.square().mean().sqrt() < 10


def test_full_size_has_the_shapes_of_torchvision() -> None:
    with torch.device("meta"):
        theirs = vgg16()
        ours = VGG16(channels=CHANNELS)
        region = ShapeSpec(channels=512, height=7, width=7)
        head = RelDNVGGBoxHead(region, conv_dims=[], fc_dims=[4096, 4096], dropout=0.5)
    state = ours.state_dict()
    for name, layer in torchvision_convolutions(theirs.features).items():
        assert state.pop(f"{name}.weight").shape == layer.weight.shape
        assert state.pop(f"{name}.bias").shape == layer.bias.shape
    assert not state
    state = head.state_dict()
    for name, layer in (("fc1", theirs.classifier[0]), ("fc2", theirs.classifier[3])):
        assert state.pop(f"{name}.weight").shape == layer.weight.shape
        assert state.pop(f"{name}.bias").shape == layer.bias.shape
    assert not state
    # `small_classifier` below is a small version of this classifier.
    kinds = [type(layer) for layer in theirs.classifier]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert theirs.classifier[2].p == theirs.classifier[5].p == 0.5


def small_classifier(width: int, dropout: float) -> nn.Sequential:
    """The classifier of torchvision up to fc7, with its dropout, for 6 channels of 3 x 2."""
    return nn.Sequential(
        *(nn.Linear(36, width), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout)),
    )


@torch.no_grad()
def small_heads(dropout: float) -> tuple[RelDNVGGBoxHead, nn.Sequential]:
    torch.manual_seed(1)
    theirs = small_classifier(10, dropout)
    region = ShapeSpec(channels=6, height=3, width=2)
    ours = RelDNVGGBoxHead(region, conv_dims=[], fc_dims=[10, 10], dropout=dropout)
    for name, layer in (("fc1", theirs[0]), ("fc2", theirs[3])):
        ours.get_submodule(name).load_state_dict(layer.state_dict())
    return ours, theirs


def test_the_head_is_that_of_torchvision() -> None:
    ours, theirs = small_heads(0.5)
    regions = torch.randn(20, 6, 3, 2)
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        # The same seed drops the same features.
        torch.manual_seed(2)
        found = ours(regions)
        torch.manual_seed(2)
        assert torch.allclose(found, theirs(regions.flatten(1)), atol=1e-6)
    assert ours.output_shape == ShapeSpec(channels=10)
    assert ours(torch.zeros(0, 6, 3, 2)).shape == (0, 10)


def test_dropout_has_its_rate() -> None:
    ours, _ = small_heads(0.9)
    ours.train()
    regions = torch.randn(400, 6, 3, 2)
    assert (ours(regions) == 0).float().mean() > 0.9
    assert 0.25 < (small_heads(0.0)[0].train()(regions) == 0).float().mean() < 0.75  # zeros of the ReLU


def test_the_published_features_keep_the_first_dropout_alone() -> None:
    ours, theirs = small_heads(0.5)
    before = before_last_relu(ours).train()
    regions = torch.randn(20, 6, 3, 2)
    torch.manual_seed(2)
    found = before(regions)
    torch.manual_seed(2)
    assert torch.allclose(found, theirs[:4].train()(regions.flatten(1)), atol=1e-6)
    assert (found < 0).any() and (found != 0).all()


@pytest.mark.parametrize("freeze_at", range(6))
def test_freezing_counts_blocks(freeze_at: int) -> None:
    model = VGG16(channels=[2] * 5, freeze_at=freeze_at)
    frozen = [name for name in NAMES if int(name[4]) <= freeze_at]
    assert len(frozen) == [0, 2, 4, 7, 10, 13][freeze_at]
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name.rpartition(".")[0] not in frozen)


def test_gradients_reach_what_is_trained() -> None:
    model = VGG16(channels=[2] * 5, freeze_at=2)
    model(torch.randn(1, 3, 32, 32))["conv5"].sum().backward()
    for parameter in model.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"channels": [1, 2, 3, 4]}, "MODEL.RELDN_VGG.CHANNELS"),
        ({"channels": [1] * 5, "freeze_at": 6}, "MODEL.BACKBONE.FREEZE_AT is 6"),
        ({"channels": [1] * 5, "freeze_at": -1}, "MODEL.BACKBONE.FREEZE_AT is -1"),
    ],
)
def test_other_shapes_are_refused(options: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        VGG16(**options)


def test_the_config_makes_both() -> None:
    options = [
        "MODEL.DEVICE",
        "cpu",
        "MODEL.RELDN_VGG.CHANNELS",
        "[2, 3, 4, 5, 6]",
        "MODEL.RELDN_VGG.DROPOUT",
        "0.25",
    ]
    options += ["MODEL.BACKBONE.FREEZE_AT", "1", "MODEL.ROI_BOX_HEAD.FC_DIM", "8"]
    file = REPOSITORY / "configs" / "base" / "rcnn_vgg16.yaml"
    detector = build_model(load_config(str(file), [*TINY, *options]))
    backbone, head = detector.backbone, detector.roi_heads.box_head
    assert isinstance(backbone, VGG16) and isinstance(head, RelDNVGGBoxHead)
    widths = [backbone.get_submodule(name).out_channels for name in NAMES]
    assert widths == [2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6]
    frozen = [name for name in NAMES if not backbone.get_submodule(name).weight.requires_grad]
    assert frozen == ["conv1_1", "conv1_2"]
    assert [layer.p for layer in head.modules() if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    shape = backbone.output_shape()["conv5"]
    assert (shape.channels, shape.stride) == (6, 16)
    maps = backbone(torch.zeros(1, 3, 64, 96))
    assert maps["conv5"].shape == (1, 6, 4, 6)


@pytest.mark.parametrize("size", [(15, 40), (40, 1)])
def test_an_image_without_a_pixel_in_the_map_is_refused(size: tuple[int, int]) -> None:
    backbone = VGG16(channels=[1, 1, 1, 1, 1])
    with pytest.raises(
        ValueError, match=f"^an image has {size[1]} x {size[0]} pixels when it is resized for"
    ):
        backbone(torch.zeros(1, 3, *size))
    assert backbone(torch.zeros(1, 3, 16, 40))["conv5"].shape == (1, 1, 1, 2)
