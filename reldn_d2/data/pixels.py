"""What the numbers of a picture mean: pictures of PIL in any mode, as arrays of 8 bits that stand upright.

docs/predict.md has a table of all modes.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from detectron2.data import detection_utils as utils
from numpy.typing import NDArray
from PIL import Image

# Numbers of tags of EXIF data and TIFF files, and two of their values.
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLE_FORMAT = 256, 257, 258, 262, 274, 339
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# These orientations exchange width and height.
_ON_ITS_SIDE = (5, 6, 7, 8)
# PIL converts these modes to few others: mode -> a mode on the way to all others.
_ON_THE_WAY = {"La": "LA", "RGBa": "RGBA", "LAB": "RGB", "HSV": "RGB"}
# Some versions of PIL read pictures of 16 bits in these formats as mode "I".
_SIXTEEN_BITS = ("PNG", "PPM", "JPEG2000")
# Formats of animations and pages. Others have previews, layers or sizes of one picture.
_SEVERAL_PICTURES = ("GIF", "PNG", "WEBP", "TIFF", "AVIF", "DCX")


class UnusablePictureError(ValueError):
    """A picture is whole, but can't be used: it has too many pixels, or numbers without a known range.

    Attributes:
        reason: what is wrong and what helps, without the name of the file.
    """

    def __init__(self, reason: str, file_name: str | os.PathLike[str] | None = None) -> None:
        named = "" if file_name is None else f"Image {os.fspath(file_name)} can't be used: "
        super().__init__(f"{named}{reason}")
        self.reason = reason


def to_pixels(image: Image.Image, image_format: str) -> NDArray[np.uint8]:
    """The pixels of a picture, turned upright as its EXIF data say.

    Args:
        image: picture in any mode; of several pictures in a file, the one that it stands at.
        image_format: a format of `detectron2.data.detection_utils.read_image`, for example "BGR".

    Returns:
        (H, W, channels) picture. BGR is contiguous and may be written to.

    Raises:
        UnusablePictureError: the picture has no pixel, or numbers without a known range.
        OSError, ValueError: PIL can't decode it. For a damaged file it may raise other errors, too.
    """
    if not image.width or not image.height:
        raise UnusablePictureError(f"it has {image.width} x {image.height} pixels")
    # TIFF files are turned while they are loaded. Then their EXIF data tell no orientation any more.
    image.load()
    turn = _TURNS.get(orientation(image))
    eight_bits = _eight_bits(image)
    return _converted(eight_bits if turn is None else eight_bits.transpose(turn), image_format)


def orientation(image: Image.Image) -> int:
    """The orientation that a picture's EXIF data tell, 2 to 8, or 1 if it stands upright."""
    try:
        told = image.getexif().get(_ORIENTATION)
    # Damaged EXIF data may raise any error. The picture itself may be whole.
    except Exception:
        return 1
    return told if told in _TURNS else 1


def upright_size_of(image: Image.Image) -> tuple[int, int]:
    """(width, height) of the picture that `to_pixels` will return. Only the header of the file is read."""
    # PIL may have exchanged the two for a TIFF file on its side.
    tags = _tiff_tags(image)
    width, height = tags.get(_WIDTH, image.width), tags.get(_HEIGHT, image.height)
    return (height, width) if orientation(image) in _ON_ITS_SIDE else (width, height)


def has_more_pictures(image: Image.Image) -> bool:
    """Whether the file of a picture holds an animation or pages. Only the first picture is read."""
    try:
        return image.format in _SEVERAL_PICTURES and bool(getattr(image, "is_animated", False))
    # What comes behind the first picture may be damaged, and raise any error.
    except Exception:
        return False


def _tiff_tags(image: Image.Image) -> Mapping[int, Any]:
    return image.tag_v2 if image.format == "TIFF" else {}  # type: ignore[attr-defined]


def _eight_bits(image: Image.Image) -> Image.Image:
    """The same picture with 8 bits a channel. PIL itself would make larger numbers white.

    Raises:
        UnusablePictureError: the numbers have no known range, or all would become black.
    """
    white: float
    if image.mode == "F":
        numbers, white, scale = np.asarray(image), 1, 256.0
    elif image.mode.startswith("I"):
        numbers, bits = _whole_numbers(image)
        white, scale = 2**bits - 1, 2.0 ** (8 - bits)
    else:
        return image
    missing = np.isnan(numbers).sum()
    if missing:
        raise UnusablePictureError(
            f"{missing:,} of its {numbers.size:,} pixels are NaN, which is no number: give each a number"
        )
    low, high = numbers.min(), numbers.max()
    found = f"its pixels are numbers from {low} to {high}, and {white} is white"
    remedy = "scale them to this range, or save the picture with 8 bits"
    if low < 0 or high > white:
        raise UnusablePictureError(f"{found}, 0 black: {remedy}")
    # The upper 8 bits: 256 steps of the same width.
    eight = np.minimum(numbers * scale, 255).astype(np.uint8)
    if high > 0 and not eight.any():
        raise UnusablePictureError(f"{found}, so all of it is black: {remedy}")
    white_is_zero = _tiff_tags(image).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    return Image.fromarray(255 - eight if white_is_zero else eight)


def _whole_numbers(image: Image.Image) -> tuple[NDArray[Any], int]:
    """(H, W) numbers of a picture of 16 or 32 bits, and the bits of the largest number that it can have."""
    numbers, tags = np.asarray(image), _tiff_tags(image)
    bits = int(tags.get(_BITS, (0,))[0])
    if image.mode != "I":
        return numbers.astype(np.uint16), bits or 16
    if image.format in _SIXTEEN_BITS:
        return numbers, 16
    bits = bits or 32
    unsigned = image.format == "TIFF" and tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED
    return (numbers.view(np.uint32), bits) if unsigned else (numbers, bits - 1)


def _converted(image: Image.Image, image_format: str) -> NDArray[np.uint8]:
    """The array of Detectron2's `convert_PIL_to_numpy`; BGR is contiguous and may be written to.

    Detectron2's BGR is a view with its channels in reverse, which PIL copies slowly to resize a picture.
    """
    if image.mode in _ON_THE_WAY:
        image = image.convert(_ON_THE_WAY[image.mode])
    if image_format != "BGR":
        array: NDArray[np.uint8] = utils.convert_PIL_to_numpy(image, image_format)
        return array
    rgb = image.convert("RGB")
    pixels = np.frombuffer(rgb.tobytes("raw", "BGR"), dtype=np.uint8)
    return pixels.reshape(rgb.height, rgb.width, 3).copy()
