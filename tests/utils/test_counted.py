"""Numbers of things in words."""

from reldn_d2.utils.counted import counted


def test_one_thing_is_no_plural() -> None:
    words = [counted(number, "image has", "images have") for number in (0, 1, 2)]
    assert words == ["0 images have", "1 image has", "2 images have"]
