"""No pickle makes NumPy take the bytes of a file for anything but numbers and text."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reldn_d2.checkpoint.safe_files import read_pickle, read_torch
from tests.builders.pickles import Calls

# A live object: a reader that takes the bytes for a pointer gives it back instead of crashing.
SECRET = ["a list of this process"]
POINTER = struct.pack("P", id(SECRET))
CORE, NUMERIC = b"cnumpy.core.multiarray\n", b"cnumpy.core.numeric\n"


def push(value: Any) -> bytes:
    """The part of a pickle that pushes a value."""
    return pickle.dumps(value, protocol=3)[2:-1]


def dtype(code: str, state: Any = None) -> bytes:
    made = b"cnumpy\ndtype\n" + push((code, 0, 1)) + b"R"
    return made if state is None else made + push(state) + b"b"


def with_content(shape: bytes, kind: bytes, raw: bytes, fortran: bytes = b"\x89") -> bytes:
    """An array that gets its content as state."""
    made = CORE + b"_reconstruct\n(cnumpy\nndarray\n" + push((0,)) + push(b"b") + b"tR"
    return made + b"(K\x01" + shape + kind + fortran + raw + b"tb"


NO_FLAGS = (3, "|", None, None, None, -1, -1, 0)
FLOAT = dtype("f8", (3, "<", None, None, None, -1, -1, 0))
ONE, EIGHT = push((1,)), push(b"A" * 8)
HOSTILE = {
    "an array over a buffer": b"cnumpy\nndarray\n(" + ONE + dtype("O8") + push(POINTER) + b"tR",
    "with other flags": b"cnumpy\nndarray\n(" + ONE + dtype("O8", NO_FLAGS) + push(POINTER) + b"tR",
    "numbers over a buffer": b"cnumpy\nndarray\n(" + ONE + FLOAT + EIGHT + push(2**40) + b"tR",
    "the state of an array": with_content(ONE, dtype("O8", NO_FLAGS), push(POINTER)),
    "a list of objects": with_content(ONE, dtype("O8"), push([1])),
    "a number": CORE + b"scalar\n" + dtype("O8", NO_FLAGS) + push(POINTER) + b"\x86R",
    "a buffer": NUMERIC + b"_frombuffer\n(" + push(POINTER) + dtype("O8") + ONE + push("C") + b"tR",
    "a record": with_content(ONE, dtype([("a", "O8")]), push(POINTER)),  # type: ignore[arg-type]
    "fields of a number": with_content(
        ONE, dtype("f8", (3, "<", None, ("a",), {"a": ("O8", 0)}, 8, 8, 0)), EIGHT
    ),
    "parts of a number": with_content(ONE, dtype("f8", (3, "<", ("O8", (1,)), None, None, 8, 8, 0)), EIGHT),
    "raw memory": with_content(ONE, dtype("V8"), EIGHT),
    "a real type": with_content(ONE, push("f8"), EIGHT),
    "too few bytes": with_content(push((2,)), FLOAT, EIGHT),
    "too many bytes": with_content(push(()), FLOAT, push(b"A" * 9)),
    "negative sizes": with_content(push((-1, -1)), FLOAT, EIGHT),
    "a size that is no integer": with_content(push((1.0,)), FLOAT, EIGHT),
    "too large a size": with_content(push((2**62, 2**62, 4)), FLOAT, EIGHT),
    "too many axes": with_content(push((1,) * 99), FLOAT, EIGHT),
    "no Unicode": with_content(ONE, dtype("U1", (3, "<", None, None, None, 4, 4, 8)), push(b"\xff" * 4)),
    "a second state": with_content(ONE, FLOAT, EIGHT) + push((1, (1,), "f8", False, b"A" * 8)) + b"b",
    "no content": CORE + b"_reconstruct\n(cnumpy\nndarray\n" + push((0,)) + push(b"b") + b"tR",
    "the class of arrays": b"cnumpy\nndarray\n",
    "a slow encoding": b"c_codecs\nencode\n" + push(("a" * 9, "idna")) + b"R",
    "a key": b"}(" + with_content(ONE, FLOAT, EIGHT) + b"K\x01u",
    "nested tuples": b"K\x01" + b"\x85" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_but_numbers_and_text_is_made(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x03" + HOSTILE[name] + b".")
    with pytest.raises(ValueError, match=r"x\.pkl can't be read as weights") as error:
        read_pickle(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "kind", [np.dtype("O"), np.dtype([("a", "O")]), np.dtype("V8"), np.dtype(("f8", (1,)))]
)
@pytest.mark.parametrize("raw", [POINTER, SECRET], ids=["pointer", "secret"])  # the same in all workers
def test_numbers_in_files_of_pytorch_have_no_objects(kind: Any, raw: Any, tmp_path: Path) -> None:
    scalar = np.float64(0).__reduce__()[0]
    torch.save({"lr": Calls(scalar, kind, raw)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth can't be read as weights"):
        read_torch(tmp_path / "x.pth")


def test_a_file_of_pytorch_does_not_change_a_type(tmp_path: Path) -> None:
    """The flags of a type say whether its numbers are pointers."""

    class Flagged:
        def __reduce__(self) -> Any:
            return np.dtype, ("f8", False, True), (3, "<", None, None, None, -1, -1, 63)

    scalar = np.float64(0).__reduce__()[0]
    torch.save({"lr": Calls(scalar, Flagged(), struct.pack("d", 0.5))}, tmp_path / "x.pth")
    found = read_torch(tmp_path / "x.pth")["lr"]
    assert found == 0.5 and found.dtype == np.dtype("f8") and not found.dtype.hasobject


@given(
    code=st.sampled_from(["?", "i1", "<u2", ">i4", "<f2", ">f8", "<c16", "S3", "<U2", ">U2"]),
    shape=st.lists(st.integers(0, 3), max_size=3),
    order=st.sampled_from(["C", "F"]),
    protocol=st.integers(0, 5),
    seed=st.integers(0, 9),
)
def test_arrays_and_numbers_are_those_of_numpy(
    code: str, shape: list[int], order: Any, protocol: int, seed: int, tmp_path_factory: Any
) -> None:
    numbers = np.random.default_rng(seed).integers(0, 99, shape)
    array = np.asarray(numbers.astype(code), order=order)
    content = {"a": array, "both": (array, [array]), "number": array.ravel()[0] if array.size else None}
    path = tmp_path_factory.getbasetemp() / "arrays.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    found = read_pickle(path)
    one = found["a"]
    assert one is found["both"][0] is found["both"][1][0]
    assert type(one) is np.ndarray and one.flags.writeable
    assert (one.shape, one.dtype) == (array.shape, array.dtype.newbyteorder("="))
    np.testing.assert_array_equal(one, array)
    assert found["number"] == content["number"] and type(found["number"]) is type(content["number"])


def test_containers_that_contain_themselves(tmp_path: Path) -> None:
    content: dict[str, Any] = {"x": np.ones(2), "list": []}
    content["list"] += [content, (content["list"], content["x"])]
    shared: Any = content["x"]
    for _ in range(60):  # 2**60 values, if each was visited by every way
        shared = (shared, shared)
    content["shared"] = shared
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    found = read_pickle(tmp_path / "x.pkl")
    assert found["list"][0] is found and found["list"][1][1] is found["x"]
