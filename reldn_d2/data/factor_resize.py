"""Resizing by one factor, as the code published with the paper does it."""

import cv2
import numpy as np
from detectron2.data import transforms as T
from numpy.typing import NDArray

from reldn_d2.structures import published_scale


class ByFactor(T.Transform):
    """Resizes by a factor s. Pixel x of the result is sampled at (x + 0.5) / s - 0.5, without smoothing.

    Unlike `ResizeTransform`, both sides have the same factor, although the sides are rounded (halves to
    even), and grey levels are not rounded.
    """

    def __init__(self, height: int, width: int, scale: float) -> None:
        """Sets the factor.

        Args:
            height, width: size of the image.
            scale: s.

        Raises:
            ValueError: no pixel would be left.
        """
        super().__init__()
        self.scale = scale
        #: Height and width after resizing, before they are rounded.
        self.exact_size = height * scale, width * scale
        if round(min(self.exact_size)) < 1:
            raise ValueError("no pixel of its shorter side would be left")

    def apply_image(self, image: NDArray[np.generic]) -> NDArray[np.float32]:
        """The resized (H, W, C) image."""
        resized = cv2.resize(
            np.asarray(image, dtype=np.float32),
            None,
            fx=self.scale,
            fy=self.scale,
            interpolation=cv2.INTER_LINEAR,
        )
        return np.asarray(resized, dtype=np.float32).reshape(*resized.shape[:2], -1)

    def apply_coords(self, coords: NDArray[np.float64]) -> NDArray[np.float64]:
        """The (K, 2) points, times s."""
        return coords * self.scale


class ResizeByFactor(T.Augmentation):
    """Resizes the shorter side to a length, unless the longer side gets too long, see `ByFactor`."""

    def __init__(self, min_size: int, max_size: int) -> None:
        """Sets the lengths.

        Args:
            min_size, max_size: see `published_scale`.

        Raises:
            ValueError: a length is not positive.
        """
        super().__init__()
        if min_size < 1 or max_size < 1:
            raise ValueError(
                f"resizing by one factor to {min_size}, at most {max_size}: give positive lengths"
            )
        self.min_size, self.max_size = min_size, max_size

    def get_transform(self, image: NDArray[np.generic]) -> ByFactor:
        """The transform of an (H, W, C) image."""
        height, width = image.shape[:2]
        return ByFactor(height, width, published_scale((height, width), self.min_size, self.max_size))
