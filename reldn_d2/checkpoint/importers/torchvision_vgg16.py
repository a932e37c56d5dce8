"""ImageNet weights of torchvision's VGG-16 as the start of a detector on `build_vgg16_backbone` and `VGGBoxHead`."""

from collections.abc import Mapping

from torch import Tensor

# By block and place, the position in the sequence of convolutions, activations and poolings.
_CONVOLUTIONS = {
    1: (0, 2),
    2: (5, 7),
    3: (10, 12, 14),
    4: (17, 19, 21),
    5: (24, 26, 28),
}
# Our convolution by that position.
VGG16_CONVOLUTIONS = {
    position: f"conv{block}_{place}"
    for block, positions in _CONVOLUTIONS.items()
    for place, position in enumerate(positions, start=1)
}
# Our fully connected layer by the position in the sequence of linear layers, activations and dropouts.
VGG16_FULLY_CONNECTED = {0: "fc1", 3: "fc2"}


# The layer of 1,000 ImageNet classes.
_DROPPED = {"classifier.6.weight", "classifier.6.bias"}


def to_vgg16_detector(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames torchvision's layers to those of a detector. No number changes.

    The network still takes RGB in [0, 1] less ImageNet's mean, by its deviation; as Detectron2 has it:
    `INPUT.FORMAT: RGB`, `PIXEL_MEAN: [123.675, 116.28, 103.53]`, `PIXEL_STD: [58.395, 57.12, 57.375]`.

    Args:
        weights: state dict of `torchvision.models.vgg16`.

    Returns:
        State dict for the backbone and the box head of a detector; the ImageNet classifier is left out.

    Raises:
        ValueError: layers are missing, or there are others, as in VGG-16 with batch normalisation.
    """
    layers = {f"features.{at}": f"backbone.{name}" for at, name in VGG16_CONVOLUTIONS.items()}
    layers |= {f"classifier.{at}": f"roi_heads.box_head.{name}" for at, name in VGG16_FULLY_CONNECTED.items()}
    names = {
        f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in layers.items() for kind in ("weight", "bias")
    }
    different = sorted((weights.keys() - _DROPPED) ^ names.keys())
    if different:
        raise ValueError(
            f"this is not torchvision's VGG-16 (without batch normalisation): {len(different)} names are missing or "
            f"unknown, among them {', '.join(different[:10])}"
        )
    return {ours: weights[theirs] for theirs, ours in names.items()}
