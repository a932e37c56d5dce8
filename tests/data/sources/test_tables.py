"""Tables of images in Parquet."""

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reldn_d2.data.sources import Source, Unit, open_source
from tests.builders.picture_sources import all_rows, picture, write_pictures, write_table

OUTPUT = Path("/nowhere")


def opened(*paths: object, **options: Any) -> Source:
    return open_source([str(x) for x in paths], OUTPUT, **options)


def test_units_never_cross_a_row_group(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.parquet", {"path": [f"{i}.png" for i in range(10)]}, group=4)
    units = list(opened(table).units(3))
    spans = [(0, 3), (3, 4), (4, 7), (7, 8), (8, 10)]
    assert units == [Unit(str(table), first, stop) for first, stop in spans]


@pytest.mark.parametrize("order", ["forward", "backward", "odd"])
@pytest.mark.parametrize("column", ["path", "bytes"])
def test_rows_are_the_same_in_any_order_of_units(tmp_path: Path, order: str, column: str) -> None:
    number = 2100 if column == "path" else 70  # more than what is decoded at once
    values = [f"{i}.png" if column == "path" else b"%d" % i for i in range(number)]
    ids = [f"n{i}" for i in range(number)]
    table = write_table(tmp_path / "a.parquet", {column: values, "name": ids}, group=number * 3 // 5)
    source = opened(table, id_column="name")
    units = list(source.units(37 if column == "path" else 11))
    units = {"forward": units, "backward": units[::-1], "odd": units[1::2] + units[::2]}[order]
    rows = sorted((row for unit in units for row in source.rows(unit)), key=lambda row: row.row)
    assert [row.row for row in rows] == list(range(number))
    assert [row.image_id for row in rows] == ids
    if column == "path":
        assert [row.image for row in rows] == [row.path for row in rows]
        assert [row.path for row in rows] == [str(tmp_path / value) for value in values]
    else:
        assert [row.image for row in rows] == values
        assert [row.path for row in rows] == [f"{table}#{i}" for i in range(number)]


def test_units_of_one_group_are_read_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_table(tmp_path / "a.parquet", {"path": [f"{i}.png" for i in range(40)]}, group=20)
    source = opened(table)
    started = []
    iter_batches = pq.ParquetFile.iter_batches

    def counted(self: pq.ParquetFile, *args: Any, **kwargs: Any) -> Any:
        started.append(kwargs["row_groups"])
        return iter_batches(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    assert len(all_rows(source, 3)) == 40
    assert started == [[0], [1]]
    # Two units at the same time do not disturb each other.
    first, second = (source.rows(unit) for unit in list(source.units(3))[:2])
    assert [(a.row, b.row) for a, b in zip(first, second, strict=True)] == [(0, 3), (1, 4), (2, 5)]
    assert len(pickle.dumps(source.reader)) < 500


def test_paths_are_relative_to_the_table_and_bad_cells_are_errors_of_their_rows(tmp_path: Path) -> None:
    a, b = map(str, write_pictures(tmp_path / "in", 2))
    cells = ["in/0.png", None, b, "", f"file://{a}", "none.png"]
    rows = all_rows(opened(write_table(tmp_path / "a.parquet", {"url": cells, "n": range(6)}), id_column="n"))
    assert [row.image for row in rows] == [a, None, b, None, a, str(tmp_path / "none.png")]
    assert [row.image_id for row in rows] == list("012345")
    empty = f"{tmp_path}/a.parquet#1", "has no image: the cell of the column url is empty"
    assert (rows[1].path, rows[1].error) == empty and rows[3].error == empty[1]


def test_structs_as_hugging_face_writes_them(tmp_path: Path) -> None:
    (a,) = map(str, write_pictures(tmp_path, 1))
    cells = [
        {"bytes": picture(7), "path": "gone.png"},
        {"bytes": None, "path": "0.png"},
        {"bytes": None, "path": None},
        None,
    ]
    rows = all_rows(opened(write_table(tmp_path / "a.parquet", {"image": cells, "label": [1, 2, 3, 4]})))
    assert [row.image for row in rows] == [picture(7), a, None, None]
    assert [row.path.removeprefix(f"{tmp_path}/") for row in rows] == [
        *("a.parquet#0", "0.png", "a.parquet#2", "a.parquet#3"),
    ]
    only_paths = write_table(tmp_path / "b.parquet", {"image": [{"path": "0.png", "label": 1}]})
    assert all_rows(opened(only_paths))[0].image == a
    cells = [{"bytes": picture(7), "path": None}, {"bytes": None, "path": None}]
    no_path = write_table(tmp_path / "c.parquet", {"image": cells})
    only_bytes = write_table(tmp_path / "d.parquet", {"image": [{"bytes": x["bytes"]} for x in cells]})
    for table in (no_path, only_bytes):
        assert [row.image for row in all_rows(opened(table))] == [picture(7), None]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.string_view()),
        *(
            pa.binary(),
            pa.large_binary(),
            pa.binary(3),
            pa.dictionary(pa.int8(), pa.binary()),
            pa.binary_view(),
        ),
    ],
    ids=str,
)
def test_types_of_columns(tmp_path: Path, kind: Any) -> None:
    is_text = "string" in str(kind)
    cells = pa.array(["abc", "def"], None if is_text else pa.binary())
    numbered = pa.types.is_dictionary(kind)
    write_table(
        tmp_path / "a.parquet", {"image": cells.dictionary_encode() if numbered else cells.cast(kind)}
    )
    images = [row.image for row in all_rows(opened(tmp_path / "a.parquet"))]
    assert images == ([f"{tmp_path}/abc", f"{tmp_path}/def"] if is_text else [b"abc", b"def"])


def test_columns_that_are_missing_or_unclear_are_refused(tmp_path: Path) -> None:
    table = {"name": ["a"], "number": [1], "path": ["x.png"], "image": [b"y"]}
    write_table(tmp_path / "both.parquet", table)
    write_table(tmp_path / "none.parquet", {"name": ["a"], "number": [1]})
    there = "its columns are name, number"
    for name, options, message in (
        (
            "none",
            {},
            f"has none of the columns path, url, image, bytes: {there}; name the one .* --image-col",
        ),
        ("none", {"image_column": "x"}, f"has no column 'x': {there}; name another as --image-column"),
        ("none", {"image_column": "name", "id_column": "x"}, f"'x': {there}; name another as --id-column"),
        ("none", {"image_column": "number"}, "the column number has the type int64; images are texts"),
        ("both", {}, "has several of the columns path, url, image, bytes: its columns are name, number, p"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.parquet:? .*{message}"):
            opened(tmp_path / f"{name}.parquet", **options)
    assert all_rows(opened(tmp_path / "both.parquet", image_column="image"))[0].image == b"y"
    assert all_rows(opened(tmp_path / "none.parquet", image_column="name"))[0].image == f"{tmp_path}/a"
    # Each table of a folder is looked at.
    with pytest.raises(ValueError, match=r"none\.parquet has no column 'image'"):
        opened(tmp_path, image_column="image")
    with pytest.raises(ValueError, match=r"--input names no file that ends in \.parquet: leave them out"):
        opened(*write_pictures(tmp_path / "in", 1), image_column="image")


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    cells = [["x.png"], ["y.png"], [1], [2]]
    pq.write_table(pa.Table.from_arrays([pa.array(x) for x in cells], ["path", "path", "n", "n"]), path)
    with pytest.raises(ValueError, match=r"a\.parquet has several columns 'path': its columns are .* rename"):
        opened(path)
    pq.write_table(pa.Table.from_arrays([pa.array(x) for x in cells[1:]], ["path", "n", "n"]), path)
    with pytest.raises(ValueError, match=r"a\.parquet has several columns 'n': its columns are .* rename"):
        opened(path, id_column="n")
    assert len(all_rows(opened(path))) == 1
    write_table(path, {"": ["x.png"], **{f"c{i}": [i] for i in range(60)}})
    assert len(all_rows(opened(path, image_column=""))) == 1
    with pytest.raises(ValueError, match=r"its columns are , c0, .*, c48 and 11 more; name the one"):
        opened(path)


def test_a_cell_that_python_can_not_hold_is_an_error_of_its_row(tmp_path: Path) -> None:
    days = pa.array([0, 2**30, 2], pa.date32())
    table = write_table(tmp_path / "a.parquet", {"path": ["x.png"] * 3, "day": days})
    rows = all_rows(opened(table, id_column="day"))
    assert [row.image_id for row in rows] == ["1970-01-01", None, "1970-01-03"]
    assert rows[1].path == f"{table}#1" and rows[1].error is not None
    assert rows[1].error.startswith("has a cell that can't be read (OverflowError: ")


def test_tables_without_rows_are_refused_unless_another_has_some(tmp_path: Path) -> None:
    empty = pa.array([], pa.string())
    write_table(tmp_path / "a.parquet", {"path": empty})
    for given in ("a.parquet", "", "*.parquet"):
        with pytest.raises(ValueError, match=r"has no row, so no image: choose another table"):
            opened(tmp_path / given)
    write_table(tmp_path / "b.parquet", {"path": ["x.png"]})
    assert [row.path for row in all_rows(opened(tmp_path))] == [str(tmp_path / "x.png")]


def test_a_table_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.parquet", {"path": ["x.png"] * 100})
    content = table.read_bytes()
    for cut in (0, 3, 10, len(content) - 1):
        table.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"a\.parquet is no Parquet that can be read .*cut off"):
            opened(table)


def test_damage_behind_the_footer_gives_rows_with_errors(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.parquet", {"bytes": [picture(i) for i in range(60)]}, group=30)
    content = bytearray(table.read_bytes())
    start = content.index(picture(40)[40:60])
    content[start : start + 9] = bytes(9)
    table.write_bytes(content)
    rows = all_rows(opened(table), 10)
    assert [row.row for row in rows] == list(range(60))
    assert [row.image for row in rows[:30]] == [picture(i) for i in range(30)]
    assert all(row.error is not None and row.image is None for row in rows[40:])
    assert f"{table}#40" == rows[40].path
    assert rows[40].error is not None and rows[40].error.startswith("cannot be read (OSError: ")


def test_a_table_that_changes_while_it_is_read(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a.parquet", {"path": ["x.png"] * 30}, group=10)
    source = opened(table)
    units = list(source.units(10))
    write_table(table, {"path": ["x.png"] * 30}, group=7)
    rows = [row for unit in units for row in source.rows(unit)]
    assert [row.row for row in rows] == list(range(30))
    assert {row.error for row in rows} == {
        "cannot be read (ValueError: its row groups have changed since the run began): the file may be "
        "damaged or changed; write it again"
    }
    table.unlink()
    assert [row.error is None for unit in units for row in source.rows(unit)] == [False] * 30
