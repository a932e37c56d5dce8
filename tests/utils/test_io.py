from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.utils.io import atomic_write, check_sha256, digest, file_digest


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.bin"
    with atomic_write(target) as stream:
        stream.write(b"content")
        assert not target.exists()
    assert target.read_bytes() == b"content"
    assert list(target.parent.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(target) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_others_may_read_the_file_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with atomic_write(tmp_path / "ours"):
        pass
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_digest_is_that_of_the_same_parts() -> None:
    parts = ["ab", b"c", np.arange(3)]
    assert digest(parts) == digest(iter(["ab", b"c", np.arange(3)]))
    assert len(digest(parts)) == 64 and int(digest(parts), 16) >= 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["ab"], ["a", "b"]),
        (["a", "b"], ["b", "a"]),
        (["a"], ["a", ""]),
        ([], [""]),
        ([np.zeros(2)], [np.zeros(1), np.zeros(1)]),
        ([np.zeros(4)], [np.zeros((2, 2))]),
        ([np.zeros((0, 4))], [np.zeros((0, 3))]),
        ([np.zeros(2, dtype=np.int64)], [np.zeros(2)]),
        ([np.zeros(4, dtype=np.int32)], [np.zeros(2, dtype=np.int64)]),
        ([np.array([1, 2])], [np.array([2, 1])]),
        ([np.arange(6).reshape(2, 3)], [np.arange(6).reshape(3, 2).T]),
        ([np.frombuffer(b"abc", dtype=np.uint8)], [b"abc"]),
        (["text 1 a"], ["a", "text 1 a"]),
        # a separator without the length would not distinguish these
        (["a", "b"], ["atext b"]),
    ],
)
def test_other_parts_give_another_digest(one: list[Any], other: list[Any]) -> None:
    assert digest(one) != digest(other)


def test_how_an_array_lies_in_memory_does_not_matter() -> None:
    array = np.arange(12).reshape(3, 4)
    assert digest([np.asfortranarray(array)]) == digest([array]) == digest([np.repeat(array, 2, 0)[::2]])


parts = st.lists(st.one_of(st.text("ab ", max_size=3), st.binary(max_size=3)), max_size=3)


@given(parts, parts)
def test_only_equal_lists_of_texts_have_equal_digests(one: list[Any], other: list[Any]) -> None:
    def data(given: list[Any]) -> list[bytes]:
        return [part.encode() if isinstance(part, str) else part for part in given]

    assert (digest(one) == digest(other)) == (data(one) == data(other))


def test_the_digest_of_a_file_is_that_of_sha256sum(tmp_path: Path) -> None:
    file = tmp_path / "abc.txt"
    file.write_bytes(b"abc")
    found = file_digest(file)
    assert found == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert check_sha256(found.upper()) == found
    with pytest.raises(FileNotFoundError, match=r"gone can't be read \(.*\): check the path"):
        file_digest(tmp_path / "gone")


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "a" * 65, "a" * 64 + "\n"])
def test_what_has_not_64_hexadecimal_digits_is_no_digest(text: str) -> None:
    with pytest.raises(ValueError, match="sha256 takes 64 hexadecimal digits"):
        check_sha256(text)
