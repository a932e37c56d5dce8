import gzip
from pathlib import Path

import pytest

from reldn_d2.utils.json_files import read_json, read_text


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file.json"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_does_no_harm(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, '["é"]\n'.encode(encoding))
    assert read_text(path) == '["é"]\n'
    assert read_json(path) == ["é"]


@pytest.mark.parametrize(
    "content", [gzip.compress(b"[]", mtime=0), "[]".encode("utf-16"), "é".encode("latin-1")]
)
def test_other_encodings_are_refused_with_the_file(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    for read in (read_text, read_json):
        with pytest.raises(ValueError, match=r"file\.json is not text in UTF-8 .*Unpack it") as error:
            read(path)
        assert type(error.value) is ValueError


@pytest.mark.parametrize(
    "content", [b"", b"[", b"[" * 200_000, b'{"a":' * 200_000, b"[1" + b"0" * 5000 + b"]"]
)
def test_what_is_no_json_is_refused_with_the_file(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"file\.json is not valid JSON .*Unpack the official file again"):
        read_json(written(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.json does not exist\. Check DETECTRON2_DATASETS"):
        read_json(tmp_path / "no.json")
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "no.json")


def test_repeated_keys_are_refused_if_asked(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"a": 1, "b": {"c": 2, "c": 3}}')
    assert read_json(path) == {"a": 1, "b": {"c": 3}}
    with pytest.raises(ValueError, match="the key 'c' occurs twice"):
        read_json(path, unique_keys=True)
