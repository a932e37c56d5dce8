"""Folders of shards: what is complete counts, what is damaged does not, and nothing else is touched."""

import json
import logging
from pathlib import Path

import pytest

from reldn_d2.utils.shards import ShardFolder, ShardHeader, differences, places


class JsonShards:
    """Shards that are JSON files: identity and keys."""

    pattern = "part-*.json"

    def read_header(self, path: Path) -> ShardHeader:
        try:
            identity, keys = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} is no shard") from error
        return ShardHeader(identity, [tuple(key) for key in keys])


def write(folder: ShardFolder, name: str, *keys: list[int | str]) -> Path:
    with folder.write(name) as file:
        file.write(json.dumps([{"weights": "1"}, keys]).encode())
    return folder.path / name


def test_complete_shards_count_and_damaged_ones_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ShardFolder(tmp_path / "new" / "shards", JsonShards())
    assert folder.paths() == [] and folder.read() == {}
    second, first = write(folder, "part-b.json", ["x", 2]), write(folder, "part-a.json", ["x", 0], ["x", 1])
    damaged = folder.path / "part-c.json"
    damaged.write_bytes(first.read_bytes()[:-1])
    (folder.path / "notes.json").write_text("[]")
    with caplog.at_level(logging.WARNING):
        found = folder.read()
    assert [*found] == [first, second]
    assert found[first] == ShardHeader({"weights": "1"}, [("x", 0), ("x", 1)])
    assert [x.getMessage() for x in caplog.records] == [
        f"{damaged} is no shard; its images are computed again"
    ]
    assert places(found) == {("x", 0): first, ("x", 1): first, ("x", 2): second}


def test_half_a_shard_has_no_name(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path, JsonShards())
    write(folder, "part-a.json", [1])
    with pytest.raises(RuntimeError), folder.write("part-a.json") as file:
        file.write(b"half")
        raise RuntimeError
    assert places(folder.read()) == {(1,): tmp_path / "part-a.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["part-a.json"]


def test_a_record_in_two_shards_is_refused(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path, JsonShards())
    first, second = write(folder, "part-a.json", [1], ["x", 3]), write(folder, "part-b.json", ["x", 3])
    with pytest.raises(ValueError, match="both have the record x, 3: delete one of them") as found:
        places(folder.read())
    assert str(first) in str(found.value) and str(second) in str(found.value)


def test_deleting_leaves_what_is_no_shard(tmp_path: Path) -> None:
    folder = ShardFolder(tmp_path / "shards", JsonShards())
    first, second = write(folder, "part-a.json", [1]), write(folder, "part-b.json", [2])
    orphan = folder.path / ".abcdefgh.reldn_d2.tmp"
    orphan.write_bytes(b"half")
    other = folder.path / "notes.txt"
    other.touch()
    folder.delete([first])
    assert folder.paths() == [second] and not orphan.exists()
    folder.delete()
    assert [*folder.path.iterdir()] == [other]
    other.unlink()
    folder.delete()
    assert not folder.path.exists()
    folder.delete()  # nothing is left, which is no error


def test_differences_name_old_and_new() -> None:
    assert differences({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "4", "d": "5"}) == [
        "b was 2, now 4",
        "c was 3, now not there",
        "d was not there, now 5",
    ]
