from pathlib import Path

import cv2
import numpy as np
import pytest

from reldn_d2.visualization.images import check_image, encode_image, write_png

IMAGE = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)


def test_a_png_file_gives_the_same_pixels_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "image.png"
    write_png(IMAGE, path)
    assert (cv2.imread(str(path))[..., ::-1] == IMAGE).all()


def test_wrong_arrays_are_named() -> None:
    for wrong in (IMAGE[..., 0], IMAGE[..., :2], IMAGE.astype(float)):
        with pytest.raises(ValueError, match="the drawing must be"):
            check_image(wrong, "the drawing")
    with pytest.raises(ValueError, match=r"the drawing of size \(0, 9, 3\) can't be encoded as png"):
        encode_image(IMAGE[:0], "png", "the drawing")
