"""Notes on picture files: turned by EXIF data, listed twice, shared with another data set."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reldn_d2.data.checking import pictures
from reldn_d2.data.checking.pictures import first_uses, picture_notes, shared_pictures
from reldn_d2.data.checking.unchecked_arrays import UncheckedArrays, unchecked_arrays
from reldn_d2.data.images import read_image


def photo(path: Path, seed: int, orientation: int = 1, side: int = 24) -> str:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)
    return str(path)


def arrays(files: Sequence[str]) -> UncheckedArrays:
    return unchecked_arrays(
        [
            {"file_name": f, "image_id": i, "width": 24, "height": 24, "annotations": [], "relations": []}
            for i, f in enumerate(files)
        ]
    )


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_every_picture_that_is_read_in_another_way_than_the_file_has_it_is_noted(
    tmp_path: Path, ending: str
) -> None:
    files = [photo(tmp_path / f"{number}.{ending}", 5, number) for number in range(1, 9)]
    (problem,) = picture_notes(arrays(files))
    assert (problem.kind, problem.is_error, problem.count) == ("turned_picture", False, 7)
    assert problem.images.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert str(problem.records[1]) == f"image 2: {files[2]} is turned by 180 degrees"
    plain = read_image(files[0], "RGB")
    assert all((read_image(file, "RGB") != plain).any() for file in files[1:])


@pytest.mark.parametrize("orientation", [0, 9, 4711])
def test_orientations_that_mean_nothing_are_no_note(tmp_path: Path, orientation: int) -> None:
    assert picture_notes(arrays([photo(tmp_path / "a.jpg", 1, orientation)])) == []


def test_files_of_several_pictures_are_noted(tmp_path: Path) -> None:
    one, other = (Image.new("L", (24, 24), shade) for shade in (50, 90))
    one.save(tmp_path / "one.gif")
    for ending in ("gif", "tif", "webp", "png"):
        one.save(tmp_path / f"two.{ending}", save_all=True, append_images=[other])
    names = ["one.gif", "two.gif", "two.tif", "two.webp", "two.png"]
    (problem,) = picture_notes(arrays([str(tmp_path / name) for name in names]))
    assert (problem.kind, problem.is_error, problem.images.tolist()) == (
        "several_pictures",
        False,
        [1, 2, 3, 4],
    )
    assert str(problem.records[0]) == f"image 1: {tmp_path / 'two.gif'}"


def test_very_thin_pictures_are_noted(tmp_path: Path) -> None:
    dicts: list[dict[str, Any]] = [
        {"file_name": str(tmp_path / f"{i}.png"), "image_id": i, "width": width, "height": height}
        for i, (width, height) in enumerate([(8000, 3), (3, 8000), (3000, 3), (24, 24)])
    ]
    found = unchecked_arrays([{**x, "annotations": [], "relations": []} for x in dicts])
    (problem,) = picture_notes(found)
    assert (problem.kind, problem.images.tolist()) == ("thin_picture", [0, 1])
    assert str(problem.records[0]) == f"image 0: {tmp_path / '0.png'} has 8000 x 3 pixels"


def test_copies_under_other_names_are_noted(tmp_path: Path) -> None:
    one, two = photo(tmp_path / "one.png", 1), photo(tmp_path / "two.png", 2)
    copy, linked = str(tmp_path / "copy.png"), str(tmp_path / "linked.png")
    shutil.copy(one, copy)
    os.symlink(two, linked)
    other_way = os.path.join(tmp_path, ".", "one.png")
    (problem,) = picture_notes(arrays([one, two, copy, linked, other_way]))
    assert (problem.kind, problem.is_error) == ("same_picture", False)
    assert problem.images.tolist() == [2, 3, 4]
    assert str(problem.records[0]) == f"image 2: {copy} has the bytes of {one}"


def test_files_of_one_size_or_one_end_are_not_the_same(tmp_path: Path) -> None:
    contents = [b"a" + b"x" * 9000, b"b" + b"x" * 9000, b"a" + b"y" * 9000, b"a" + b"x" * 9000, b""]
    files = [str(tmp_path / str(i)) for i in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        Path(file).write_bytes(content)
    files += [str(tmp_path / "missing"), "", str(tmp_path)]
    assert first_uses(files)[:7].tolist() == [0, 1, 2, 0, 4, -1, -1]


def test_only_files_that_may_be_the_same_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(pictures, "_digest", lambda file: read.append(file))
    files = [str(tmp_path / str(i)) for i in range(6)]
    for i, file in enumerate(files):
        Path(file).write_bytes(b"%d" % i * (1 + i // 2) * 10_000)
    shutil.copy(files[0], files[1])
    first_uses(files)
    assert sorted(read) == files[:2]


def test_pictures_of_two_data_sets_are_compared(tmp_path: Path) -> None:
    train = [photo(tmp_path / "train" / f"{i}.png", i) for i in range(3)]
    test = [photo(tmp_path / "test" / f"{i}.png", 10 + i) for i in range(3)]
    assert shared_pictures(arrays(test), "party_train", train, read=True) == []
    shutil.copy(train[2], test[1])
    (problem,) = shared_pictures(arrays(test), "party_train", train, read=True)
    assert (problem.kind, problem.about, problem.is_error) == ("shared_picture", "with party_train", False)
    assert problem.images.tolist() == [1]
    assert str(problem.records[0]) == f"image 1: {test[1]} is {train[2]} of party_train"
    assert shared_pictures(arrays(test), "party_train", train, read=False) == []
    (problem,) = shared_pictures(arrays([*test, train[0]]), "party_train", train, read=False)
    assert problem.images.tolist() == [3]
