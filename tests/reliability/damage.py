"""Generators of damage: bytes, arrays, JSON values and lines of text, changed in every usual way.

Each function takes a generator of random numbers and does one change. The same seed gives the same damage.
"""

import copy
import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

_OTHER_FORMATS = (
    b"",
    b"\n",
    b"<!doctype html><html><body>404 Not Found</body></html>",
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    b'{"images": [], "annotations": []}',
    b"PK\x05\x06" + bytes(18),
    b"\x80\x02}q\x00.",
)
#: Changes of bytes.
BYTES = (
    *("bit flipped", "byte replaced", "bytes zeroed", "cut", "end cut", "bytes appended", "bytes removed"),
    *("bytes repeated", "another format"),
)


def damaged_bytes(whole: bytes, random: Random) -> tuple[str, bytes]:
    """Changes the bytes of a file. Returns the kind of damage and the bytes."""
    kind = random.choice(BYTES)
    place = random.randrange(len(whole))
    length = random.randint(1, max(1, min(64, len(whole) - place)))
    head, tail = whole[:place], whole[place + length :]
    changed = {
        "bit flipped": lambda: head + bytes([whole[place] ^ 1 << random.randrange(8)]) + whole[place + 1 :],
        "byte replaced": lambda: head + random.randbytes(1) + whole[place + 1 :],
        "bytes zeroed": lambda: head + bytes(length) + tail,
        "cut": lambda: head,
        "end cut": lambda: whole[: -random.randint(1, min(3, len(whole)))],
        "bytes appended": lambda: whole + random.randbytes(length),
        "bytes removed": lambda: head + tail,
        "bytes repeated": lambda: whole[: place + length] + whole[place:],
        "another format": lambda: random.choice(_OTHER_FORMATS),
    }[kind]()
    return kind, changed


# Changes of one array, of which each needs a value at least.
_OF_VALUES: dict[str, Callable[[np.ndarray, Random], np.ndarray]] = {
    "rows removed": lambda x, _: x[:-1],
    "rows repeated": lambda x, _: np.concatenate([x, x[-1:]]),
    "rows swapped": lambda x, _: np.concatenate([x[-1:], x[1:-1], x[:1]]) if len(x) > 1 else x,
    "ten times": lambda x, _: x * 10 if x.dtype.kind != "b" else ~x,
    "NaN": lambda x, random: _with(x, np.nan, random),
    "infinite": lambda x, random: _with(x, np.inf, random),
    "1e30": lambda x, random: _with(x, 1e30, random),
    "negative": lambda x, random: _with(x, -1, random),
    "out of range": lambda x, random: _with(x, 99999, random),
    "moved by one": lambda x, random: _with(x, x.flat[_place(x, random)] + 1, random),
}
_OF_TYPES: dict[str, Callable[[np.ndarray, Random], np.ndarray]] = {
    "other type": lambda x, random: x.astype(random.choice([np.float16, np.int8, np.uint64, np.complex64])),
    "text": lambda x, _: x.astype(np.str_),
    "bytes as text": lambda x, _: x.astype(np.bytes_) if x.dtype.kind != "U" else x.view(np.uint32),
    "another axis": lambda x, _: x[None],
    "without axes": lambda x, _: x.reshape(-1)[:1].reshape(()) if x.size else x.reshape(-1).sum(),
    "flat": lambda x, _: x.reshape(-1) if x.ndim > 1 else x[..., None],
}
_OF_NAMES = ("dropped", "renamed")
#: Changes of arrays.
ARRAYS = (*_OF_NAMES, *_OF_TYPES, *_OF_VALUES)


def damaged_arrays(arrays: Mapping[str, np.ndarray], random: Random) -> tuple[str, Arrays]:
    """Changes one of the arrays of a file. Returns "kind: name" and all arrays."""
    changed = dict(arrays)
    while True:
        name, kind = random.choice(sorted(arrays)), random.choice(ARRAYS)
        array = arrays[name]
        if kind in _OF_NAMES:
            del changed[name]
            if kind == "renamed":
                changed[f"{name}_"] = array
            return f"{kind}: {name}", changed
        numeric = array.dtype.kind in "biuf"
        # Every truth value is in range.
        has_range = numeric and (array.dtype.kind != "b" or kind == "ten times")
        if kind in _OF_VALUES and not (array.ndim and len(array) and (has_range or kind.startswith("rows"))):
            continue
        if kind in ("other type", "text", "bytes as text") and not numeric:
            continue
        with np.errstate(all="ignore"):
            changed[name] = {**_OF_TYPES, **_OF_VALUES}[kind](array, random)
        return f"{kind}: {name}", changed


def _place(array: np.ndarray, random: Random) -> int:
    return random.randrange(array.size)


def _with(array: np.ndarray, value: Any, random: Random) -> np.ndarray:
    """The array with one other value, which it is made to hold if it can."""
    kind = array.dtype
    if kind.kind in "iub" and isinstance(value, float) and not np.isfinite(value):
        kind = np.dtype(np.float64)
    changed = array.astype(kind)
    flat = changed.reshape(-1)
    flat[_place(array, random)] = np.asarray(value).astype(kind)
    return changed


_JSON_VALUES = (None, True, "x", "", [], {}, -1, 0.5, 1e30, float("nan"), float("inf"), 10**30, 99999)
#: Changes of JSON.
JSON = ("dropped", "renamed", "replaced", "repeated", "swapped")


def damaged_json(text: bytes, random: Random) -> tuple[str, bytes]:
    """Changes one value of a JSON file. Returns the kind of damage and the file."""
    content = copy.deepcopy(json.loads(text))
    places: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, x in items:
            places.append((value, key))
            if isinstance(x, dict | list):
                collect(x)

    collect(content)
    parent, key = random.choice(places)
    kind = random.choice(JSON)
    if kind == "dropped":
        del parent[key]
    elif kind == "renamed" and isinstance(parent, dict):
        parent[f"{key}_"] = parent.pop(key)
    elif kind == "repeated" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif kind == "swapped" and isinstance(parent, list):
        parent[0], parent[key] = parent[key], parent[0]
    else:
        kind, parent[key] = "replaced", random.choice(_JSON_VALUES)
    return kind, json.dumps(content).encode()


_FIELDS = ("", "x", "nan", "inf", "-1", "1e30", "1e999", "2", "=1+1", '"', "0,5")
#: Changes of lines.
LINES = ("line dropped", "line repeated", "lines swapped", "field dropped", "field replaced", "number cut")


def damaged_lines(text: bytes, random: Random) -> tuple[str, bytes]:
    """Changes a line of a CSV file. Returns the kind of damage and the file."""
    lines = text.decode().splitlines()
    place, kind = random.randrange(len(lines)), random.choice(LINES)
    fields = lines[place].split(",")
    field = random.randrange(len(fields))
    if kind == "line dropped":
        del lines[place]
    elif kind == "line repeated":
        lines.insert(place, lines[place])
    elif kind == "lines swapped":
        other = random.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    elif kind == "number cut":  # what a cut file looks like
        return kind, "\n".join([*lines[:place], lines[place][:-1]]).encode()
    else:
        fields[field : field + 1] = [] if kind == "field dropped" else [random.choice(_FIELDS)]
        lines[place] = ",".join(fields)
    return kind, ("\n".join(lines) + "\n").encode()
