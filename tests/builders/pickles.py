"""Pickles as other versions of Python and NumPy write them, and malicious ones."""

import io
import pickle
import struct
from types import FunctionType
from typing import Any

import numpy as np


class _OtherNumpy(pickle._Pickler):  # type: ignore[misc]
    """Writes NumPy's functions under the module name `core`, because NumPy 2 renamed that module."""

    core = ""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "__module__", "") or ""
        if not module.startswith("numpy._core"):
            super().save_global(obj, name)
            return
        written = module.replace("numpy._core", self.core)
        if self.proto < 4:
            self.write(pickle.GLOBAL + f"{written}\n{obj.__name__}\n".encode())
        else:
            self.save(written)
            self.save(obj.__name__)
            self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)

    dispatch = {**pickle._Pickler.dispatch, FunctionType: save_global}  # noqa: RUF012  pickle's own table


def pickled_by(core: str, protocol: int, content: Any) -> bytes:
    """The pickle of a NumPy whose functions are in `core` ("numpy.core" or "numpy._core")."""
    file = io.BytesIO()
    pickler = _OtherNumpy(file, protocol)
    pickler.core = core
    pickler.dump(content)
    return file.getvalue()


def pickled_by_python2(arrays: dict[str, np.ndarray]) -> bytes:
    """A pickle of protocol 2, written by hand: strings and the numbers of arrays are bytes."""
    out = b"\x80\x02}"
    for name, array in arrays.items():
        out += _string(name.encode("latin1"))
        out += b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + _string(b"b") + b"tR"
        kind = array.dtype.str.lstrip("<|").encode()
        dtype = b"cnumpy\ndtype\n(" + _string(kind) + b"K\x00K\x01tR(K\x03" + _string(b"<") + b"NNN"
        dtype += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = b"(" + b"".join(b"J" + struct.pack("<i", n) for n in array.shape) + b"t"
        out += b"(K\x01" + shape + dtype + b"\x89" + _string(array.tobytes()) + b"tb"
        out += b"s"
    return out + b"."


def _string(text: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(text)) + text


class Calls:
    """An object whose pickle calls `function` with `args` when it is loaded."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call
