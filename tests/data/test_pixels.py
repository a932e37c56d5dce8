"""Pictures of every mode, depth and orientation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from reldn_d2.data.images import read_image, upright_size
from reldn_d2.data.mapper import NamedFormatsMapper, RelationDatasetMapper
from reldn_d2.data.pixels import UnusablePictureError, to_pixels
from reldn_d2.engine.prediction.pictures import to_picture
from tests.builders.tiny_models import TinyConfig

# All grey values, (1, 256).
RAMP = np.arange(256, dtype=np.uint8)[None]
PHOTOMETRIC, BITS = 262, 258


def save_tiff(numbers: np.ndarray, path: Path, **options: Any) -> None:
    Image.fromarray(numbers).save(path, format="TIFF", **options)


def save_pgm(largest: int) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        numbers = (RAMP.astype(np.uint32) * largest // 255).astype(">u2")
        path.write_bytes(b"P5 256 1 %d\n" % largest + numbers.tobytes())

    return save


def save_twelve_bits(path: Path) -> None:
    """A TIFF file of 12 bits: two numbers in three bytes. PIL writes none, so one of 8 bits is changed."""
    low, high = (RAMP[0, ::2].astype(int) * 4095 // 255, RAMP[0, 1::2].astype(int) * 4095 // 255)
    packed = np.stack([low >> 4, (low & 15) << 4 | high >> 8, high & 255], axis=1).astype(np.uint8)
    save_tiff(packed.reshape(1, -1), path, tiffinfo={BITS: 8})
    content = bytearray(path.read_bytes())
    entries = int.from_bytes(content[4:8], "little")
    for entry in range(
        entries + 2, entries + 2 + 12 * int.from_bytes(content[entries : entries + 2], "little"), 12
    ):
        tag = int.from_bytes(content[entry : entry + 2], "little")
        if tag in (BITS, 256):
            content[entry + 8 : entry + 10] = (12 if tag == BITS else 256).to_bytes(2, "little")
    path.write_bytes(content)


# Files of the ramp with more than 8 bits.
DEEP: dict[str, Callable[[Path], Any]] = {
    "16.png": lambda path: Image.fromarray(RAMP.astype(np.uint16) * 257).save(path),
    "16 upper.png": lambda path: Image.fromarray(RAMP.astype(np.uint16) * 256).save(path),
    "16.tif": lambda path: save_tiff(RAMP.astype(np.uint16) * 257, path),
    "16 big end first.tif": lambda path: Image.fromarray(RAMP.astype(">u2") * 257).save(path),
    "white is zero.tif": lambda path: save_tiff(
        65535 - RAMP.astype(np.uint16) * 257, path, tiffinfo={PHOTOMETRIC: 0}
    ),
    "12.tif": save_twelve_bits,
    "16.pgm": save_pgm(65535),
    "12.pgm": save_pgm(4095),
    "16.jp2": lambda path: Image.fromarray(RAMP.astype(np.uint16) * 257).save(path),
    "31.tif": lambda path: save_tiff(RAMP.astype(np.int32) << 23, path),
    "floats.tif": lambda path: save_tiff(RAMP.astype(np.float32) / 255, path),
}


@pytest.mark.parametrize("name", DEEP)
def test_a_deep_picture_is_the_same_picture_everywhere(
    tmp_path: Path, tiny_config: TinyConfig, name: str
) -> None:
    DEEP[name](tmp_path / name)
    file = {"file_name": str(tmp_path / name), "image_id": 1}
    assert np.array_equal(read_image(file["file_name"], "L")[..., 0], RAMP)
    expected = RAMP[..., None].repeat(3, axis=2)
    assert np.array_equal(read_image(file["file_name"], "BGR"), expected)
    for given in (file["file_name"], Image.open(tmp_path / name)):
        assert np.array_equal(to_picture(given, "bgr", "BGR"), expected)
    mapper = RelationDatasetMapper(True, augmentations=[], image_format="BGR")
    assert np.array_equal(mapper(file)["image"], expected.transpose(2, 0, 1))
    detectors = NamedFormatsMapper(tiny_config(file="detector.yaml"), is_train=False)
    Image.fromarray(RAMP).save(tmp_path / "eight.png")
    assert np.array_equal(
        detectors(file)["image"], detectors({**file, "file_name": str(tmp_path / "eight.png")})["image"]
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (np.array([[0, 300]], np.float32), r"numbers from 0\.0 to 300\.0, and 1 is white, 0 black: scale"),
        (np.array([[-0.5, 1]], np.float32), r"numbers from -0\.5 to 1\.0, and 1 is white"),
        (np.array([[NAN, 1]], np.float32), "1 of its 2 pixels are NaN, which is no number: give each"),
        (np.array([[-1, 2**30]], np.int32), "numbers from -1 to 1073741824, and 2147483647 is white"),
        (np.array([[0, 255]], np.int32), "from 0 to 255, and 2147483647 is white, so all of it is black"),
        (np.array([[0, 200]], np.uint16), "from 0 to 200, and 65535 is white, so all of it is black"),
    ],
)
def test_numbers_without_a_known_range_are_refused(tmp_path: Path, numbers: np.ndarray, message: str) -> None:
    path = tmp_path / "deep.tif"
    save_tiff(numbers, path)
    with pytest.raises(UnusablePictureError, match=rf"deep\.tif can't be used: .*{message}"):
        read_image(str(path), "BGR")
    with pytest.raises(UnusablePictureError, match=message):
        to_picture(Image.fromarray(numbers), "bgr", "BGR")


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_a_black_picture_is_black(kind: type) -> None:
    assert not to_pixels(Image.fromarray(np.zeros((3, 4), kind)), "BGR").any()


# The red of (200, 100, 50) in each mode, and the picture that is read.
COLOUR, GREY = (200, 100, 50), 124
MODES: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "1": (1, (255, 255, 255)),
    "L": (GREY, (GREY,) * 3),
    "LA": ((GREY, 7), (GREY,) * 3),
    "RGB": (COLOUR, COLOUR),
    "RGBA": ((*COLOUR, 7), COLOUR),  # Transparency is left out.
    "RGBX": ((*COLOUR, 7), COLOUR),
    "CMYK": ((55, 155, 205, 0), COLOUR),
    "La": ((62, 128), (123,) * 3),
    "RGBa": ((100, 50, 25, 128), (199, 99, 49)),
    "I;16": (GREY << 8, (GREY,) * 3),
    "I;16L": (GREY << 8, (GREY,) * 3),
    "I;16B": (GREY << 8, (GREY,) * 3),
    "I": (GREY << 23, (GREY,) * 3),
    "F": (GREY / 255, (GREY,) * 3),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_a_meaning(mode: str) -> None:
    given, wanted = MODES[mode]
    picture = Image.new(mode, (2, 3), given)
    rgb, bgr = to_pixels(picture, "RGB"), to_pixels(picture, "BGR")
    assert rgb.shape == (3, 2, 3) and rgb.dtype == np.uint8
    assert (rgb == wanted).all()
    assert (bgr == wanted[::-1]).all()
    assert to_pixels(picture, "L").shape == (3, 2, 1)


@pytest.mark.parametrize("mode", ["P", "PA", "YCbCr", "HSV", "LAB"])
def test_pictures_in_other_colour_spaces_keep_their_colour(mode: str) -> None:
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        to_lab = ImageCms.buildTransform(*reversed(lab), "RGB", "LAB")
        picture = ImageCms.applyTransform(Image.new("RGB", (2, 3), COLOUR), to_lab)
    elif mode == "PA":
        picture = Image.new("RGB", (2, 3), COLOUR).convert("P").convert("PA")
    else:
        picture = Image.new("RGB", (2, 3), COLOUR).convert(mode)
    assert picture is not None and picture.mode == mode
    # P has a palette of few colours.
    assert np.abs(to_pixels(picture, "RGB").astype(int) - COLOUR).max() < 30
    assert to_pixels(picture, "L").shape == (3, 2, 1)


def test_colours_below_transparent_pixels_count(tmp_path: Path) -> None:
    """As for Detectron2 and OpenCV."""
    picture = Image.new("P", (2, 1))
    picture.putpalette([*COLOUR, 1, 2, 3])
    picture.save(tmp_path / "a.png", transparency=0)
    assert (read_image(str(tmp_path / "a.png"), "RGB") == COLOUR).all()


def test_inks_of_adobe_are_turned_over(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (55, 155, 205, 0)).save(tmp_path / "inks.jpg", quality=100)
    assert b"Adobe" in (tmp_path / "inks.jpg").read_bytes()
    assert np.abs(read_image(str(tmp_path / "inks.jpg"), "RGB").astype(int) - COLOUR).max() < 4


@pytest.mark.parametrize("depth", [8, 16])
def test_colours_of_16_bits_keep_their_upper_8(tmp_path: Path, depth: int) -> None:
    numbers = np.array([[COLOUR, (0, 255, 128)]], dtype=np.uint8)
    content = numbers if depth == 8 else (numbers.astype(np.uint16) * 256 + 77).astype(">u2")
    (tmp_path / "a.ppm").write_bytes(b"P6 2 1 %d\n" % (2**depth - 1) + content.tobytes())
    assert np.abs(read_image(str(tmp_path / "a.ppm"), "RGB").astype(int) - numbers).max() <= 1


def test_a_picture_without_a_pixel_is_refused() -> None:
    with pytest.raises(UnusablePictureError, match="it has 0 x 5 pixels"):
        to_pixels(Image.new("RGB", (0, 5)), "BGR")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "webp", "jpg", "tif", "lzw.tif", "16.tif"])
def test_every_format_stands_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    """PIL turns TIFF files itself while it loads them."""
    grey = np.array([[0, 60, 120], [255, 200, 160]], dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    picture = Image.fromarray(grey.astype(np.uint16) << 8 if ending == "16.tif" else grey)
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"photo.{ending}"
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100}, "lzw.tif": {"compression": "tiff_lzw"}}
    picture.save(path, exif=exif, **options.get(ending, {}))
    turned = Image.fromarray(grey)
    turned.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned))
    found = read_image(str(path), "L")[..., 0]
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 2
    assert upright_size(path) == expected.shape[::-1]
