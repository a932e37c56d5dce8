"""Images that are given one by one: files, folders, patterns and lists."""

import io
import pickle
import sys
from pathlib import Path

import pytest

from reldn_d2.data.sources import InputRow, Unit, open_source
from reldn_d2.data.sources.braces import expand_braces
from tests.builders.commands import Captured
from tests.builders.picture_sources import all_rows, samples, write_archive, write_pictures, write_table

OUTPUT = Path("/nowhere")


def paths(*inputs: object, size: int = 100) -> list[str]:
    """The paths of all rows, whose numbers are checked."""
    rows = all_rows(open_source([str(x) for x in inputs], OUTPUT), size)
    assert [row.row for row in rows] == list(range(len(rows)))
    assert all(row == InputRow("", row.row, row.path, image=row.path) for row in rows)
    return [row.path for row in rows]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_units_have_each_image_once_and_begin_at_multiples_of_the_size(tmp_path: Path, size: int) -> None:
    pictures = write_pictures(tmp_path / "in", 5)
    source = open_source([str(tmp_path / "in")], OUTPUT)
    units = list(source.units(size))
    assert [x for unit in units for x in unit.paths] == list(map(str, pictures))
    assert [unit.first for unit in units] == list(range(0, 5, size))
    assert all(unit.input == "" and unit.stop == unit.first + len(unit.paths) for unit in units)
    assert list(source.units(size)) == units


def test_inputs_follow_each_other_and_a_picture_that_is_found_twice_is_one_row(tmp_path: Path) -> None:
    a, b, c = map(str, write_pictures(tmp_path / "in", 3))
    assert paths(c, tmp_path / "in", tmp_path / "in" / "*.png") == [c, a, b]


def test_each_line_of_a_list_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    a, b, _ = map(str, write_pictures(tmp_path / "in", 3))
    text = f"in/0.png\r\n\n{b}\nin/0.png\nin/../in/0.png\nfile://{b}"
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert paths(tmp_path / "list.txt", a) == [a, b, a, a, b, a]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    source = open_source(["-"], OUTPUT)
    for _ in range(2):
        assert [row.path for row in all_rows(source)] == [a, b, a, a, b]


def test_lists_and_tables_name_images_alone(tmp_path: Path) -> None:
    """An archive at an address would be read whole, to find out that it is no picture."""
    names = ["a.TAR", "memory://a/b.tar.gz", "http://127.0.0.1:9/c.parquet?d=e.png", "f.txt", "g.png"]
    (tmp_path / "list.txt").write_text("\n".join(names))
    table = write_table(tmp_path / "a.parquet", {"path": names})
    for given in (tmp_path / "list.txt", table):
        *others, last = all_rows(open_source([str(given)], OUTPUT))
        assert [row.error for row in others] == [
            f"is no image, but by its name one more {kind}: give it as --input"
            for kind in ("archive", "archive", "table", "list")
        ]
        assert {row.image for row in others} == {None} and last.image == str(tmp_path / "g.png")


def test_the_lines_of_a_list_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"{i}.png\n" for i in range(20_000)))
    source = open_source([str(tmp_path / "list.txt")], OUTPUT)
    assert len(pickle.dumps(source)) < 2000
    assert sum(len(unit.paths) for unit in source.units(100)) == 20_000


def test_a_worker_gets_a_small_reader(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 40)
    source = open_source([str(tmp_path / "in")], OUTPUT)
    content = pickle.dumps(source.reader)
    assert len(content) < 500
    reader = pickle.loads(content)
    assert [row for unit in source.units(7) for row in reader.rows(unit)] == all_rows(source)


def test_a_picture_that_is_gone_is_a_row_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("none.png\n")
    assert paths(tmp_path / "list.txt") == [str(tmp_path / "none.png")]


def test_empty_inputs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n  \n")
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    for given, message in (
        ("", '--input "" is no path'),
        (tmp_path / "empty", r"no image in this folder or below; images end in .*, archives in \.tar, "),
        (tmp_path / "empty.txt", r"empty\.txt lists no image"),
        (tmp_path / "binary.txt", r"binary\.txt is no list of images"),
        (tmp_path / "emp*", "no image fits this pattern"),
    ):
        with pytest.raises(ValueError, match=message):
            open_source([str(given)], OUTPUT)
    for given in (tmp_path / "none", tmp_path / "none*", tmp_path / "none{0..3}.tar"):
        with pytest.raises(FileNotFoundError, match=r"none(0\.tar)?: no such|none\*: no file fits"):
            open_source([str(given)], OUTPUT)
    with pytest.raises(FileNotFoundError, match="no such file or folder: did you mean b"):
        open_source([str(tmp_path / "none")], OUTPUT, lambda text: ": did you mean b?")


def test_results_do_not_replace_pictures(tmp_path: Path) -> None:
    (a,) = write_pictures(tmp_path / "out", 1)
    (tmp_path / "list.txt").write_text("out/0.png\n")
    for given in (a, tmp_path / "out", tmp_path / "list.txt"):
        with pytest.raises(ValueError, match="own folder"):
            open_source([str(given)], tmp_path / "out")


def test_a_folder_with_pictures_is_read_for_them_alone(tmp_path: Path, capsys: Captured) -> None:
    a, b = map(str, write_pictures(tmp_path / "in", 2))
    write_table(tmp_path / "in" / "more.parquet", {"path": ["x.png"]})
    write_archive(tmp_path / "in" / "below" / "more.tar", samples(1))
    assert paths(tmp_path / "in") == [a, b]
    assert "/in: left out 1 .parquet, 1 .tar" in capsys.readouterr().out
    assert paths(tmp_path / "in" / "*") == [a, b]
    assert "/in/*: left out 1 .parquet" in capsys.readouterr().out


def test_a_folder_without_pictures_is_read_for_tables_or_else_archives(
    tmp_path: Path, capsys: Captured
) -> None:
    (a,) = write_pictures(tmp_path / "pictures", 1)
    archive = write_archive(tmp_path / "in" / "more.tar", samples(1))
    (tmp_path / "in" / "notes.md").touch()
    (tmp_path / "in" / ".hidden.parquet").touch()
    for given in ("in", "in/*"):
        source = open_source([str(tmp_path / given)], OUTPUT)
        assert (source.images, source.tables, source.archives) == ([], [], [str(archive)])
    assert "left out 1 hidden, 1 .md\n" in capsys.readouterr().out
    table = write_table(tmp_path / "in" / "b" / "more.parquet", {"path": [str(a)]})
    source = open_source([str(tmp_path / "in")], OUTPUT)
    assert ([x.path for x in source.tables], source.archives) == ([str(table)], [])
    assert "left out 1 hidden, 1 .tar, 1 .md\n" in capsys.readouterr().out
    # Images first, then tables, then archives, each once.
    both = open_source([str(x) for x in (archive, table, archive, a, tmp_path / "in" / "b")], OUTPUT)
    assert [unit.input or unit.paths for unit in both.units(9)] == [(str(a),), str(table), str(archive)]


def test_braces(tmp_path: Path) -> None:
    a, b, c = map(str, write_pictures(tmp_path / "in", 3))
    assert paths(tmp_path / "in" / "{2..0}.png") == [c, b, a]
    assert paths(tmp_path / "in" / "{1,[02]}.png") == [b, a, c]
    Path(a).rename(tmp_path / "in" / "{1,2}.png")
    assert paths(tmp_path / "in" / "{1,2}.png") == [str(tmp_path / "in" / "{1,2}.png")]
    for text, expanded in (
        ("s{008..011}", ["s008", "s009", "s010", "s011"]),
        ("{a,b}-{1..2}", ["a-1", "a-2", "b-1", "b-2"]),
        ("{a}{}{1..b}", ["{a}{}{1..b}"]),
        ("{a}{x,y}", ["{a}x", "{a}y"]),
        ("a}{b", ["a}{b"]),
    ):
        assert list(expand_braces(text)) == expanded


def test_units_are_small_values() -> None:
    unit = Unit("a.tar", 0, None)
    assert pickle.loads(pickle.dumps(unit)) == unit and hash(unit) == hash(Unit("a.tar", 0, None))
