"""Where the layers of VGG-16 are in torchvision's numbering, which others took over."""

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
