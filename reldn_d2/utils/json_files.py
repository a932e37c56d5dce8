"""Reads text and JSON files, and checks JSON values."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from .refusals import Refusal, refuse


class _RepeatedKeyError(ValueError):
    """A JSON object has a key twice."""


def read_text(path: str | os.PathLike[str]) -> str:
    """Reads a whole text file.

    Args:
        path: file in UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_text(path, error) from error


def read_json(path: str | os.PathLike[str], *, unique_keys: bool = False) -> Any:
    """Reads a JSON file.

    Args:
        path: file in UTF-8.
        unique_keys: whether an object with the same key twice is refused, see `refusals`. Otherwise the last
            value counts, as usual in JSON.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not UTF-8 or not JSON, or it repeats a key.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Annotation file {path} does not exist. Check DETECTRON2_DATASETS, or the path that the data "
            "set was registered with; datasets/README.md shows the expected tree."
        ) from error
    return parse_json(content, path, unique_keys=unique_keys)


def parse_json(content: bytes, path: str | os.PathLike[str], *, unique_keys: bool = False) -> Any:
    """Parses the content of a JSON file.

    Args:
        content: text in UTF-8, with or without a byte order mark.
        path: the file, for messages.
        unique_keys: see `read_json`.

    Raises:
        ValueError: it is not UTF-8 or not JSON, or it repeats a key.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_text(path, error) from error
    try:
        return json.loads(text, object_pairs_hook=partial(_unique, path) if unique_keys else None)
    except _RepeatedKeyError as error:
        raise ValueError(f"{path}: {error}, and only the last would count. Remove one.") from error
    # RecursionError: the lists are nested too deeply
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}); it may be cut off. Unpack the official file again, or "
            "export yours again."
        ) from error


def _unique(path: str | os.PathLike[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The dict of an object whose repeated keys are refused, see `refusals`. Then the last value counts."""
    try:
        return without_repeated_keys(pairs)
    except ValueError as error:
        twice = Refusal("an object", str(error), "Remove one of the two.")
        refuse(path, "key that occurs twice", 1, lambda _: twice, error)
    return dict(pairs)


def _no_text(path: str | os.PathLike[str], error: UnicodeDecodeError) -> ValueError:
    return ValueError(
        f"{path} is not text in UTF-8 ({error}). Unpack it if it is compressed, or save it as UTF-8."
    )


def without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a dict of the members of a JSON object, as `object_pairs_hook` of `json.loads`.

    Raises:
        ValueError: a key occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise _RepeatedKeyError(f"the key {repeated!r} occurs twice")
    return found


def is_id(value: Any) -> bool:
    """Whether a JSON value is an integer that int64 can hold."""
    return type(value) is int and abs(value) < 2**63


def is_side(value: Any) -> bool:
    """Whether a JSON value can be an image's width or height: an integer in [1, 2**31)."""
    return type(value) is int and 0 < value < 2**31


def is_box(value: Any) -> bool:
    """Whether a JSON value is a list of four numbers, in any order. They may be NaN or infinite."""
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that an array can hold. It may be NaN or infinite."""
    # an integer of more digits fits no array
    return type(value) is float or is_id(value)
