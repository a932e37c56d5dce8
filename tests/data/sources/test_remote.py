"""Addresses of images, lists, tables and archives, through fsspec."""

import gzip
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile
from fsspec.registry import known_implementations

from reldn_d2.data.sources import MissingPackageError, Unit, open_source
from tests.builders.commands import Captured
from tests.builders.picture_sources import (
    all_rows,
    picture,
    samples,
    web_server,
    write_archive,
    write_pictures,
    write_table,
)
from tests.builders.tiny_models import REPOSITORY

OUTPUT = Path("/nowhere")
# Nobody listens there.
CLOSED = "http://127.0.0.1:9"


def write_all_kinds(folder: Path) -> None:
    """Writes pictures, a list, a table and an archive, with images that are there and that are not."""
    write_pictures(folder / "pictures", 3)
    (folder / "pictures" / ".hidden.png").touch()
    (folder / "pictures" / "notes.md").touch()
    (folder / "list.txt").write_text(f"pictures/1.png\npictures/none.png\n{CLOSED}/a.png\npictures/1.png\n")
    write_table(
        folder / "tables" / "a.parquet", {"path": ["../pictures/2.png", "none.png"], "id": ["x", "y"]}
    )
    write_table(folder / "tables" / "b.parquet", {"path": ["../pictures/0.png"], "id": ["z"]})
    write_archive(folder / "archives" / "a.tar", samples(2))
    write_archive(folder / "archives" / "b.tar.gz", samples(1))


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    """The address of all kinds of inputs in the memory of this process."""
    write_all_kinds(tmp_path)
    files = fsspec.filesystem("memory")
    root = f"/{tmp_path.name}"
    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            files.pipe(f"{root}/{path.relative_to(tmp_path)}", path.read_bytes())
    yield f"memory:/{root}"
    files.rm(root, recursive=True)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of all kinds of inputs on a web server."""
    write_all_kinds(tmp_path)
    with web_server(tmp_path) as address:
        yield address


@pytest.fixture(params=["memory", "web"])
def address(request: pytest.FixtureRequest) -> str:
    value: str = request.getfixturevalue(request.param)
    return value


def images(*inputs: str, **options: Any) -> list[bytes | str | None]:
    return [row.image for row in all_rows(open_source(list(inputs), OUTPUT, **options), 2)]


def test_pictures(address: str, capsys: Captured) -> None:
    one = f"{address}/pictures/1.png"
    assert images(one, one) == [picture(1)]
    row, *_ = all_rows(open_source([one], OUTPUT))
    assert (row.input, row.row, row.path, row.error) == ("", 0, one, None)
    for given in ("pictures/", "pictures/*", "pictures/{0..2}.png", "pictures/[0-2].png"):
        if address.startswith("http") and "[" in given:
            continue
        assert images(f"{address}/{given}") == [picture(i) for i in range(3)]
        left_out = "" if "{" in given or "[" in given else "left out 1 .md"
        assert left_out in capsys.readouterr().out


def test_hidden_files_of_a_folder_are_left_out(memory: str, capsys: Captured) -> None:
    assert len(images(f"{memory}/pictures")) == 3
    assert "pictures: left out 1 .md, 1 hidden\n" in capsys.readouterr().out


def test_a_query_of_the_web_is_no_pattern_and_no_ending(web: str) -> None:
    assert images(f"{web}/pictures/1.png?size=large") == [picture(1)]
    assert images(f"{web}/archives/b.tar.gz?a=b.png") == [picture(0)]


def test_lists(address: str) -> None:
    source = open_source([f"{address}/list.txt"], OUTPUT)
    rows = all_rows(source)
    assert [row.image for row in rows] == [picture(1), None, None, picture(1)]
    assert [row.row for row in rows] == [0, 1, 2, 3]
    assert rows[1].path == f"{address}/pictures/none.png"
    assert rows[1].error == "cannot be read (there is no such file): check the path"
    assert rows[2].path == f"{CLOSED}/a.png" and rows[2].error is not None
    assert rows[2].error.startswith(
        "cannot be read (ClientConnectorError: Cannot connect to host 127.0.0.1:9"
    )
    assert rows[2].error.endswith(": check the address and the network")


def test_tables(address: str) -> None:
    source = open_source([f"{address}/tables/{{a,b}}.parquet"], OUTPUT, id_column="id")
    assert list(source.units(9)) == [
        *(Unit(f"{address}/tables/a.parquet", 0, 2), Unit(f"{address}/tables/b.parquet", 0, 1)),
    ]
    rows = all_rows(source)
    assert [(row.image_id, row.image) for row in rows] == [("x", picture(2)), ("y", None), ("z", picture(0))]
    assert rows[1].error == "cannot be read (there is no such file): check the path"
    assert images(f"{address}/tables/") == [picture(2), None, picture(0)]
    with pytest.raises(ValueError, match=r"/tables/a\.parquet has no column 'x': its columns are path"):
        open_source([f"{address}/tables/"], OUTPUT, image_column="x")


def test_archives(address: str) -> None:
    for given in ("archives/", "archives/*", "archives/{a.tar,b.tar.gz}"):
        rows = all_rows(open_source([f"{address}/{given}"], OUTPUT))
        assert [(row.row, row.image) for row in rows] == [(0, picture(0)), (1, picture(1)), (0, picture(0))]
        assert rows[1].path.endswith("/archives/a.tar/k1.png") and rows[1].image_id == "k1"


def test_a_large_archive_of_a_server_that_gives_no_parts(tmp_path: Path) -> None:
    """The package fsspec would ask for parts of what is larger than 5 MB."""
    content = [{**sample, "bin": os.urandom(2**20)} for sample in samples(7)]
    write_archive(tmp_path / "a.tar", content)
    with web_server(tmp_path) as address:
        assert images(f"{address}/a.tar") == [picture(i) for i in range(7)]


def test_an_archive_that_is_cut_off(memory: str) -> None:
    files = fsspec.filesystem("memory")
    path = f"{memory}/archives/a.tar"
    files.pipe(path, files.cat(path)[:2000])
    (row,) = all_rows(open_source([path], OUTPUT))
    assert row.error == "cannot be read (unexpected end of data): copy it again"
    files.pipe(path, gzip.compress(files.cat(path)))
    (row,) = all_rows(open_source([path], OUTPUT))
    assert row.error == "cannot be read (unexpected end of data): copy it again"


@pytest.mark.parametrize("breaks", [1, 2, 3])
def test_an_archive_goes_on_after_broken_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: int
) -> None:
    files = fsspec.filesystem("memory")
    path = f"memory://{tmp_path.name}/a.tar"
    files.pipe(path, write_archive(tmp_path / "a.tar", samples(40)).read_bytes())
    source = open_source([path], OUTPUT)
    read, left = MemoryFile.read, [breaks]

    def breaking(self: MemoryFile, size: int = -1) -> bytes:
        if self.tell() > 30_000 and left[0]:
            left[0] -= 1
            raise ConnectionResetError("Connection reset by peer")
        return read(self, size)

    monkeypatch.setattr(MemoryFile, "read", breaking)
    rows = all_rows(source)
    assert [row.row for row in rows] == list(range(len(rows)))
    given = [row.image for row in rows if row.error is None]
    assert given == [picture(i) for i in range(len(given))]
    if breaks < 3:
        assert len(given) == len(rows) == 40
    else:
        assert 5 < len(given) == len(rows) - 1 < 40
        assert rows[-1].error == (
            f"cannot be read behind its first {len(given)} samples (ConnectionResetError: Connection reset "
            "by peer): when it can be read, delete the shard that has this row, and run with --resume"
        )
    files.rm(path)


def test_what_is_not_there_is_refused(address: str) -> None:
    for name in ("none.png", "none.tar", "none.parquet", "none.txt", "pictures/none*.png"):
        with pytest.raises(FileNotFoundError, match=rf"--input {address}/{name.replace('*', '.')}"):
            open_source([f"{address}/{name}"], OUTPUT)


def test_a_list_whose_connection_breaks(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{memory}/long.txt"
    fsspec.filesystem("memory").pipe(path, b"a.png\n" * 20_000)
    source, read = open_source([path], OUTPUT), MemoryFile.read

    def breaking(self: MemoryFile, size: int = -1) -> bytes:
        if self.tell() > 30_000:
            raise RuntimeError("connection reset")
        return read(self, size)

    monkeypatch.setattr(MemoryFile, "read", breaking)
    for work in (lambda: list(source.units(100)), lambda: open_source([path], OUTPUT)):
        with pytest.raises(
            ValueError, match=rf"--input {path} cannot be read \(RuntimeError: connection reset"
        ):
            work()


def test_what_a_server_refuses_is_not_called_missing(web: str) -> None:
    with pytest.raises(
        OSError, match=r"refused\.png cannot be read \(ClientResponseError: 403, .*: check the ad"
    ):
        open_source([f"{web}/refused.png"], OUTPUT)


def test_addresses_of_local_files_are_paths(tmp_path: Path) -> None:
    a, b = map(str, write_pictures(tmp_path / "a b", 2))
    given = [f"file://{a.replace(' ', '%20')}", a, f"FILE://{tmp_path}/a b", f"file://{tmp_path}/a b/*.png"]
    assert images(*given) == [a, b]


def test_inputs_without_an_image_are_refused(memory: str) -> None:
    files = fsspec.filesystem("memory")
    files.pipe(f"{memory}/other/notes.md", b"")
    files.pipe(f"{memory}/empty.txt", b"\n")
    files.pipe(f"{memory}/empty.tar", bytes(10240))
    for name, message in (
        ("other", "there is no image; images end in .*, tables"),
        ("empty.txt", "lists no image"),
        ("empty.tar", "has no sample"),
    ):
        with pytest.raises(ValueError, match=message):
            open_source([f"{memory}/{name}"], OUTPUT)


def test_servers_that_cannot_be_reached_are_said(tmp_path: Path) -> None:
    with pytest.raises(
        OSError, match=r"--input http.*/a\.png cannot be read \(ClientConnectorError: Cannot con"
    ):
        open_source([f"{CLOSED}/a.png"], OUTPUT)
    with pytest.raises(
        ValueError, match=r"--input abc://a\.png cannot be read \(.*abc.*\): check the address"
    ):
        open_source(["abc://a.png"], OUTPUT)
    # In a list it is one image of many.
    (tmp_path / "list.txt").write_text("abc://a.png\n")
    (row,) = all_rows(open_source([str(tmp_path / "list.txt")], OUTPUT))
    assert row.error is not None and row.error.startswith("cannot be read (")


def test_a_missing_package_is_one_error(tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"class": "no_such_package.Files", "err": "Install no_such_package to access broken"}
    monkeypatch.setitem(known_implementations, "broken", broken)
    message = "to read broken://b/a.png, a package is missing: Install no_such_package to access broken"
    (tmp_path / "list.txt").write_text(f"{memory}/pictures/0.png\nbroken://b/a.png\n")
    table = write_table(tmp_path / "a.parquet", {"path": ["broken://b/a.png"]})
    for given in ("broken://b/a.png", str(tmp_path / "list.txt")):
        with pytest.raises(MissingPackageError, match=message):
            open_source([given], OUTPUT)
    source = open_source([str(table)], OUTPUT)
    with pytest.raises(MissingPackageError, match=message):
        all_rows(source)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(
        MissingPackageError, match=r"install the package fsspec: pip install 'reldn-d2\[remote\]'"
    ):
        open_source([f"{memory}/pictures/0.png"], OUTPUT)


def test_a_file_without_an_end_takes_bounded_memory(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reldn_d2.data.sources.remote.byte_limit", lambda: 2**17)
    (row,) = all_rows(open_source([f"{web}/endless.png"], OUTPUT))
    assert row.image is None and row.error is not None
    assert row.error.startswith("can't be used: it has more than 131,072 bytes")


def test_large_files_are_refused_by_their_first_bytes(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(picture(1))
    for limit, is_refused in ((size, False), (size - 1, True)):
        monkeypatch.setattr("reldn_d2.data.sources.remote.byte_limit", lambda limit=limit: limit)
        (row,) = all_rows(open_source([f"{memory}/pictures/1.png"], OUTPUT))
        assert (row.image is None) == is_refused


READ = """
import json, pickle, sys
reader, units = pickle.load(sys.stdin.buffer)
found = [row for row in reader.rows(units[0])]
early = [name for name in ("fsspec", "pyarrow", "aiohttp") if name in sys.modules]
found += [row for unit in units[1:] for row in reader.rows(unit)]
print(json.dumps([early, [[x.input, x.row, x.path, x.image_id, str(x.image), x.error] for x in found]]))
"""


def test_a_worker_needs_the_reader_and_a_unit(web: str, tmp_path: Path) -> None:
    """Another process reads the same rows. For local images it imports nothing that may be missing."""
    inputs = [str(tmp_path / "pictures"), *(f"{web}/{name}/" for name in ("tables", "archives"))]
    local = open_source(inputs[:1], OUTPUT)
    source = open_source([*inputs, f"{web}/list.txt"], OUTPUT, id_column="id")
    units = [*local.units(9), *source.units(2)]
    result = subprocess.run(
        [sys.executable, "-c", READ],
        input=pickle.dumps((source.reader, units)),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        check=True,
    )
    early, found = json.loads(result.stdout.splitlines()[-1])
    assert early == []
    expected = [row for unit in units for row in source.rows(unit)]
    assert found == [[x.input, x.row, x.path, x.image_id, str(x.image), x.error] for x in expected]
