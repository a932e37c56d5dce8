"""Pictures of every kind that people hold in Python, as the arrays that a mapper works on."""

import io
import os
from collections.abc import Generator
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from reldn_d2.data.images import DamagedImageError, read_image
from reldn_d2.data.pixels import UnusablePictureError, to_pixels

#: An image file, its content, a (H, W, 3) uint8 array, a picture of PIL, or a (3, H, W) uint8 tensor.
ImageLike = str | os.PathLike[str] | bytes | NDArray[np.uint8] | Image.Image | torch.Tensor
#: Order of the channels of arrays and tensors.
Color = Literal["bgr", "rgb"]

_WANTED = (
    "an image is a path, the bytes of a file, a (H, W, 3) uint8 array, a picture of PIL, or a (3, H, W) "
    'uint8 tensor (arrays and tensors in the order BGR, or RGB with color="rgb")'
)
# What people give instead of an image, and what helps them.
_HINTS: tuple[tuple[tuple[type, ...], str], ...] = (
    # cv2.imread returns None for a file that it can't read.
    ((type(None),), ": check the path that it was read from"),
    ((bytearray, memoryview), ": bytes(content) makes bytes of it"),
    ((io.IOBase,), ": PIL.Image.open makes a picture of PIL"),
    ((Generator,), ": give a list, or call `stream`"),
)


def to_picture(image: ImageLike, color: Color, image_format: str) -> NDArray[Any]:
    """Converts an image to the array that `read_image` returns for a file with the same picture.

    Files, their bytes and pictures of PIL are turned upright as their EXIF data say. They do not need
    `color`.

    Args:
        image: see `ImageLike`.
        color: order of the channels of an array or tensor.
        image_format: a format of `detectron2.data.detection_utils.read_image`, for example "BGR".

    Returns:
        (H, W, channels) picture. It may share memory with the image.

    Raises:
        OSError: see `read_image`.
        ValueError: it is no image, or the file cannot be decoded. The message says what is wanted and what
            was given.
    """
    if color not in get_args(Color):
        raise ValueError(f'color is {color!r}: use "bgr", as OpenCV and Detectron2 do, or "rgb"')
    if isinstance(image, bytes):
        return _read(image, f"the picture of {len(image):,} bytes", image_format)
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        if not isinstance(path, str) or not path:
            raise ValueError(f"{_WANTED}, not the path {path!r}")
        return _read(path, path, image_format)
    picture = image if isinstance(image, Image.Image) else None
    if picture is None:
        array = _checked(_channels_last(image), image)
        if color.upper() == image_format:
            return array
        rgb = array if color == "rgb" else array[:, :, ::-1]
        if image_format == "BGR":
            return rgb[:, :, ::-1]
        picture = Image.fromarray(np.ascontiguousarray(rgb))
    try:
        return to_pixels(picture, image_format)
    except (MemoryError, UnusablePictureError):
        raise
    # PIL decodes it now. A damaged file may make a decoder raise any exception.
    except Exception as error:
        raise DamagedImageError(
            f"the picture of PIL cannot be decoded ({error}): open it again, or another file"
        ) from error


def _read(file: str | bytes, name: str, image_format: str) -> NDArray[Any]:
    """`read_image`, whose errors are about data sets, with errors about one file."""
    try:
        return read_image(file, image_format)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: there is no such file: check the path") from error
    except DamagedImageError as error:
        reason = error.__cause__
        raise DamagedImageError(
            f"{name} cannot be read ({reason}): it is damaged, or no image of a format that Pillow decodes"
        ) from reason


def _channels_last(image: Any) -> NDArray[Any]:
    if isinstance(image, np.ndarray):
        return image
    if not isinstance(image, torch.Tensor):
        hint = next((text for kinds, text in _HINTS if isinstance(image, kinds)), "")
        raise ValueError(f"{_WANTED}, not {type(image).__name__}{hint}")
    if image.ndim == 3 and image.shape[0] != 3 and image.shape[2] == 3:
        raise ValueError(f"{_WANTED}, not a tensor of shape {tuple(image.shape)}: permute(2, 0, 1)")
    try:
        array: NDArray[Any] = image.detach().cpu().numpy()
    # Of a kind that NumPy does not have, such as bfloat16, or without numbers, on the device "meta".
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"{_WANTED}, not a {image.dtype} tensor on the device {image.device} ({error})"
        ) from error
    return array.transpose(1, 2, 0) if array.ndim == 3 else array


def _checked(array: NDArray[Any], given: Any) -> NDArray[np.uint8]:
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size:
        return array
    kind = "a tensor" if isinstance(given, torch.Tensor) else "an array"
    raise ValueError(f"{_WANTED}, not {kind} of shape {tuple(given.shape)} {given.dtype}{_remedy(array)}")


def _remedy(array: NDArray[Any]) -> str:
    """What to do with an array that is not an image: the end of a sentence."""
    if not array.size:
        return " without a pixel"
    if array.dtype.kind not in "uif":
        return ""
    if array.ndim == 4:
        return ": give several images as a list"
    if array.ndim == 1:
        return ": if it is the content of a file, cv2.imdecode reads it"
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            return " with NaN or infinity: find out where they come from"
        if array.min() >= 0 and array.max() <= 1:
            return " from 0 to 1: (255 * image).round(), as uint8"
        return f" from {array.min():g} to {array.max():g}: undo its normalisation, and give 0 to 255 as uint8"
    if array.dtype != np.uint8:
        return f" from {array.min()} to {array.max()}: scale it to 0 to 255 and convert it to uint8"
    if array.ndim == 3 and array.shape[0] == 3:
        return ": image.transpose(1, 2, 0) puts the channels last"
    if array.ndim == 0:
        return ""
    if array.ndim == 2 or array.shape[2] == 1:
        return ": for a grey picture give its channel three times, np.dstack([grey] * 3)"
    if array.shape[2] == 4:
        return ": leave out the transparency, image[:, :, :3]"
    return ""
