"""Archives of images in the layout of WebDataset."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from reldn_d2.data.sources import InputRow, Unit, open_source
from tests.builders.picture_sources import all_rows, picture, samples, write_archive

OUTPUT = Path("/nowhere")


def rows_of(*paths: object) -> list[InputRow]:
    return all_rows(open_source([str(x) for x in paths], OUTPUT))


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_archives_of_webdataset(tmp_path: Path, name: str) -> None:
    path = write_archive(tmp_path / name, samples(3))
    assert list(open_source([str(path)], OUTPUT).units(2)) == [Unit(str(path), 0, None)]
    assert rows_of(path) == [
        InputRow(str(path), i, f"{path}/k{i}.png", f"k{i}", picture(i)) for i in range(3)
    ]


def test_each_archive_of_a_pattern_is_a_unit(tmp_path: Path) -> None:
    paths = [write_archive(tmp_path / f"s{i:02}.tar", samples(i)) for i in range(3)]
    for given in ("*.tar", ""):
        source = open_source([str(tmp_path / given)], OUTPUT)
        assert [unit.input for unit in source.units(9)] == list(map(str, paths))
        assert [row.row for row in all_rows(source)] == [0, 0, 1]
    with pytest.raises(ValueError, match=r"s00\.tar has no sample, so no image"):
        open_source([str(tmp_path / "s{00..02}.tar")], OUTPUT)
    assert len(rows_of(tmp_path / "s{01..02}.tar")) == 3


def test_samples_are_files_with_one_key(tmp_path: Path) -> None:
    members = {
        "./x/1.JPG": b"one",
        "x/1.json": b"{}",
        "y/1.png": b"another folder",
        "y/2.mask.png": b"mask",
        "y/2.webp": b"two",
        "y/2.jpeg": b"second picture",
        "y/3.depth.png": b"three",
        "y/.hidden.png": b"hidden",
        "y/without an ending": b"",
        "__notes__.json": b"{}",
        **{f"y/4.{i}": b"" for i in range(7)},
    }
    path = write_tar(tmp_path / "a.tar", members)
    rows = rows_of(path)
    named = [(row.image_id, row.path.removeprefix(f"{path}/"), row.image) for row in rows]
    assert named == [
        ("x/1", "x/1.JPG", b"one"),
        ("y/1", "y/1.png", b"another folder"),
        ("y/2", "y/2.webp", b"two"),
        ("y/3", "y/3.depth.png", b"three"),
        ("y/4", "y/4", None),
    ]
    assert rows[4].error == "has no picture, only y/4.0, y/4.1, y/4.2, y/4.3, y/4.4, ..."


def test_links_and_devices_are_errors_and_folders_are_none(tmp_path: Path) -> None:
    """`tar` packs the second name of a file as a link. Links are not followed, but named."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("a.png", tarfile.SYMTYPE),
            ("b.png", tarfile.DIRTYPE),
            ("c.png", tarfile.FIFOTYPE),
            ("d.png", tarfile.LNKTYPE),
        ):
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, "/etc/passwd"
            archive.addfile(about)
    error = "is a link or a device in the archive: pack it with `tar --dereference --hard-dereference`"
    assert rows_of(path) == [
        InputRow(str(path), number, f"{path}/{key}.png", key, error=error) for number, key in enumerate("acd")
    ]


def test_no_picture_of_a_sample_is_chosen_by_chance(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.v1.jpg": b"1", "a.v2.jpg": b"2", "b.v1.jpg": b"3", "b.txt": b""})
    with tarfile.open(path, "a") as archive:
        for content in (b"4", b"5"):
            about = tarfile.TarInfo("c.png")
            about.size = 1
            archive.addfile(about, io.BytesIO(content))
    rows = rows_of(path)
    assert [(row.image_id, row.image) for row in rows] == [
        *(("a", None), ("b", b"3"), ("c", b"4"), ("c", b"5")),
    ]
    assert rows[0].error is not None and rows[0].error.startswith("has several pictures, a.v1.jpg, a.v2.jpg,")


def test_joined_archives_are_said(tmp_path: Path) -> None:
    parts = [write_archive(tmp_path / f"{i}.tar", samples(2)).read_bytes() for i in range(2)]
    (tmp_path / "a.tar").write_bytes(b"".join(parts))
    (tmp_path / "b.tar.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    for name in ("a.tar", "b.tar.gz"):
        *rows, last = rows_of(tmp_path / name)
        assert [row.image for row in rows] == [picture(0), picture(1)]
        assert last.error is not None and last.error.startswith(
            "goes on behind its end, as joined archives do"
        )


def test_gzip_in_parts_and_its_checksum(tmp_path: Path) -> None:
    content = write_archive(tmp_path / "a.tar", samples(3)).read_bytes()
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(content[:3000]) + gzip.compress(content[3000:]) + bytes(99))
    assert [row.image for row in rows_of(path)] == [picture(i) for i in range(3)]
    packed = bytearray(gzip.compress(content))
    packed[-8] ^= 1
    path.write_bytes(packed)
    *rows, last = rows_of(path)
    assert len(rows) == 3 and last.error is not None and "CRC check failed" in last.error


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_what_comes_before_a_cut_is_there(tmp_path: Path, ending: str) -> None:
    whole = write_archive(tmp_path / f"whole.{ending}", samples(4))
    expected = [row.image for row in rows_of(whole)]
    content = whole.read_bytes()
    if ending == "tar":
        # Also between two members, in a header, and in the zeros behind a member.
        end = len(content.rstrip(b"\0"))
        cuts = [*range(512, end, 512), *range(100, end, 1700)]
    else:
        cuts = [len(content) // 2, len(content) // 5]
    seen = set()
    for cut in cuts:
        path = tmp_path / f"cut.{ending}"
        path.write_bytes(content[:cut])
        rows = rows_of(path)
        assert [row.row for row in rows] == list(range(len(rows)))
        assert [row.image for row in rows[:-1]] == expected[: len(rows) - 1]
        last = rows[-1]
        assert (last.path, last.image, last.image_id) == (str(path), None, None) and last.error is not None
        if len(rows) > 1:
            assert last.error.startswith(f"is cut off or damaged behind its first {len(rows) - 1} samples (")
        else:
            assert last.error.startswith("cannot be read (")
        seen.add(len(rows) - 1)
    assert seen == {0, 1, 2, 3} if ending == "tar" else max(seen) > 0


def test_damaged_headers_are_said(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.tar", samples(3))
    content = bytearray(path.read_bytes())
    place = content.index(b"k2.json")
    content[place : place + 3] = b"\xff\xfe\xfd"
    path.write_bytes(content)
    rows = rows_of(path)
    assert [row.image for row in rows] == [picture(0), picture(1), None]
    assert rows[2].error == "is cut off or damaged behind its first 2 samples (bad checksum): copy it again"
    for content_of_none in (b"", b"no archive", bytes(100)):
        path.write_bytes(content_of_none)
        (row,) = rows_of(path)
        assert row.error is not None and row.error.startswith("cannot be read (")


def test_a_picture_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.png": picture(1), "2.png": bytes(5000), "3.png": picture(3)})
    monkeypatch.setattr("reldn_d2.data.sources.archives.byte_limit", lambda: 4999)
    rows = rows_of(path)
    assert [row.image for row in rows] == [picture(1), None, picture(3)]
    assert rows[1].error is not None and "it has more than 4,999 bytes" in rows[1].error


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_claims_very_much_takes_no_memory(tmp_path: Path, kind: bytes) -> None:
    """Reading 100 GB at once would fail here, or fill the memory."""
    about = tarfile.TarInfo("huge.png")
    about.type, about.size = kind, 100 * 2**30
    path = tmp_path / "a.tar"
    path.write_bytes(about.tobuf(tarfile.GNU_FORMAT) + bytes(2000))
    (row, *rest) = rows_of(path)
    assert row.error is not None and row.image is None
    if kind == tarfile.REGTYPE:
        assert row.path == f"{path}/huge.png" and "it has more than" in row.error
        (row,) = rest
    assert row.error is not None and (
        "end of data" in row.error or "a header of 107,374,182,400" in row.error
    )
