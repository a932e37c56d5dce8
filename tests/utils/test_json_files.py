import gzip
from pathlib import Path
from typing import Any

import pytest

from reldn_d2.utils.json_files import is_box, is_id, is_side, read_json, read_text


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file.json"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_ignored(tmp_path: Path, encoding: str) -> None:
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
def test_invalid_json_is_refused_with_the_file(tmp_path: Path, content: bytes) -> None:
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
    with pytest.raises(ValueError, match=r"file\.json: the key 'c' occurs twice, .* Remove one"):
        read_json(path, unique_keys=True)


@pytest.mark.parametrize("value", [0, -5, 2**63 - 1, -(2**63) + 1])
def test_integers_of_64_bits_are_ids(value: Any) -> None:
    assert is_id(value)


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**30, True, 1.0, "1", None, [1]])
def test_other_values_are_no_ids(value: Any) -> None:
    assert not is_id(value)


@pytest.mark.parametrize("value", [1, 640, 2**31 - 1])
def test_positive_integers_are_sides(value: Any) -> None:
    assert is_side(value)


@pytest.mark.parametrize("value", [0, -1, 2**31, 10**400, True, 5.0, "5", None])
def test_other_values_are_no_sides(value: Any) -> None:
    assert not is_side(value)


@pytest.mark.parametrize("value", [[1, 2.5, -3, 0], [float("nan"), float("inf"), 9, 1], [2**63 - 1] * 4])
def test_lists_of_four_numbers_are_boxes(value: Any) -> None:
    assert is_box(value)


@pytest.mark.parametrize(
    "value",
    [[], [1, 2, 3], [1, 2, 3, 4, 5], "1234", (1, 2, 3, 4), {1, 2, 3, 4}, 5, None]
    + [[1, 2, 3, other] for other in ("4", True, None, 10**400, [4], 2**63)],
)
def test_other_values_are_no_boxes(value: Any) -> None:
    assert not is_box(value)
