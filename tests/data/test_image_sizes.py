import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reldn_d2.data import images as image_files
from reldn_d2.data.images import cache_folder, find_images, image_sizes

Opened = list[str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Names of the pictures whose headers are read from now on."""
    names: Opened = []
    read: Callable[[str], tuple[int, int]] = image_files.upright_size

    def counting(path: str) -> tuple[int, int]:
        names.append(Path(path).name)
        return read(path)

    monkeypatch.setattr(image_files, "upright_size", counting)
    return names


def save(folder: Path, sizes: dict[str, tuple[int, int]]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, size in sizes.items():
        Image.new("L", size).save(folder / name)
    return [folder / name for name in sizes]


def cache_files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_sizes_come_in_the_order_of_the_paths_whatever_their_folders(tmp_path: Path) -> None:
    first = save(tmp_path / "one", {"a.jpg": (3, 4), "b.png": (5, 6)})
    second = save(tmp_path / "two", {"a.jpg": (7, 8)})
    sizes = image_sizes([first[1], second[0], first[0], second[0]])
    assert sizes.tolist() == [[5, 6], [7, 8], [3, 4], [7, 8]]
    assert sizes.dtype == np.int64


def test_no_paths_give_no_sizes() -> None:
    assert image_sizes([]).shape == (0, 2)


def test_rotated_pictures_are_measured_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    for _ in range(2):
        assert image_sizes([tmp_path / "a.jpg"]).tolist() == [[20, 30]]


def test_a_picture_is_opened_once(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paths = save(tmp_path / "images", {"a.jpg": (3, 4), "b.jpg": (5, 6)})
    image_sizes(paths[:1])
    assert image_sizes(paths).tolist() == [[3, 4], [5, 6]]
    assert image_sizes(paths[::-1]).tolist() == [[5, 6], [3, 4]]
    monkeypatch.chdir(tmp_path)
    assert image_sizes(["images/a.jpg", "images/b.jpg"]).tolist() == [[3, 4], [5, 6]]
    assert sorted(opened) == ["a.jpg", "b.jpg"]
    assert not caplog.records


def test_folders_do_not_share_sizes(tmp_path: Path) -> None:
    one, other = (
        save(tmp_path / name, {"a.jpg": (width, 4)})[0] for name, width in (("one", 3), ("other", 5))
    )
    for path in (one, other):
        os.utime(path, ns=(10**9, 10**9))
    assert image_sizes([one]).tolist() == [[3, 4]]
    assert image_sizes([other]).tolist() == [[5, 4]]


@pytest.mark.parametrize("later", ["a new time", "a new length"])
def test_a_changed_picture_is_measured_again(tmp_path: Path, opened: Opened, later: str) -> None:
    path, other = save(tmp_path, {"a.bmp": (8, 4), "b.bmp": (3, 3)})
    before = path.stat()
    image_sizes([path, other])
    if later == "a new time":
        save(tmp_path, {"a.bmp": (4, 8)})
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        expected = [4, 8]
        assert path.stat().st_size == before.st_size
    else:
        save(tmp_path, {"a.bmp": (40, 8)})
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        expected = [40, 8]
    assert image_sizes([path, other]).tolist() == [expected, [3, 3]]
    assert image_sizes([path, other]).tolist() == [expected, [3, 3]]
    assert sorted(opened) == ["a.bmp", "a.bmp", "b.bmp"]


def test_sizes_read_before_an_error_are_not_read_again(tmp_path: Path, opened: Opened) -> None:
    paths = save(tmp_path, {f"{i}.png": (i + 1, 9) for i in range(6)})
    paths[4].write_text("no picture")
    with pytest.raises(ValueError, match=r"4\.png cannot be read"):
        image_sizes(paths)
    opened.clear()
    save(tmp_path, {"4.png": (5, 9)})
    assert image_sizes(paths).tolist() == [[i + 1, 9] for i in range(6)]
    assert {"0.png", "1.png", "2.png", "3.png"}.isdisjoint(opened)


def test_sizes_are_saved_on_the_way(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []

    def saving(path: Path, known: dict[str, tuple[int, int, int, int]]) -> None:
        saved.append(len(known))

    monkeypatch.setattr(image_files, "_SAVE_EVERY", 2)
    monkeypatch.setattr(image_files, "_write_cache", saving)
    image_sizes(save(tmp_path, {f"{i}.png": (i + 1, 9) for i in range(5)}))
    assert saved == [2, 4, 5]


def test_the_cache_is_not_written_without_new_sizes(tmp_path: Path, cache: Path) -> None:
    paths = save(tmp_path, {"a.jpg": (3, 4)})
    image_sizes(paths)
    (file,) = cache_files(cache)
    file.chmod(0o444)
    before = file.stat()
    image_sizes(paths)
    assert file.stat().st_ino == before.st_ino


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04", None])
def test_a_damaged_cache_is_made_again(
    tmp_path: Path, cache: Path, opened: Opened, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    paths = save(tmp_path, {"a.jpg": (3, 4)})
    image_sizes(paths)
    (file,) = cache_files(cache)
    if content is None:
        np.savez(file, names=np.array(["a.jpg"]))
    else:
        file.write_bytes(content)
    assert image_sizes(paths).tolist() == [[3, 4]]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"{file} of the cache cannot be read" in caplog.text
    caplog.clear()
    assert image_sizes(paths).tolist() == [[3, 4]]
    assert not caplog.records
    assert len(opened) == 2


def test_without_a_cache_sizes_are_read_with_a_warning(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file where the folder should be")
    paths = save(tmp_path, {"a.jpg": (3, 4)})
    assert image_sizes(paths).tolist() == [[3, 4]]
    assert "cannot be written" in caplog.text


def test_several_threads_may_read_the_same_folder_at_once(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = save(tmp_path / "images", {f"{i}.png": (i + 1, 9) for i in range(20)})
    parts = [paths[start : start + 10] for start in range(0, 11, 2)] * 3
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(image_sizes, parts))
    for part, sizes in zip(parts, found, strict=True):
        assert sizes.tolist() == [[int(path.stem) + 1, 9] for path in part]
    assert image_sizes(paths).tolist() == [[i + 1, 9] for i in range(20)]
    assert not caplog.records
    assert len(cache_files(cache)) == 1


def test_a_removed_picture_is_named(tmp_path: Path) -> None:
    paths = save(tmp_path, {"a.jpg": (3, 4)})
    image_sizes(paths)
    paths[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.jpg does not exist"):
        image_sizes(paths)


def test_all_pictures_that_cannot_be_read_are_counted_and_the_others_kept(
    tmp_path: Path, cache: Path, opened: Opened
) -> None:
    paths = save(tmp_path, {f"{letter}.jpg": (3, 4) for letter in "abcdefghij"})
    for path in paths[1:9]:
        path.write_text("no picture")
    with pytest.raises(
        ValueError, match=r"b\.jpg cannot be read.* This concerns 8 of 10 images, such as c\.jpg, .*g\.jpg\.$"
    ):
        image_sizes(paths)
    assert len(opened) == 10
    assert image_sizes([paths[0], paths[9]]).tolist() == [[3, 4], [3, 4]]
    assert len(opened) == 10


def test_images_are_found_in_the_first_folder_that_has_them(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    save(one, {"a.jpg": (1, 1)})
    save(two, {"a.jpg": (1, 1), "b.jpg": (1, 1)})
    found = find_images(["b.jpg", "a.jpg"], [one, two, tmp_path / "nowhere"], "list.csv")
    assert [*found.items()] == [("b.jpg", two / "b.jpg"), ("a.jpg", one / "a.jpg")]


def test_missing_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    save(tmp_path, {"b.jpg": (1, 1)})
    with pytest.raises(
        FileNotFoundError,
        match=r"list\.csv: image 'a\.jpg': .* has no such file; .* 2 of 3 images\. .* 1 more: image 'c\.jpg'",
    ):
        find_images(["b.jpg", "a.jpg", "c.jpg"], [tmp_path], "list.csv")


def test_another_suffix_is_accepted_only_if_asked(tmp_path: Path) -> None:
    save(tmp_path, {"a.png": (1, 1)})
    with pytest.raises(FileNotFoundError, match="no such file"):
        find_images(["a.jpg"], [tmp_path], "list.csv")
    assert find_images(["a.jpg"], [tmp_path], "list.csv", other_endings=True) == {"a.jpg": tmp_path / "a.png"}


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/reldn_d2")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "reldn_d2"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "reldn_d2"
