"""What tells a changed table or archive from the one before."""

import shutil
from pathlib import Path

import fsspec
import pytest

from reldn_d2.data.sources import InputReader, Unit
from tests.builders.picture_sources import samples, web_server, write_archive, write_table


def state(path: Path | str) -> str:
    return InputReader().state(Unit(str(path), 0, None))


def test_a_table_or_an_archive_that_has_changed(tmp_path: Path) -> None:
    table, archive = tmp_path / "a.parquet", tmp_path / "a.tar"
    write_table(table, {"path": ["1.png", "2.png"]})
    write_archive(archive, samples(2))
    before = state(table), state(archive)
    assert all(before) and before[0] != before[1]
    for path in (table, archive):
        shutil.copy(path, tmp_path / "copy")  # with another time
        assert state(tmp_path / "copy") == state(path)
    write_table(table, {"path": ["1.png", "3.png"]})
    write_archive(archive, samples(3))
    assert state(table) != before[0] and state(archive) != before[1]


def test_a_change_of_the_same_size_at_either_end(tmp_path: Path) -> None:
    content, found = bytearray(10**6), set()
    for place in (None, 0, -1):
        if place is not None:
            content[place] ^= 1
        (tmp_path / "a.tar").write_bytes(content)
        found.add(state(tmp_path / "a.tar"))
    assert len(found) == 3


def test_nobody_knows_the_state(tmp_path: Path) -> None:
    assert InputReader().state(Unit("", 0, 1, ("a.png",))) == ""
    assert state(tmp_path / "none.tar") == "" == state("memory://none/none.tar")
    assert state("http://127.0.0.1:9/a.tar") == "" == state("nothing://a.tar")


@pytest.mark.parametrize("kind", ["memory", "web"])
def test_a_file_at_an_address(kind: str, tmp_path: Path) -> None:
    with web_server(tmp_path) as web:
        if kind == "memory":
            address = f"memory://{tmp_path.name}/a.tar"
            files = fsspec.filesystem("memory")
        else:
            address, files = f"{web}/a.tar", fsspec.filesystem("file")
        path = f"/{tmp_path.name}/a.tar" if kind == "memory" else str(tmp_path / "a.tar")
        files.pipe_file(path, b"1" * 100)
        before = state(address)
        assert before.startswith("100") and state(address) == before
        files.pipe_file(path, b"1" * 101)
        assert state(address) != before
