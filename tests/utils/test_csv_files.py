import gzip
from pathlib import Path

import numpy as np
import pytest

from reldn_d2.utils.csv_files import codes_of, read_table, refuse_rows


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("text", ["id,x,y\na,1,0.5\n\nb,2,3\n", "y,more,id,x\r\n0.5,,a,1\r\n\r\n3,z,b,2\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_columns_are_found_by_name_and_lines_counted(tmp_path: Path, text: str, encoding: str) -> None:
    table = read_table(written(tmp_path, text.encode(encoding)), ["id"], ["x", "y"])
    assert list(table.columns) == ["id", "x", "y"]
    assert table.index.tolist() == [2, 4]
    assert table["id"].tolist() == ["a", "b"]
    assert table["x"].tolist() == [1, 2]
    assert table["x"].dtype == table["y"].dtype == np.float64


def test_categories_are_sorted_texts(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "id\n10\n1e5\n002\n10\n"), ["id"])
    assert table["id"].cat.categories.tolist() == ["002", "10", "1e5"]
    assert codes_of(table["id"], {"10": 7, "002": 0}).tolist() == [7, -1, 0, 7]


def test_texts_that_pandas_takes_for_missing_stay_texts(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "id,x\nNA,1\nnull,2\nnan,3\n"), ["id"], ["x"])
    assert table["id"].tolist() == ["NA", "null", "nan"]


def test_columns_without_a_name_are_passed_over(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, "id,,\na,,\n"), ["id"])["id"].tolist() == ["a"]


def test_a_column_may_have_another_name(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "Kind\n01\n"), ["Label"], other_names={"Kind": "Label"})
    assert table["Label"].cat.categories.tolist() == ["01"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty. Download it again"),
        ("\n", "it is not the table that its header line says"),
        ("id,x\n", "has no line but its header"),
        ("id,x\n\n\n", "has no line but its header"),
        ("id,z\na,1\n", "line 1: no column x, only id, z. Use the official file"),
        ("a,1\nb,2\n", "line 1: no column id, x, only a, 1"),
        ("id,x\na,1\nb,one\n", "line 3: x is missing or not a number. Download"),
        ("id,x\na,1\n\nb,\n", "line 4: x is missing or not a number"),
        ("id,x\na,1\nb\n", "line 3: x is missing or not a number"),
        ("id,x\na,1\nb,nan\n", "line 3: x is missing or not a number"),
        ("x,id\n1,a\n2,\n", "line 3: id is missing or not a name"),
        ("id,x\na,1\nb,1", "the last line has no line break, so that the file may be cut off"),
        ("id,x\na,1\nb,1,2\n", "it is not the table that its header line says"),
        ("id,x\na,1,2\nb,1,2\n", "it is not the table that its header line says"),
        ("id,x\na,1,2\n", "it is not the table that its header line says"),
        ("id,x,id\na,1,b\n", "line 1: column id is there twice (id, id). Remove"),
        ("id,x,Id\na,1,b\n", "line 1: column id is there twice (id, Id)"),
        ("id,x,more,more\na,1,b,c\n", "line 1: column more is there twice"),
        ("id,x\na,NA\n", "line 2: x is missing or not a number"),
        ("id,x\na,1\n".encode("utf-16"), "it is not text in UTF-8. Unpack"),
        ("id,x\na,1\n".encode("utf-16-le"), "it is not text in UTF-8"),
        ("id,x\na,1\n".encode("utf-16-be"), "it is not text in UTF-8"),
        (gzip.compress(b"id,x\na,1\n", mtime=0), "it is not text in UTF-8"),
        (b"id,x\n\xff\xfe,1\n", "it is not the table that its header line says"),
        ('id,x\n"a,1\n', "it is not the table that its header line says"),
    ],
)
def test_a_damaged_table_is_refused_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=r"table\.csv") as caught:
        read_table(written(tmp_path, text), ["id"], ["x"], {"Id": "id"})
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"table\.csv does not exist.*DETECTRON2_DATASETS"):
        read_table(tmp_path / "table.csv", ["id"])


def test_the_first_bad_row_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "ImageID,x\na,1\n\nb,2\nc,2\n")
    table = read_table(path, ["ImageID"], ["x"])
    refuse_rows(path, table, np.zeros(3, dtype=bool), "no such row", "never", "Never.")
    message = r"table\.csv: line 4, image b: x is 2\.0\. Give 1\. .* 1 more: line 5, image c\.$"
    with pytest.raises(ValueError, match=message):
        refuse_rows(path, table, (table["x"] == 2).to_numpy(), "another x", "x is {x}", "Give 1.")
