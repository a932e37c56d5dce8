"""Pictures to predict: many small ones, and one that needs more memory than a worker has."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SMALL = (64, 48)
# Just below the largest number of pixels that is read. The file has half a megabyte, its pixels need 530.
_HUGE = (13_300, 13_300)


def write_small_images(folder: Path, count: int) -> None:
    """Writes JPEG files of 64 x 48 pixels with rectangles, named by number. Those that are there stay.

    Args:
        folder: folder for the files.
        count: number of files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        file = folder / f"{number:06d}.jpg"
        if not file.exists():
            _picture(number).save(file)


def _picture(number: int) -> Image.Image:
    generator = np.random.default_rng(number)
    picture = Image.new("RGB", SMALL, tuple(generator.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(3):
        corner = generator.integers(0, (SMALL[0] - 16, SMALL[1] - 16))
        end = corner + generator.integers(8, 16, 2)
        color = tuple(generator.integers(0, 256, 3).tolist())
        draw.rectangle((*corner.tolist(), *end.tolist()), fill=color)
    return picture


def write_huge_image(file: Path) -> None:
    """Writes a PNG file whose pixels, once decoded, need 530 MB for each copy."""
    Image.new("RGB", _HUGE, (90, 120, 150)).save(file, compress_level=9)
