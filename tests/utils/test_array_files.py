"""Files of arrays come back as they were written, or are named."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from reldn_d2.utils.array_files import read_arrays, write_arrays

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "names": np.array(["x", "\U0001f600"]),
    "none": np.zeros((0, 4)),
    "yes": np.array(True),
    "format_version": np.array(3),
}


def read(path: Path) -> dict[str, np.ndarray]:
    return read_arrays(path, ("a",), what="toy file", remedy="make it again", version=3)


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_back(compressed: bool, tmp_path: Path) -> None:
    write_arrays(tmp_path / "x.npz", ARRAYS, compressed=compressed)
    found = read(tmp_path / "x.npz")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_other_contents_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for arrays, message in (
        ({**ARRAYS, "format_version": np.array(4)}, "format version 4, not 3; make it again"),
        ({"format_version": np.array(4)}, r"4, not 3, and it lacks the array 'a', so it may be no toy file;"),
        (
            {"format_version": np.array(3)},
            r"not a complete toy file \(it lacks the array 'a'\); make it again",
        ),
        ({**ARRAYS, "sha256": np.array("0")}, "changed or damaged after it was written"),
        (
            {**ARRAYS, "bad": np.array([0x110000], dtype=np.uint32).view("U1")},
            "the array 'bad' holds no text",
        ),
        ({**ARRAYS, "bad": np.array([{}])}, "not a complete toy file"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=message) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")


def test_an_array_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_arrays(path, ARRAYS)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.npy", archive.read("a.npy"))
    with pytest.raises(ValueError, match="it has the array 'a' twice"):
        read(path)


def test_a_header_that_hides_a_part_of_the_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=ARRAYS["a"], format_version=np.array(3))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content.replace(b"(2, 3)", b"(1, 3)"))
    with pytest.raises(ValueError, match="something follows the array 'a'"):
        read(path)
