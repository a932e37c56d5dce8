"""What stands in for NumPy while a pickle is read: nothing in the file reaches NumPy before it was checked.

NumPy's own constructors trust a pickle. They take the bytes of a file for pointers, if it says that an array
has objects. So the names of NumPy in a pickle lead to the small classes here. These accept numbers, truth
values and fixed text, check that shape and number of bytes fit, and make the arrays themselves.
"""

import collections
import pickle
import re
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Type strings of numbers, truth values, bytes and text, without the sign for the order of bytes.
_NUMBERS = {np.dtype(code).str[1:] for code in np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"}
_TEXT = re.compile(r"[SU][1-9]\d{0,6}")
_MOST_AXES = 32
_LAST_CHARACTER = 0x10FFFF
_PLAIN = (str, bytes, bytearray, int, float, complex, np.generic, type(None))


def _refusal(reason: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(reason)


class PickledType:
    """Stands in for `numpy.dtype`.

    Attributes:
        dtype: the type that was asked for, one of numbers, truth values, bytes or text.
    """

    __slots__ = ("_code", "dtype")

    def __init__(self, code: str, align: Any = False, copy: Any = True) -> None:
        """Takes what `numpy.dtype` takes in a pickle; only `code` matters.

        Raises:
            UnpicklingError: it is another type, such as objects or a record.
        """
        del align, copy
        kind = code.lstrip("<>=|") if isinstance(code, str) else ""
        if kind not in _NUMBERS and not _TEXT.fullmatch(kind):
            raise _refusal(f"it asks for the type {code!r:.60}, which is no number, truth value or text")
        self._code, self.dtype = kind, np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Takes the order of bytes, and checks that nothing else is said.

        Args:
            state: version, order, three times None for a type without parts, and more that is not used.

        Raises:
            UnpicklingError: the type has parts, or the state is of another kind.
        """
        known = isinstance(state, tuple) and len(state) in (8, 9) and state[0] in (3, 4)
        if not known or state[1] not in ("<", ">", "=", "|") or state[2:5] != (None, None, None):
            raise _refusal("it has a type of an unknown kind, or one with parts")
        self.dtype = np.dtype(state[1] + self._code)


class PickledArray:
    """Stands in for `numpy.ndarray` until the whole pickle is read.

    Attributes:
        array: the array; None as long as the file has not said what it contains.
    """

    __slots__ = ("array",)
    __hash__ = None  # type: ignore[assignment]  # an array is no key and in no set

    def __init__(self, array: NDArray[Any] | None = None) -> None:
        """Takes the array, if its content is known already."""
        self.array = array

    def __setstate__(self, state: Any) -> None:
        """Makes the array.

        Args:
            state: version, shape, type, whether it is in Fortran order, and the bytes.

        Raises:
            UnpicklingError: it is not of this kind, or shape and number of bytes do not fit.
        """
        if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1 or self.array is not None:
            raise _refusal("it has an array of an unknown kind")
        _, shape, kind, is_fortran, raw = state
        self.array = _array(raw, kind, shape, "F" if is_fortran else "C")


def _array(raw: Any, kind: Any, shape: Any, order: Any) -> NDArray[Any]:
    """A new array with the order of bytes of this machine.

    Raises:
        UnpicklingError: type, shape and bytes are not what they must be, or do not fit.
    """
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if len(sizes) > _MOST_AXES or any(type(size) is not int or size < 0 for size in sizes):
        raise _refusal(f"it has an array of the shape {shape!r:.60}")
    if not isinstance(kind, PickledType) or order not in ("C", "F"):
        raise _refusal("it has an array of an unknown type or order")
    if isinstance(raw, str):  # Python 2
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise _refusal(f"it has an array whose content is of the type {type(raw).__name__}, not bytes")
    if prod(sizes) * kind.dtype.itemsize != len(raw):
        raise _refusal(f"it has an array of the shape {sizes} and type {kind.dtype} with {len(raw)} bytes")
    flat = np.frombuffer(raw, kind.dtype)
    if kind.dtype.kind == "U":
        letters = np.frombuffer(raw, np.dtype("u4").newbyteorder(kind.dtype.byteorder))
        if letters.size and letters.max() > _LAST_CHARACTER:
            raise _refusal("it has text that is no Unicode")
    native: NDArray[Any] = flat.reshape(sizes, order=order).astype(kind.dtype.newbyteorder("="))
    return native


class _Function:
    """A function in the file. A pickle can't change it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise _refusal("it changes a function")


class _Reconstruct(_Function):
    """Stands in for `_reconstruct`, which makes an array that gets its content later."""

    __slots__ = ()

    def __call__(self, kind: Any, shape: Any, code: Any) -> PickledArray:
        del shape, code  # always those of an empty array
        if kind is not PickledArray:
            raise _refusal("it has an array of another class")
        return PickledArray()


class _Scalar(_Function):
    """Stands in for `scalar`, which makes a number of NumPy."""

    __slots__ = ()

    def __call__(self, kind: Any, raw: Any) -> Any:
        return read_scalar(kind, raw)


def read_scalar(kind: Any, raw: Any) -> Any:
    """A number or text of NumPy.

    Raises:
        UnpicklingError: type and bytes are not what they must be, or do not fit.
    """
    return _array(raw, kind, (), "C")[()]


class _FromBuffer(_Function):
    """Stands in for `_frombuffer`, which makes the arrays in pickles of protocol 5."""

    __slots__ = ()

    def __call__(self, raw: Any, kind: Any, shape: Any, order: Any, axis_order: Any = None) -> PickledArray:
        if order == "K" and axis_order is not None:
            return PickledArray(_array(raw, kind, shape, "C").transpose(axis_order))
        return PickledArray(_array(raw, kind, shape, order))


class _Encode(_Function):
    """Stands in for `codecs.encode`, by which old protocols write bytes. Other encodings can be slow."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise _refusal(f"it asks for the encoding {encoding!r:.60}")
        return text.encode("latin1")


#: Name in the file -> what stands in for it: all that old and new files need. NumPy 2 renamed `numpy.core`,
#: and Python 3 renamed `__builtin__`.
ALLOWED: dict[str, Any] = {
    "numpy.ndarray": PickledArray,
    "numpy.dtype": PickledType,
    "collections.OrderedDict": collections.OrderedDict,
    "_codecs.encode": _Encode(),
    **{
        f"{core}.{name}": value
        for core in ("numpy.core", "numpy._core")
        for name, value in (
            ("multiarray._reconstruct", _Reconstruct()),
            ("multiarray.scalar", _Scalar()),
            ("numeric._frombuffer", _FromBuffer()),
        )
    },
    **{
        f"{builtins}.{kind.__name__}": kind
        for builtins in ("builtins", "__builtin__")
        for kind in (bytes, bytearray, set, frozenset)
    },
}


class ArrayUnpickler(pickle.Unpickler):
    """Accepts the names in `ALLOWED` and no others. `with_arrays` finishes what it loads."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands in for a name in the file.

        Raises:
            UnpicklingError: the name is not in `ALLOWED`.
        """
        full_name = f"{module}.{name}"
        if full_name not in ALLOWED:
            raise _refusal(f"it asks for {full_name}, which is not part of an array")
        return ALLOWED[full_name]


def with_arrays(content: Any) -> Any:
    """The content of a pickle with arrays where they were being read. Dicts and lists are changed in place.

    Raises:
        UnpicklingError: something else is in it than containers, arrays, numbers and text.
    """
    return _finished(content, {})


def _finished(value: Any, known: dict[int, Any]) -> Any:
    """A value with arrays in it; `known` has the containers that were met before, by id."""
    if isinstance(value, _PLAIN):
        return value
    if type(value) is PickledArray and value.array is not None:
        return value.array
    if isinstance(value, set | frozenset) and all(isinstance(item, _PLAIN) for item in value):
        return value
    if not isinstance(value, dict | list | tuple):
        raise _refusal(f"it contains a {type(value).__name__}, which is no array, number or text")
    if id(value) in known:
        return known[id(value)]
    if isinstance(value, tuple):
        made = known[id(value)] = tuple(_finished(item, known) for item in value)
        return made
    known[id(value)] = value
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        value[key] = _finished(item, known)
    return value


def scalar_called(module: str) -> Callable[[Any, Any], Any]:
    """A function like `read_scalar`, named as NumPy's `scalar` in one of its modules; for PyTorch."""

    def scalar(kind: Any, raw: Any) -> Any:
        return read_scalar(kind, raw)

    scalar.__module__, scalar.__qualname__ = module, "scalar"
    return scalar


def type_for_torch() -> type[PickledType]:
    """`PickledType`, named as `numpy.dtype`; for PyTorch, which knows what it may read by its own name."""
    return type("dtype", (PickledType,), {"__slots__": (), "__module__": "numpy"})
