"""Half files and files with wrong bytes: an error that names the file, or graphs that are graphs."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reldn_d2.scene_graphs import FORMATS, checked_graph, read_graphs, write_graphs
from tests.builders.scene_graphs import example_graph, related_only


def written(name: str, folder: Path) -> tuple[Path, bytes]:
    path = folder / f"graphs{FORMATS[name].ending}"
    write_graphs(example_graph(), path, file_format=name)
    return path, path.read_bytes()


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25)
@given(share=st.floats(0, 1, exclude_max=True))
def test_half_files_are_refused(name: str, tmp_path: Path, share: float) -> None:
    path, content = written(name, tmp_path)
    (whole,) = read_graphs(path, file_format=name)
    path.write_bytes(content[: int(share * len(content))])
    try:
        found = read_graphs(path, file_format=name)
    except ValueError as error:
        assert str(path) in str(error)
        return
    if name == "csv":
        # Nothing says how many rows follow.
        begin = (
            {**whole, "relationships": whole["relationships"][: len(found[0]["relationships"])]}
            if found
            else None
        )
        assert found == ([] if begin is None else [related_only(begin)])
    else:
        # What is missing is the line feed at the end, or the file is empty, which JSON Lines may be.
        assert found == [whole] or (name == "jsonl" and not path.read_bytes() and not found)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40)
@given(share=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_wrong_bytes_do_no_harm(name: str, tmp_path: Path, share: float, byte: int) -> None:
    path, content = written(name, tmp_path)
    place = int(share * len(content))
    path.write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
    try:
        found = read_graphs(path, file_format=name)
    except ValueError as error:
        assert str(path) in str(error)
        return
    for graph in found:
        checked_graph(graph, "what was read")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}",
        b"[]",
        b"null",
        b"<a/>",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"graph {}",
        b"digraph {a -> b}",
    ],
    ids=["empty", "blank", "object", "list", "null", "xml", "utf-16", "deep", "undirected", "other graph"],
)
def test_other_files_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"other{FORMATS[name].ending}"
    path.write_bytes(content)
    # No graphs at all.
    if (name == "jsonl" and not content.strip()) or (name == "label-studio" and content == b"[]"):
        assert read_graphs(path, file_format=name) == []
        return
    with pytest.raises(ValueError, match=rf"other\{FORMATS[name].ending}"):
        read_graphs(path, file_format=name)


def test_pages_of_parquet_have_checksums(tmp_path: Path) -> None:
    """A wrong byte inside the data of a page is found, though the table could be read."""
    path, content = written("parquet", tmp_path)
    place = content.index("컵".encode()) if "컵".encode() in content else content.index(b"holds")
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(ValueError, match=r"graphs\.parquet is no Parquet.*(?i:checksum|crc)"):
        read_graphs(path)


def test_two_graphs_in_a_graphml_file_are_refused(tmp_path: Path) -> None:
    path, content = written("graphml", tmp_path)
    begin = content.index(b"<graph ")
    end = content.index(b"</graph>") + len(b"</graph>")
    path.write_bytes(content[:end] + content[begin:end] + content[end:])
    with pytest.raises(ValueError, match=r"graphs\.graphml has 2 graphs.*use jsonl"):
        read_graphs(path)
