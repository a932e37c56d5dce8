"""Shards: nested columns that other programs read, keys and identity, and files that are no shards."""

from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from reldn_d2.scene_graphs import read_graphs, write_graphs
from reldn_d2.scene_graphs.formats.shards import (
    ImageKey,
    OtherShardError,
    RowEncoder,
    ShardFile,
    read_identity,
    row_schema,
)
from reldn_d2.structures import Vocabulary
from reldn_d2.utils.shards import Key
from tests.builders.scene_graphs import example_graph

IDENTITY = {"weights (sha256)": "abc", "--top-k": "20"}
VOCABULARY = Vocabulary(["cup", "person", "컵"], ["holds", "next to", "on"])


def graph() -> Any:
    return {
        "version": 1,
        "image": {"file_name": "/photos/한국.jpg", "width": 80, "height": 90},
        "entities": [
            {"id": 0, "class": "person", "score": 0.5, "box": [0.0, 0.5, 50.0, 90.0]},
            {"id": 1, "class": "컵", "score": 0.25, "box": [40.0, 30.0, 50.0, 40.0]},
        ],
        "relationships": [
            {"subject": 0, "object": 1, "predicate": "holds", "score": 0.125, "predicate_score": 0.75}
        ],
    }


def write(path: Path, **options: Any) -> Path:
    encoder = RowEncoder(VOCABULARY)
    rows = [
        encoder.graph(ImageKey("/t.parquet", 7, "/photos/한국.jpg", "seven"), graph()),
        encoder.error(ImageKey("/t.parquet", 8, "/photos/b\udcff.jpg"), "cannot be read"),
    ]
    with path.open("wb") as file:
        ShardFile().write(file, rows, IDENTITY, VOCABULARY, **options)
    return path


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write(tmp_path / "part-0.parquet")


def test_arrow_reads_nested_columns(shard: Path) -> None:
    table = pyarrow.parquet.read_table(shard)
    assert table.schema.remove_metadata() == row_schema()
    first, second = table.to_pylist()
    assert first == {
        "input": "/t.parquet", "row": 7, "path": "/photos/한국.jpg", "image_id": "seven",
        "width": 80, "height": 90, "error": None,
        "entities": [
            {"class_index": 1, "name": "person", "score": 0.5, "x0": 0.0, "y0": 0.5, "x1": 50.0, "y1": 90.0},
            {"class_index": 2, "name": "컵", "score": 0.25, "x0": 40.0, "y0": 30.0, "x1": 50.0, "y1": 40.0},
        ],
        "relationships": [
            {
                "subject": 0, "predicate_index": 0, "predicate": "holds", "object": 1, "score": 0.125,
                "subject_score": 0.5, "predicate_score": 0.75, "object_score": 0.25,
            }
        ],
    }  # fmt: skip
    # A name that is no text in UTF-8 is written with escapes.
    assert second["path"] == r"/photos/b\udcff.jpg" and second["error"] == "cannot be read"
    assert second["entities"] is None and second["relationships"] is None and second["width"] is None


def test_pandas_reads_them(shard: Path) -> None:
    table = pd.read_parquet(shard.parent)
    assert [x["name"] for x in table.entities[0]] == ["person", "컵"]
    assert table.relationships[0][0]["score"] == 0.125
    assert table.error.isna().tolist() == [True, False]


def test_duckdb_queries_them(shard: Path) -> None:
    found = duckdb.sql(f"""
        SELECT entities[r.subject + 1].name, r.predicate, entities[r.object + 1].name, r.score
        FROM (SELECT entities, unnest(relationships) AS r FROM '{shard.parent}/*.parquet' WHERE error IS NULL)
    """).fetchall()
    assert found == [("person", "holds", "컵", 0.125)]


def test_pages_are_compressed_and_have_checksums(shard: Path) -> None:
    columns = pyarrow.parquet.read_metadata(shard).row_group(0)
    assert {columns.column(i).compression for i in range(columns.num_columns)} == {"ZSTD"}
    content, paths = bytearray(shard.read_bytes()), columns.column(2)
    content[paths.dictionary_page_offset + paths.total_compressed_size - 1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"part-0\.parquet is no Parquet.*(?i:crc|checksum|corrupt)"):
        ShardFile().read_header(shard)


def test_a_shard_says_what_it_depends_on_and_which_rows_it_has(shard: Path) -> None:
    header = ShardFile().read_header(shard)
    keys: list[Key] = [("/t.parquet", 7, "/photos/한국.jpg"), ("/t.parquet", 8, r"/photos/b\udcff.jpg")]
    assert (header.identity, header.keys, header.ends_input) == (IDENTITY, keys, False)
    assert header.errors == [(r"/photos/b\udcff.jpg", "cannot be read")]
    assert read_identity(shard) == IDENTITY
    assert ShardFile().read_header(write(shard, ends_input=True)).ends_input


def test_graphs_come_back_without_the_errors(shard: Path) -> None:
    write_graphs(example_graph(), shard.with_name("part-1.parquet"), file_format="shards")
    first, second = read_graphs(shard.parent, file_format="shards")
    assert first == graph() and second["image"] == example_graph()["image"]


def test_other_columns_are_named(shard: Path) -> None:
    table = pyarrow.parquet.read_table(shard)
    fewer = table.drop_columns(["error"]).set_column(1, "row", table.column("row").cast(pa.int32()))
    pyarrow.parquet.write_table(fewer.append_column("more", table.column("row")), shard)
    with pytest.raises(
        OtherShardError,
        match=r"part-0\.parquet has other columns .*\(no error; more more; row is int32, not int64\)",
    ):
        ShardFile().read_header(shard)
    pyarrow.parquet.write_table(table.replace_schema_metadata({}), shard)
    with pytest.raises(OtherShardError, match=r"part-0\.parquet is no shard .*\(its metadata have no entry"):
        read_identity(shard)


def test_a_class_without_a_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="the vocabulary does not have '컵'"):
        RowEncoder(Vocabulary(["person"], ["holds"])).graph(ImageKey("", 0, "a"), graph())
