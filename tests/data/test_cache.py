import logging
import multiprocessing
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reldn_d2.data import cache
from reldn_d2.data.cache import cache_folder, cached_array, digest

ARRAY = np.arange(60).reshape(3, 4, 5) % 7
KEY = "a" * 64


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reldn_d2"


def never() -> NDArray[np.generic]:
    raise AssertionError("computed")


def fill(kind: str = "kind", version: int = 1, key: str = KEY) -> Path:
    cached_array(kind, version, key, lambda: ARRAY)
    return cache_folder() / kind / f"v{version}" / f"{key}.npz"


@pytest.mark.parametrize(
    "array",
    [ARRAY, np.zeros((0, 3), dtype=np.int32), np.array([1.5, np.nan]), np.array(7), np.array(["a", "bc"])],
    ids=["integers", "empty", "floats", "a number", "text"],
)
def test_an_array_is_computed_once(array: NDArray[Any]) -> None:
    np.testing.assert_array_equal(cached_array("kind", 1, KEY, lambda: array), array)
    found = cached_array("kind", 1, KEY, never)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype and found.shape == array.shape


def test_kind_version_and_key_tell_arrays_apart(folder: Path) -> None:
    places = [("kind", 1, KEY), ("other", 1, KEY), ("kind", 2, KEY), ("kind", 1, "b" * 64)]
    for i, place in enumerate(places):
        cached_array(*place, lambda i=i: np.array(i))
    assert [int(cached_array(*place, never)) for place in places] == [0, 1, 2, 3]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.npz")) == sorted(
        f"{kind}/v{version}/{key}.npz" for kind, version, key in places
    )


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/reldn_d2")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "reldn_d2"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "reldn_d2"


def as_array_file(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, ARRAY)


def with_objects(path: Path) -> None:
    np.savez(path, array=np.array([{}], dtype=object))


def without_array(path: Path) -> None:
    np.savez(path, other=ARRAY)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("<html>"),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        as_array_file,
        with_objects,
        without_array,
    ],
    ids=["empty", "text", "half", "a byte too few", "no archive", "objects", "another array"],
)
def test_a_damaged_file_is_made_again(
    damage: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = fill()
    damage(path)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(cached_array("kind", 1, KEY, lambda: ARRAY), ARRAY)
    (message,) = caplog.messages
    assert str(path) in message and "made again" in message
    np.testing.assert_array_equal(cached_array("kind", 1, KEY, never), ARRAY)


def test_no_changed_byte_gives_another_array_or_an_error() -> None:
    path = fill()
    sound = path.read_bytes()
    for position in range(len(sound)):
        changed = bytearray(sound)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        np.testing.assert_array_equal(cached_array("kind", 1, KEY, lambda: ARRAY), ARRAY)


@pytest.mark.parametrize("blocked", ["cache", "cache/reldn_d2/kind", f"cache/reldn_d2/kind/v1/{KEY}.npz"])
def test_where_nothing_can_be_written_the_array_is_computed_each_time(
    blocked: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file in the place of a folder, or the reverse: rights do not keep root from writing."""
    place = tmp_path / blocked
    if blocked.endswith(".npz"):
        place.mkdir(parents=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    calls = []
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            found = cached_array("kind", 1, KEY, lambda: calls.append(1) or ARRAY)
        np.testing.assert_array_equal(found, ARRAY)
    assert len(calls) == 2
    assert caplog.text.count("cannot be written") == 2
    assert not [x for x in tmp_path.rglob("*") if x.is_file() and x != place]


def test_an_error_of_the_computation_is_not_hidden(folder: Path) -> None:
    with pytest.raises(AssertionError, match="computed"):
        cached_array("kind", 1, KEY, never)
    assert not folder.exists()


def test_another_process_may_finish_first() -> None:
    """While this one still computes."""

    def compute() -> NDArray[np.generic]:
        cached_array("kind", 1, KEY, lambda: ARRAY)
        return ARRAY

    np.testing.assert_array_equal(cached_array("kind", 1, KEY, compute), ARRAY)
    np.testing.assert_array_equal(cached_array("kind", 1, KEY, never), ARRAY)


def ask_at_once(start: Barrier, wrong: Any) -> None:
    large = np.random.default_rng(0).integers(0, 9, 200_000)
    for i in range(10):
        start.wait(300)
        if not np.array_equal(cached_array("kind", 1, str(i), lambda: large), large):
            wrong.value += 1


def test_several_processes_may_ask_at_once(folder: Path) -> None:
    context = multiprocessing.get_context("fork")  # a new interpreter would take seconds to start
    start, wrong = context.Barrier(3), context.Value("i", 0)
    processes = [context.Process(target=ask_at_once, args=(start, wrong)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0, 0, 0] and wrong.value == 0
    assert sorted(path.name for path in (folder / "kind" / "v1").iterdir()) == [f"{i}.npz" for i in range(10)]


def test_a_reader_never_sees_half_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads while another one writes computes for himself."""
    seen = []
    save = np.savez_compressed

    def slow_save(stream: Any, **arrays: Any) -> None:
        save(stream, **arrays)
        stream.flush()
        monkeypatch.setattr(cache.np, "savez_compressed", save)
        seen.append(cached_array("kind", 1, KEY, lambda: ARRAY + 1))

    monkeypatch.setattr(cache.np, "savez_compressed", slow_save)
    cached_array("kind", 1, KEY, lambda: ARRAY)
    np.testing.assert_array_equal(seen[0], ARRAY + 1)
    np.testing.assert_array_equal(cached_array("kind", 1, KEY, never), ARRAY)


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
        # what a marker without the length would not tell apart
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
