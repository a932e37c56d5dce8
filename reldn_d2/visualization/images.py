"""Images of the drawings and reports: (H, W, 3) uint8 RGB arrays."""

import os
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from reldn_d2.utils.io import atomic_write

Image = npt.NDArray[np.uint8]


def check_image(image: Image, name: str = "an image") -> None:
    """Check that an array is an image.

    Args:
        image: the array.
        name: name of the image in the error message.

    Raises:
        ValueError: it is not a (H, W, 3) uint8 array.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(f"{name} must be a (H, W, 3) uint8 array, not {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"{name} must be (H, W, 3) uint8, not {image.shape} {image.dtype}")


def encode_image(image: Image, kind: Literal["jpeg", "png"], name: str = "an image") -> bytes:
    """The content of an image file: JPEG of quality 90, which is small, or PNG, which is exact.

    Args:
        image: (H, W, 3) uint8 RGB.
        kind: format of the file.
        name: name of the image in the error message.

    Raises:
        ValueError: the image can't be encoded, because it has no pixel or too many for the format.
    """
    bgr = np.ascontiguousarray(image[..., ::-1])
    try:
        done, data = cv2.imencode(f".{kind}", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90] if kind == "jpeg" else [])
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"{name} of size {image.shape} can't be encoded as {kind}")
    return data.tobytes()


def write_png(image: Image, path: str | os.PathLike[str]) -> None:
    """Write an image as PNG file, in one step; missing folders are created."""
    with atomic_write(path) as file:
        file.write(encode_image(image, "png"))
