"""torchvision's ImageNet weights of VGG-16 for `build_reldn_vgg16_backbone` and `RelDNVGGBoxHead`."""

from collections.abc import Mapping

from torch import Tensor

# Block -> positions of its convolutions in torchvision's sequence of convolutions, activations and poolings.
# Detectron.pytorch and the authors' code use the same numbers.
_POSITIONS = {
    1: (0, 2),
    2: (5, 7),
    3: (10, 12, 14),
    4: (17, 19, 21),
    5: (24, 26, 28),
}
# Position -> our name of the convolution.
VGG16_CONVOLUTIONS = {
    position: f"conv{block}_{number}"
    for block, positions in _POSITIONS.items()
    for number, position in enumerate(positions, start=1)
}
# Position in the sequence of linear layers, activations and dropouts -> our name of the linear layer.
VGG16_FULLY_CONNECTED = {0: "fc1", 3: "fc2"}
# The layer of the 1,000 ImageNet classes, which a detector does not use.
_DROPPED = {"classifier.6.weight", "classifier.6.bias"}


def to_vgg16_detector(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames torchvision's layers to those of a detector. No number changes.

    The network still expects RGB in [0, 1], minus ImageNet's mean, divided by its standard deviation. In
    Detectron2's config: `INPUT.FORMAT: RGB`, `PIXEL_MEAN: [123.675, 116.28, 103.53]`,
    `PIXEL_STD: [58.395, 57.12, 57.375]`.

    Args:
        weights: state dict of `torchvision.models.vgg16`.

    Returns:
        State dict for the backbone and the box head of a detector, without the ImageNet classifier.

    Raises:
        ValueError: layers are missing or unknown, as in VGG-16 with batch normalisation.
    """
    layers = {f"features.{i}": f"backbone.{name}" for i, name in VGG16_CONVOLUTIONS.items()}
    layers |= {f"classifier.{i}": f"roi_heads.box_head.{name}" for i, name in VGG16_FULLY_CONNECTED.items()}
    names = {
        f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in layers.items() for kind in ("weight", "bias")
    }
    different = sorted((weights.keys() - _DROPPED) ^ names.keys())
    if different:
        raise ValueError(
            f"this is not torchvision's VGG-16 (without batch normalisation): {len(different)} names are "
            f"missing or unknown, among them {', '.join(different[:10])}"
        )
    return {ours: weights[theirs] for theirs, ours in names.items()}
