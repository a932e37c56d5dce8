"""Coordinates of an image and of the network input that it was resized to."""

from dataclasses import dataclass

from torch import Tensor

from reldn_d2.structures import published_scale

from .boxes import continuous, inclusive


@dataclass(frozen=True)
class ImageFrame:
    """Sizes of an image before and after resizing, and the scale that the published code uses.

    Attributes:
        original: (height, width) of the image file.
        network: (height, width) of the network input without padding: `original` times `scale`, rounded.
        scale: pixels of the network input per pixel of the image.
    """

    original: tuple[int, int]
    network: tuple[int, int]
    scale: float

    @staticmethod
    def of(original: tuple[int, int], network: tuple[int, int], min_size: int, max_size: int) -> "ImageFrame":
        """Computes the scale of a resized image.

        Args:
            original: (height, width) before resizing.
            network: (height, width) after resizing.
            min_size: length of the shorter side after resizing.
            max_size: largest length of the longer side after resizing.

        Raises:
            ValueError: the image was not resized like this.
        """
        scale = published_scale(original, min_size, max_size)
        # Resizing may round halves up or to even.
        if any(abs(a * scale - b) > 0.5 + 1e-6 for a, b in zip(original, network, strict=True)):
            raise ValueError(
                f"an image of (height, width) {original} came as {network}; PublishedRelDN needs images "
                f"resized to INPUT.MIN_SIZE_TEST {min_size}, at most INPUT.MAX_SIZE_TEST {max_size}, by the "
                "same factor in both directions (ResizeShortestEdge)"
            )
        return ImageFrame(original, network, scale)

    def given_in_image(self, boxes: Tensor) -> Tensor:
        """Moves given boxes, which were resized with the image, back to the image.

        Args:
            boxes: (K, 4) XYXY in pixels of the network input: annotated ones, whose last pixels count as the
                published code takes them, or reported ones (`reported`).

        Returns:
            (K, 4) in pixels of the image, continuous.
        """
        return continuous(boxes / self.scale)

    def proposals_in_image(self, boxes: Tensor) -> Tensor:
        """Moves proposals of the network to the image: divides their first and last pixels by `scale`.

        Args:
            boxes: (K, 4) XYXY in pixels of the network input, continuous.

        Returns:
            (K, 4) in pixels of the image, continuous.
        """
        return continuous(inclusive(boxes) / self.scale)


def pooled_regions(boxes: Tensor, scale: float | Tensor) -> Tensor:
    """Regions from which the published code pools features: first and last pixels times the scale.

    Args:
        boxes: (K, 4) XYXY in pixels of the image, continuous.
        scale: pixels of the network input per pixel of the image; one number, or (K, 1).

    Returns:
        (K, 4) in pixels of the network input, inclusive.
    """
    return inclusive(boxes) * scale
