import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image as detectron2_read_image
from PIL import EpsImagePlugin, Image

from reldn_d2.data.images import DamagedImageError, byte_limit, read_header, read_image, upright_size
from reldn_d2.data.mapper import NamedFormatsMapper
from reldn_d2.data.pixels import UnusablePictureError
from tests.builders.tiny_models import TinyConfig


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_the_header_tells_the_size_that_reading_gives(tmp_path: Path, orientation: int | None) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    height, width, _ = read_image(str(path), "BGR").shape
    assert upright_size(path) == (width, height)
    assert (width, height) == ((20, 30) if orientation in (5, 6, 7, 8) else (30, 20))


def test_channels_are_in_the_order_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (2, 2), (1, 2, 3)).save(path)
    assert read_image(str(path), "RGB")[0, 0].tolist() == [1, 2, 3]
    bgr = read_image(str(path), "BGR")
    assert bgr[0, 0].tolist() == [3, 2, 1]
    # A view with its channels in reverse makes resizing slow.
    assert bgr.flags.c_contiguous and bgr.flags.writeable


def test_missing_files_are_named_with_the_folder_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "sets"))
    folder = tmp_path / "photos"
    for path, remedy in (
        (tmp_path / "sets" / "vrd" / "lost.jpg", f"Check DETECTRON2_DATASETS, which is {tmp_path / 'sets'}"),
        (folder / "lost.jpg", f"Its folder {folder} does not exist either: check the image folder"),
        (tmp_path / "lost.jpg", f"Its folder {tmp_path} is there, but has no such file: .*--image-root"),
    ):
        for read in (lambda p=path: read_image(str(p), "BGR"), lambda p=path: upright_size(p)):
            with pytest.raises(FileNotFoundError, match=rf"lost\.jpg does not exist\. {remedy}"):
                read()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "noise.jpg"
    path.write_bytes(np.random.default_rng(0).bytes(500))
    for read in (lambda: read_image(str(path), "BGR"), lambda: upright_size(path)):
        with pytest.raises(ValueError, match=r"noise\.jpg cannot be read"):
            read()


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("read", [lambda path: read_image(str(path), "BGR"), upright_size])
def test_an_image_of_absurd_size_is_named_and_the_user_says_what_is_absurd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "bomb.png"
    Image.new("RGB", (30, 20)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    named = (
        r"bomb\.png can't be used: .* more than {} pixels.* set the environment variable RELDN_D2_MAX_PIXELS"
    )
    with pytest.raises(UnusablePictureError, match=named.format(200)):
        read(path)
    monkeypatch.setenv("RELDN_D2_MAX_PIXELS", "599")
    with pytest.raises(UnusablePictureError, match=named.format(599)):
        read(path)
    monkeypatch.setenv("RELDN_D2_MAX_PIXELS", "600")
    read(path)
    for wrong in ("0", "many", "-5", "1e9"):
        monkeypatch.setenv("RELDN_D2_MAX_PIXELS", wrong)
        with pytest.raises(ValueError, match=f"RELDN_D2_MAX_PIXELS is '{wrong}': give the largest number"):
            read(path)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_picture_with_damaged_exif_data_is_read(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (30, 20)).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_image(str(path), "BGR").shape == (20, 30, 3)
    assert upright_size(path) == (30, 20)


def test_whatever_a_decoder_raises_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AVIF's decoder, for example, raises a RuntimeError."""
    path = tmp_path / "photo.png"
    Image.new("L", (3, 2)).save(path)

    def fails(*_: object) -> None:
        raise RuntimeError("no planes")

    monkeypatch.setattr("reldn_d2.data.images._opened", fails)
    for read in (lambda: read_image(str(path), "BGR"), lambda: upright_size(path)):
        with pytest.raises(DamagedImageError, match=r"photo\.png cannot be read \(no planes\)"):
            read()


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_of_several_pictures_the_first_is_read(tmp_path: Path, ending: str) -> None:
    one, other = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    one.save(tmp_path / f"one.{ending}")
    one.save(tmp_path / f"two.{ending}", save_all=True, append_images=[other])
    assert not read_header(tmp_path / f"one.{ending}").has_more_pictures
    assert read_header(tmp_path / f"two.{ending}").has_more_pictures
    assert read_image(str(tmp_path / f"two.{ending}"), "RGB")[0, 0].tolist() == pytest.approx(
        [255, 0, 0], abs=3
    )


# A program in PostScript, which PIL gives to Ghostscript.
EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


def test_no_other_program_decodes_a_picture(
    tmp_path: Path, tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started")
    )
    path = tmp_path / "photo.jpg"
    path.write_text(EPS)
    picture = {"file_name": str(path), "image_id": 1}
    good = tmp_path / "good.png"
    Image.new("L", (60, 40)).save(good)
    mapper = NamedFormatsMapper(tiny_config(file="detector.yaml"), is_train=True)
    for read in (
        lambda: read_image(str(path), "BGR"),
        lambda: upright_size(path),
        lambda: mapper(picture),
        lambda: mapper({**picture, "file_name": str(good), "sem_seg_file_name": str(path)}),
    ):
        with pytest.raises(ValueError, match=r"photo\.jpg cannot be read .* replace it"):
            read()
    assert mapper({**picture, "file_name": str(good)})["image"].shape[0] == 3


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "gif", "ppm", "tif", "webp", "tga"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_usual_formats_are_read_as_detectron2_reads_them(tmp_path: Path, ending: str, mode: str) -> None:
    path = tmp_path / f"a.{ending}"
    pixels = np.random.default_rng(0).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    disguised = path.rename(tmp_path / "a.eps")  # the content counts
    for image_format in ("BGR", "RGB", "L"):
        expected = detectron2_read_image(str(disguised), image_format)
        np.testing.assert_array_equal(read_image(str(disguised), image_format), expected)
    assert upright_size(disguised) == (5, 6)


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    """Opening it would wait for ever."""
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DamagedImageError, match=r"a\.png cannot be read \(it is a pipe or a device"):
        read_image(str(tmp_path / "a.png"), "BGR")


# --- encoded bytes


def _with_exif(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


WRITERS: dict[str, Callable[[Path], None]] = {
    "turned.jpg": _with_exif,
    "palette.gif": lambda path: Image.radial_gradient("L").convert("P").save(path),
    "deep.png": lambda path: Image.fromarray(np.arange(60000, dtype=np.uint16).reshape(200, 300)).save(path),
    "transparent.webp": lambda path: Image.new("RGBA", (30, 20), (200, 10, 30, 90)).save(path),
    "cmyk.tif": lambda path: Image.new("CMYK", (30, 20), (200, 10, 30, 90)).save(path),
    "no_mark.tga": lambda path: Image.radial_gradient("L").convert("RGB").save(path),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("image_format", ["BGR", "RGB", "L"])
def test_the_bytes_of_a_file_give_the_pixels_of_the_file(
    tmp_path: Path, name: str, image_format: str
) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    from_file, from_bytes = read_image(str(path), image_format), read_image(path.read_bytes(), image_format)
    assert np.array_equal(from_file, from_bytes) and from_file.shape == from_bytes.shape
    assert from_bytes.flags.writeable == from_file.flags.writeable


def test_bytes_are_refused_as_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    Image.effect_noise((80, 60), 90).save(path)
    content = path.read_bytes()
    for damaged in (b"", b"a text", content[:1000]):
        with pytest.raises(
            DamagedImageError, match=rf"Image of {len(damaged):,} bytes cannot be read \("
        ) as e:
            read_image(damaged, "BGR")
        assert len(str(e.value)) < 300
    path = tmp_path / "program.jpg"
    Image.new("RGB", (8, 8)).save(path, format="EPS")
    with pytest.raises(DamagedImageError):
        read_image(path.read_bytes(), "BGR")
    monkeypatch.setenv("RELDN_D2_MAX_PIXELS", "4799")
    with pytest.raises(UnusablePictureError, match=r"80 x 60 are more than 4,799 pixels"):
        read_image(content, "BGR")


def test_two_runs_say_the_same_of_bytes_that_are_no_picture() -> None:
    """PIL says where the bytes are in memory, which would make rows of results differ."""
    with pytest.raises(DamagedImageError) as stopped:
        read_image(b"no picture", "BGR")
    assert str(stopped.value.__cause__) == "cannot identify image file"


def test_the_limit_of_bytes_leaves_room_for_the_largest_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert byte_limit() > 4 * 178_956_970
    monkeypatch.setenv("RELDN_D2_MAX_PIXELS", "1000")
    assert 10**6 < byte_limit() < 10**8
