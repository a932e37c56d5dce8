"""CSV and Parquet tables that other people made or changed."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reldn_d2.scene_graphs import FORMATS, read_graphs, write_graphs
from reldn_d2.scene_graphs.formats import parquet
from reldn_d2.scene_graphs.triplets import COLUMNS, rows_of
from tests.builders.scene_graphs import example_graph, related_only


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """The example as a table of texts."""
    write_graphs(example_graph(), tmp_path / "a.csv")
    return pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)


def test_rows_and_columns_in_another_order(table: pd.DataFrame, tmp_path: Path) -> None:
    other = {**related_only(example_graph()), "image": {"file_name": "b.jpg", "width": 64, "height": 48}}
    # Rows of two images one after the other, more columns, names instead of numbers for nobody.
    both = pd.concat([table, table.assign(image="b.jpg")]).sort_index(kind="stable").assign(note="x")
    both[both.columns[::-1]].to_csv(tmp_path / "b.csv", index=False)
    assert read_graphs(tmp_path / "b.csv") == [related_only(example_graph()), other]


def test_ids_need_not_follow_each_other(table: pd.DataFrame, tmp_path: Path) -> None:
    ids = {"0": "7", "1": "70", "2": "300"}
    table.assign(subject_id=table.subject_id.map(ids), object_id=table.object_id.map(ids)).to_csv(
        tmp_path / "b.csv", index=False
    )
    assert read_graphs(tmp_path / "b.csv") == [related_only(example_graph())]


def test_names_that_a_spreadsheet_would_run(tmp_path: Path) -> None:
    graph = example_graph()
    graph["entities"][1]["class"] = "=1+1"
    write_graphs(graph, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["subject"] == "'=1+1"
    assert read_graphs(tmp_path / "a.csv")[0]["entities"][1]["class"] == "=1+1"


def changed(column: str, value: str, row: int = 1) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return change


WRONG: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "column": (
        lambda t: t.drop(columns="subject_x0"),
        r"line 1 has no column subject_x0: it needs the columns image",
    ),
    "similar": (
        lambda t: t.rename(columns={"image_width": "image_widht"}),
        r"line 1 has no column image_width \('image_widht' is similar\)",
    ),
    "no number": (changed("score", "high"), r"line 3: score is 'high': give a number"),
    "NaN": (changed("object_y1", "nan"), r"line 3: object_y1 is missing: give a number"),
    "infinite": (changed("object_y1", "inf"), r"line 3: object_y1 is inf"),
    "no corner": (changed("object_y1", ""), r"line 3: object_y1 is missing"),
    "no id": (changed("object_id", ""), r"line 3: object_id is missing"),
    "id": (changed("object_id", "1.5"), r"line 3: object_id is '1\.5': give an integer"),
    "negative id": (changed("object_id", "-1"), r"line 3: object_id is -1"),
    "score": (changed("subject_score", "97"), r"line 3: subject_score is 97\.0: give a number from 0 to 1"),
    "id NA": (changed("object_id", "NA"), r"line 3: object_id is missing"),
    "negative id as a float": (changed("object_id", "-1.0"), r"line 3: object_id is -1"),
    "width": (changed("image_width", "0"), r"line 3: image_width is 0"),
    "other width": (
        changed("image_width", "65"),
        r"line 3: the image .* has 65 x 48 pixels, and 64 x 48 in line 2",
    ),
    "other class": (
        changed("object", "mug"),
        r"line 3: the object 1 of the image .* is \('mug', .*and \('cup', .* in line 2: an id is one entity",
    ),
    "other box": (changed("object_x0", "5"), r"line 3: the object 1 of the image"),
    "corners exchanged": (
        lambda t: t.assign(subject_x0="30", object_x0="30"),
        r"image 'party/한국.jpg': entities\[0\] has the box \[30\.0, 0\.0, 10\.0",
    ),
    "underscore": (changed("image_width", "6_4"), r"line 3: image_width is '6_4'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str, table: pd.DataFrame, tmp_path: Path) -> None:
    change, message = WRONG[case]
    change(table).to_csv(tmp_path / "wrong.csv", index=False)
    with pytest.raises(ValueError, match=rf"wrong\.csv, {message}"):
        read_graphs(tmp_path / "wrong.csv")


@pytest.mark.parametrize("missing", ["NaN", "NA", "None", "<NA>", "null"])
def test_floats_and_missing_scores_of_pandas(missing: str, table: pd.DataFrame, tmp_path: Path) -> None:
    whole = [name for name, kind in COLUMNS.items() if kind is int]
    scores = [name for name in COLUMNS if name.endswith("score")]
    table = table.assign(**{name: table[name] + ".0" for name in whole}, **dict.fromkeys(scores, missing))
    table.to_csv(tmp_path / "b.csv", index=False)
    (found,) = read_graphs(tmp_path / "b.csv")
    wanted = related_only(example_graph())
    assert [entity["box"] for entity in found["entities"]] == [x["box"] for x in wanted["entities"]]
    records = [*found["entities"], *found["relationships"]]
    assert len(records) == len(wanted["entities"]) + len(wanted["relationships"])
    assert all(record["score"] is None and "predicate_score" not in record for record in records)


def test_empty_columns_and_rows_of_a_spreadsheet(tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    text = "".join(f"{line},,\n" for line in [*lines, "," * (len(COLUMNS) - 1), ""])
    (tmp_path / "a.csv").write_text(text)
    assert read_graphs(tmp_path / "a.csv") == [related_only(example_graph())]


def test_a_column_that_occurs_twice_and_a_short_line(tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "a.csv")
    header, first, *_ = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "twice.csv").write_text(f"{header},score\n{first},1\n")
    with pytest.raises(ValueError, match=r"twice\.csv, line 1 has the column score twice"):
        read_graphs(tmp_path / "twice.csv")
    (tmp_path / "short.csv").write_text(f"{header}\n{first}\na,b\n")
    with pytest.raises(ValueError, match=r"short\.csv: line 3, image a: 2 fields, but the header has 20"):
        read_graphs(tmp_path / "short.csv")
    (tmp_path / "cut.csv").write_text(f"{header}\n{first[:-1]}")
    with pytest.raises(ValueError, match=r"cut\.csv: the last line has no line break"):
        read_graphs(tmp_path / "cut.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ValueError, match=r"empty\.csv: the file is empty\. Write it again"):
        read_graphs(tmp_path / "empty.csv")


@pytest.mark.parametrize(
    ("mark", "message"),
    [(";", "line 1 has ';' between"), ("\t", r"line 1 has '\\t' between"), ("sep=", "line 1 is 'sep=,,'")],
    ids=["semicolon", "tab", "line of a spreadsheet"],
)
def test_other_marks_between_columns_are_named(mark: str, message: str, tmp_path: Path) -> None:
    write_graphs(example_graph(), tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text()
    text = f"sep=,,\n{text}" if mark == "sep=" else text.replace(",", mark)
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.csv, {message}"):
        read_graphs(tmp_path / "a.csv")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings_are_named(encoding: str, tmp_path: Path) -> None:
    graph = example_graph()
    graph["image"]["file_name"], graph["entities"][2]["class"] = "café.jpg", "dog"
    write_graphs(graph, tmp_path / "a.csv")
    (tmp_path / "a.csv").write_bytes((tmp_path / "a.csv").read_text(encoding="utf-8").encode(encoding))
    with pytest.raises(ValueError, match=r"a\.csv: not UTF-8 after line 0; save it as CSV in UTF-8"):
        read_graphs(tmp_path / "a.csv")


def test_names_that_we_would_write_otherwise_stay(table: pd.DataFrame, tmp_path: Path) -> None:
    for name in (r"photos\new\x41.jpg", r"C:\Users\me.jpg", "'a'.jpg", r"\Uffffffff.jpg"):
        table.assign(image=name).to_csv(tmp_path / "b.csv", index=False)
        assert read_graphs(tmp_path / "b.csv")[0]["image"]["file_name"] == name


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_what_has_no_row_is_counted(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, alone = images("a.jpg", "b.jpg")
    alone["relationships"] = []
    path = tmp_path / f"t{FORMATS[name].ending}"
    write_graphs([whole, alone], path)
    left = len(alone["entities"]) + len(whole["entities"]) - len(related_only(whole)["entities"])
    message = f"{path}: {left} entities and 1 images without a relationship are not in the table: use jsonl"
    assert [x.getMessage() for x in caplog.records] == [message]
    caplog.clear()
    write_graphs([related_only(whole)], path)
    assert not caplog.records


def test_a_table_of_pandas_as_parquet(table: pd.DataFrame, tmp_path: Path) -> None:
    """Other types of numbers are taken, and others are named."""
    typed = table.astype({name: "float64" for name, kind in COLUMNS.items() if kind is float})
    typed = typed.astype({name: "int64" for name, kind in COLUMNS.items() if kind is int})
    typed.astype({"image": "category"}).to_parquet(tmp_path / "a.parquet")
    assert read_graphs(tmp_path / "a.parquet") == [related_only(example_graph())]
    typed.assign(score="high").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet is no Parquet with the types"):
        read_graphs(tmp_path / "b.parquet")
    typed.assign(subject=None).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=r"c\.parquet, row 1 of c\.parquet: subject is missing"):
        read_graphs(tmp_path / "c.parquet")
    for column, values in (("object_id", True), ("image", b"a.jpg"), ("subject", pd.Timestamp(0))):
        typed.assign(**{column: values}).to_parquet(tmp_path / "e.parquet")
        with pytest.raises(ValueError, match=rf"e\.parquet: the column {column} has the type"):
            read_graphs(tmp_path / "e.parquet")
    typed.drop(columns="score").to_parquet(tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"d\.parquet has no column score"):
        read_graphs(tmp_path / "d.parquet")


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "triplets.parquet"
    folder.mkdir()
    for number, graph in enumerate(images("a.jpg", "b.jpg")):
        with (folder / f"part-0000{number}.parquet").open("wb") as file, parquet.RowWriter(file) as writer:
            writer.write(list(rows_of(graph)))
    with (folder / "part-00002.parquet").open("wb") as file, parquet.RowWriter(file) as writer:
        writer.write([])
    assert [graph["image"]["file_name"] for graph in read_graphs(folder)] == ["a.jpg", "b.jpg"]
    assert len(pd.read_parquet(folder)) == 2 * len(example_graph()["relationships"])
    pd.read_parquet(folder).to_parquet(tmp_path / "partitioned", partition_cols=["image_width"])
    with pytest.raises(ValueError, match=r"partitioned has files in folders below it, as image_width=64/"):
        read_graphs(tmp_path / "partitioned", file_format="parquet")
    (tmp_path / "empty.parquet").mkdir()
    with pytest.raises(ValueError, match=r"empty\.parquet is a folder without a file"):
        read_graphs(tmp_path / "empty.parquet")


def images(*names: str) -> list[Any]:
    return [{**example_graph(), "image": {"file_name": name, "width": 64, "height": 48}} for name in names]


def test_many_rows_are_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_MOST_ROWS", 7)
    graphs = images(*"abcde")
    write_graphs(graphs, tmp_path / "a.parquet")
    assert read_graphs(tmp_path / "a.parquet") == [related_only(graph) for graph in graphs]


@pytest.mark.parametrize(("name", "package"), [("parquet", "pyarrow"), ("dot", "pydot")])
def test_a_missing_package_is_named(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{FORMATS[name].ending}"
    write_graphs(example_graph(), path)

    def missing(module: str) -> Any:
        raise ModuleNotFoundError(module)

    monkeypatch.setattr("reldn_d2.utils.extras.import_module", missing)
    with pytest.raises(ValueError, match=rf"install the package {package}: pip install 'reldn-d2\[{name}\]'"):
        read_graphs(path)
    if name == "parquet":
        with pytest.raises(ValueError, match="install the package pyarrow"):
            write_graphs(example_graph(), tmp_path / "b.parquet")
