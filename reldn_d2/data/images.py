"""Image files, upright and with errors that name the file."""

import os
import struct

import numpy as np
from detectron2.data import detection_utils as utils
from numpy.typing import NDArray
from PIL import Image

# What PIL raises for damaged files depends on the file format.
_UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)

_EXIF_ORIENTATION = 274
# EXIF orientations whose upright picture has width and height exchanged
_EXIF_ON_ITS_SIDE = (5, 6, 7, 8)


def read_image(file_name: str, image_format: str) -> NDArray[np.uint8]:
    """(H, W, channels) picture, turned upright as its EXIF data says.

    Args:
        file_name: any file PIL can read; what it is is told by its content, not by its ending.
        image_format: a format of `detectron2.data.detection_utils.read_image`, such as "BGR".

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file cannot be decoded.
    """
    try:
        image: NDArray[np.uint8] = utils.read_image(file_name, format=image_format)
    except FileNotFoundError as error:
        raise _missing(file_name) from error
    except _UNREADABLE as error:
        raise _damaged(file_name, error) from error
    return image


def upright_size(file_name: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) that `read_image` will give, from the file's header alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no image.
    """
    try:
        with Image.open(file_name) as image:
            width, height = image.size
            on_its_side = image.getexif().get(_EXIF_ORIENTATION) in _EXIF_ON_ITS_SIDE
    except FileNotFoundError as error:
        raise _missing(file_name) from error
    except _UNREADABLE as error:
        raise _damaged(file_name, error) from error
    return (height, width) if on_its_side else (width, height)


def _missing(file_name: str | os.PathLike[str]) -> FileNotFoundError:
    return FileNotFoundError(
        f"Image {os.fspath(file_name)} does not exist. Check DETECTRON2_DATASETS or the image folder that "
        "the data set was registered with (datasets/README.md shows the expected tree)."
    )


def _damaged(file_name: str | os.PathLike[str], error: BaseException) -> ValueError:
    return ValueError(
        f"Image {os.fspath(file_name)} cannot be read ({error}). The file is damaged or not an image: "
        "replace it, or take the image out of the annotations."
    )
