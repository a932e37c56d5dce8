"""Generated damage of picture files: read as a picture of the size that its header tells, or named."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reldn_d2.data.images import read_header, read_image, upright_size

# Name of a file -> mode of its picture.
FILES = {
    **{"a.jpg": "RGB", "a.png": "RGB", "palette.png": "P", "deep.png": "I;16", "a.bmp": "RGB", "a.gif": "P"},
    **{"a.ppm": "RGB", "a.tif": "RGB", "floats.tif": "F", "a.webp": "RGB", "a.tga": "RGB", "a.ico": "RGB"},
    **{"a.pcx": "P", "a.sgi": "RGB", "a.dds": "RGB", "a.jp2": "RGB", "a.qoi": "RGB", "a.avif": "RGB"},
}
# Older versions of PIL lack some.
FILES = {
    name: mode
    for name, mode in FILES.items()
    if Image.registered_extensions().get(Path(name).suffix) in Image.SAVE
}
USUAL = ("a.jpg", "a.png", "deep.png", "a.gif", "floats.tif", "a.webp")


def content(name: str) -> bytes:
    """A file of 32 x 24 pixels. Those that can have EXIF data lie on their side."""
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    match FILES[name]:
        case "I;16":
            picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        case "F":
            picture = Image.fromarray((pixels[..., 0] / 255).astype(np.float32))
        case mode:
            picture = Image.fromarray(pixels).convert(mode)
    exif = Image.Exif()
    exif[274] = 6
    stream = io.BytesIO()
    kind = Image.registered_extensions()[Path(name).suffix]
    options = {"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF") else {}
    picture.save(stream, format=kind, **options)
    return stream.getvalue()


def damaged(whole: bytes, choice: random.Random) -> bytes:
    """The file, cut, with other bytes at the beginning or anywhere, or with a piece replaced."""
    raw = bytearray(whole)
    match choice.randrange(4):
        case 0:
            del raw[choice.randrange(len(raw)) :]
        case 1:
            for _ in range(choice.randint(1, 3)):
                raw[choice.randrange(min(len(raw), 200))] = choice.randrange(256)
        case 2:
            for _ in range(choice.randint(1, 9)):
                raw[choice.randrange(len(raw))] = choice.randrange(256)
        case _:
            start = choice.randrange(len(raw))
            raw[start : start + choice.randint(1, 40)] = choice.randbytes(choice.randint(1, 40))
    return bytes(raw)


def is_read_or_named(path: Path) -> bool:
    """Whether a file is read. Otherwise every function names it.

    Raises:
        AssertionError: it is not named, or what is read is no picture of the size that its header tells.
    """
    try:
        picture = read_image(str(path), "BGR")
    except ValueError as error:
        assert str(path) in str(error)
        picture = None
    for look in (upright_size, read_header):
        try:
            found = look(path)
        except ValueError as error:
            assert picture is None and str(path) in str(error)
        else:
            if picture is not None and look is upright_size:
                assert found == picture.shape[1::-1]
    assert picture is None or (picture.dtype == np.uint8 and picture.ndim == 3 and picture.size)
    return picture is not None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("names", "times"),
    [(USUAL, 25), pytest.param(tuple(FILES), 150, marks=pytest.mark.slow)],
    ids=["usual formats", "all formats"],
)
def test_damage_is_named(names: tuple[str, ...], times: int, tmp_path: Path) -> None:
    choice = random.Random(0)
    read = dict.fromkeys(names, 0)
    for name in names:
        whole = content(name)
        path = tmp_path / name
        path.write_bytes(whole)
        assert is_read_or_named(path)
        for _ in range(times):
            path.write_bytes(damaged(whole, choice))
            read[name] += is_read_or_named(path)
    # Bytes of pixels may be any. Most other damage is named.
    assert sum(read.values()) < 0.7 * times * len(names)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "deep.png", "a.bmp", "a.gif", "a.ppm", "a.tif", "a.webp"])
def test_a_file_that_is_cut_anywhere_is_named(name: str, tmp_path: Path) -> None:
    whole, path = content(name), tmp_path / name
    for share in np.linspace(0, 0.98, 15):
        path.write_bytes(whole[: int(share * len(whole))])
        assert not is_read_or_named(path)
