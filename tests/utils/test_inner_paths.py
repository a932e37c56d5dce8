"""Which names may lead out of a folder."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.utils.inner_paths import inner_path, names_outside, short_file_name

OUTSIDE = [
    *(
        "..",
        "../a.jpg",
        "a/../../b.jpg",
        "a/..",
        "/etc/passwd",
        "//host/share/a.jpg",
        "~",
        "~/a.jpg",
        "~root/a.jpg",
    ),
    *("..\\a.jpg", "a\\b.jpg", "\\a.jpg", "C:\\a.jpg", "c:a.jpg", "C:/a.jpg", "\\\\host\\share\\a.jpg"),
    *("http://127.0.0.1/a.jpg", "file:///etc/passwd", "s3://b/a.jpg", "a\0.jpg"),
]
INSIDE = [
    *(
        "a.jpg",
        "2024/05/a.jpg",
        "./a.jpg",
        "a..jpg",
        "..a.jpg",
        "a../b.jpg",
        ".../a.jpg",
        "a~.jpg",
        "a/~b.jpg",
    ),
    *(
        "12:30.jpg",
        "사진/컵.jpg",
        "<b>.jpg",
        "=1+1.jpg",
        " a.jpg",
        "a b.jpg",
        "-.jpg",
        "a//b.jpg",
        "\x1b.jpg",
    ),
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out(name: str) -> None:
    assert names_outside(["a.jpg", name, "b.jpg", name]) == [1, 3]
    with pytest.raises(ValueError, match=r"data set .* leads out of the folder out, .* choose a name"):
        inner_path("out", name, "data set")


@pytest.mark.parametrize("name", INSIDE)
def test_names_that_stay(name: str) -> None:
    assert names_outside([name]) == []
    assert inner_path("out", name, "data set") == Path("out") / name


@given(
    st.lists(
        st.sampled_from(["..", ".", "a", "~", "c:", "/", "\\", "//", "b.jpg", "\0", "http:"]), max_size=6
    )
)
def test_what_stays_is_below_the_folder_in_any_system(parts: list[str]) -> None:
    name = "".join(parts)
    if names_outside([name]):
        return
    assert os.path.normpath(os.path.join("/root/images", name)).startswith("/root/images")
    windows = PureWindowsPath(name)
    assert (
        not PurePosixPath(name).is_absolute()
        and not windows.drive
        and not windows.root
        and ".." not in windows.parts
    )


@pytest.mark.parametrize("name", ["n" * 250, "컵" * 85, "\udcff" * 210, "n" * 201])
def test_long_names_get_room_and_stay_different(name: str) -> None:
    short = short_file_name(name)
    assert len(os.fsencode(short)) <= 200 and short.startswith(name[:20].replace("\udcff", ""))
    assert short != short_file_name(name[:-1] + "x")
    assert short_file_name("n" * 200) == "n" * 200
