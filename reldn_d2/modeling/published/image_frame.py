"""The way between an image and the network input it was resized to."""

from dataclasses import dataclass

from torch import Tensor

from .boxes import continuous, inclusive


@dataclass(frozen=True)
class ImageFrame:
    """Sizes of an image before and after resizing, (height, width), and the scale that the published code
    works with.

    Attributes:
        original: of the image file.
        network: of the network input without padding: `original` times `scale`, rounded.
        scale: pixels of the network input per pixel of the image.
    """

    original: tuple[int, int]
    network: tuple[int, int]
    scale: float

    @staticmethod
    def of(original: tuple[int, int], network: tuple[int, int], min_size: int, max_size: int) -> "ImageFrame":
        """
        Args:
            original, network: (height, width).
            min_size, max_size: the shorter side after resizing, and the most that the longer one may be.

        Raises:
            ValueError: the image was not resized like this.
        """
        scale = min_size / min(original)
        # Rounded as the published code decides: 1333.4 still is no more than 1333.
        if round(scale * max(original)) > max_size:
            scale = max_size / max(original)
        # At halves some round up and some to even.
        if any(abs(a * scale - b) > 0.5 + 1e-6 for a, b in zip(original, network, strict=True)):
            raise ValueError(
                f"an image of (height, width) {original} came as {network}; PublishedRelDN needs images resized to "
                f"INPUT.MIN_SIZE_TEST {min_size}, at most INPUT.MAX_SIZE_TEST {max_size}, by the same factor in both "
                "directions (ResizeShortestEdge)"
            )
        return ImageFrame(original, network, scale)

    def resized_back(self, boxes: Tensor) -> Tensor:
        """Boxes of the image that were resized with it: back by the factors between the rounded sizes.

        Args:
            boxes: (K, 4) XYXY in pixels of the network input, continuous.

        Returns:
            (K, 4) in pixels of the image, continuous.
        """
        y, x = (a / b for a, b in zip(self.original, self.network, strict=True))
        return boxes * boxes.new_tensor([x, y, x, y])

    def proposals_in_image(self, boxes: Tensor) -> Tensor:
        """Boxes that the network proposes: their first and last pixels divided by `scale`.

        Args:
            boxes: (K, 4) XYXY in pixels of the network input, continuous.

        Returns:
            (K, 4) in pixels of the image, continuous.
        """
        return continuous(inclusive(boxes) / self.scale)


def pooled_regions(boxes: Tensor, scale: float | Tensor) -> Tensor:
    """Where the published code pools the features of boxes: their first and last pixels times the scale.

    Args:
        boxes: (K, 4) XYXY in pixels of the image, continuous.
        scale: pixels of the network input per pixel of the image; one number, or (K, 1).

    Returns:
        (K, 4) in pixels of the network input, inclusive.
    """
    return inclusive(boxes) * scale
