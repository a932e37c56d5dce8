"""Shards of an evaluation that is not finished: the outputs of a model for some images, see `utils.shards`.

A shard is an .npz file of arrays of bytes, so reading it can't run code:

    content   JSON: {"format_version": 1, "identity": {name: text}, "records": [{"key": [...], "value": ...}]}
    data      the bytes of all arrays, one after the other
    sha256    the digest of both, see `utils.array_files`

In a value, numbers, texts, true, false and null are themselves. Everything else is an object of one entry,
which names the type:

    {"list": [...]}, {"tuple": [...]}, {"dict": {name: ...}}
    {"array" | "scalar" | "tensor": [type of the numbers, shape, start, end]}   start and end in `data`
    {"Instances": [size of the image, {field: ...}]}, {"Boxes" | "RotatedBoxes" | "BitMasks": tensor}

The bytes are those in memory, so that what is read equals what was written, bit by bit. Only true and false
are packed, eight in a byte, and compressed, since masks would fill the disk.
"""

import json
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.structures import BitMasks, Boxes, Instances, RotatedBoxes
from torch import Tensor

from reldn_d2.utils.array_files import read_arrays, write_arrays
from reldn_d2.utils.shards import Key, ShardFolder, ShardHeader

FORMAT_VERSION = 1

_PLAIN = (bool, int, float, str, type(None))
_BOXES: dict[str, type[Any]] = {"Boxes": Boxes, "RotatedBoxes": RotatedBoxes, "BitMasks": BitMasks}
_TENSOR_TYPES = {
    str(kind).removeprefix("torch."): kind
    for kind in (
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    )
}
# Types of NumPy's arrays, as their `dtype.kind`: truth values, integers, floating-point numbers.
_ARRAY_KINDS = "biuf"


class UnsupportedValueError(TypeError):
    """A value has a part that a shard can't hold."""


@dataclass(frozen=True)
class PackedRecord:
    """A record as it lies in a shard, apart from the place of its bytes.

    Attributes:
        key: what the record is found by.
        value: the value as JSON; places are relative to the first byte of the record.
        data: bytes of the arrays.
    """

    key: list[int | str]
    value: Any
    data: bytes


@dataclass(frozen=True)
class Shard:
    """What a shard holds.

    Attributes:
        identity: name -> text, what the computation depends on.
        records: key -> value.
    """

    identity: dict[str, str]
    records: dict[Key, Any]


def pack(key: Sequence[int | str], value: Any) -> PackedRecord:
    """Copies a value into a record. The value may change afterwards.

    Args:
        key: what the record is found by.
        value: numbers, texts, arrays, tensors on any device, `Instances`, boxes and masks, in lists, tuples
            and dicts with texts as keys.

    Raises:
        UnsupportedValueError: the value contains something else.
    """
    data = bytearray()
    packed = _pack(value, data)
    return PackedRecord(list(key), packed, bytes(data))


def _pack(value: Any, data: bytearray) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in (list, tuple):
        return {kind.__name__: [_pack(x, data) for x in value]}
    if kind is dict and all(type(name) is str for name in value):
        return {"dict": {name: _pack(x, data) for name, x in value.items()}}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in _ARRAY_KINDS:
        name = "array" if isinstance(value, np.ndarray) else "scalar"
        return {name: [value.dtype.str, list(value.shape), *_append(np.asarray(value), data)]}
    if isinstance(value, Tensor):
        return {"tensor": _pack_tensor(value, data)}
    if kind is Instances:
        fields = {name: _pack(x, data) for name, x in value.get_fields().items()}
        return {"Instances": [_pack(value.image_size, data), fields]}
    if _BOXES.get(kind.__name__) is kind:
        return {kind.__name__: _pack(value.tensor, data)}
    raise UnsupportedValueError(f"a {kind.__module__}.{kind.__qualname__}")


def _pack_tensor(value: Tensor, data: bytearray) -> list[Any]:
    name = str(value.dtype).removeprefix("torch.")
    if name not in _TENSOR_TYPES or value.layout is not torch.strided:
        raise UnsupportedValueError(f"a tensor of {value.dtype} and layout {value.layout}")
    return [name, list(value.shape), *_append(as_array(value), data)]


def as_array(value: Tensor) -> npt.NDArray[Any]:
    """A tensor on any device as an array with the same bytes. NumPy has no bfloat16: it becomes int16."""
    on_cpu = value.detach().cpu()
    array: npt.NDArray[Any] = (on_cpu.view(torch.int16) if value.dtype is torch.bfloat16 else on_cpu).numpy()
    return array


def _append(array: npt.NDArray[Any], data: bytearray) -> tuple[int, int]:
    """Appends the bytes of an array. Returns the first byte, and the one behind the last."""
    start = len(data)
    data += zlib.compress(np.packbits(array).tobytes(), 1) if array.dtype == np.bool_ else array.tobytes()
    return start, len(data)


def _unpack(packed: Any, data: memoryview) -> Any:
    if type(packed) in _PLAIN:
        return packed
    ((name, content),) = packed.items()
    if name in ("list", "tuple"):
        values = [_unpack(x, data) for x in content]
        return values if name == "list" else tuple(values)
    if name == "dict":
        return {key: _unpack(x, data) for key, x in content.items()}
    if name in ("array", "scalar"):
        kind = np.dtype(content[0])
        if kind.kind not in _ARRAY_KINDS:
            raise ValueError(f"it has an array of {kind}")
        array = np.frombuffer(_bytes_of(content, kind == np.bool_, data), dtype=kind).reshape(content[1])
        return array if name == "array" else array[()]
    if name == "tensor":
        tensor_type, buffer = _TENSOR_TYPES[content[0]], _bytes_of(content, content[0] == "bool", data)
        # PyTorch makes no tensor of an empty buffer.
        flat = torch.frombuffer(buffer, dtype=tensor_type) if buffer else torch.zeros(0, dtype=tensor_type)
        return flat.reshape(content[1])
    if name == "Instances":
        size, fields = content
        return Instances(_unpack(size, data), **{key: _unpack(x, data) for key, x in fields.items()})
    return _BOXES[name](_unpack(content, data))


def _bytes_of(place: Sequence[Any], truth_values: bool, data: memoryview) -> bytearray:
    """The bytes of an array, in memory of its own that may be changed."""
    _, shape, start, end = place
    if not 0 <= start <= end <= len(data):
        raise ValueError("it has an array beyond its end")
    if not truth_values:
        return bytearray(data[start:end])
    bits = np.frombuffer(zlib.decompress(data[start:end]), dtype=np.uint8)
    return bytearray(np.unpackbits(bits, count=int(np.prod(shape, dtype=np.int64))).tobytes())


def write_shard(
    path: str | os.PathLike[str], identity: Mapping[str, str], records: Sequence[PackedRecord]
) -> None:
    """Writes a shard in one step. Missing folders are made.

    Args:
        path: file to write.
        identity: name -> text, what the computation depends on.
        records: results of `pack`.

    Raises:
        OSError: the file can't be written. Nothing is left of it.
    """
    content: list[dict[str, Any]] = []
    start = 0
    for record in records:
        content.append({"key": record.key, "start": start, "value": record.value})
        start += len(record.data)
    text = json.dumps({"format_version": FORMAT_VERSION, "identity": {**identity}, "records": content})
    arrays = {"content": text.encode(), "data": b"".join(record.data for record in records)}
    write_arrays(path, {name: np.frombuffer(x, dtype=np.uint8) for name, x in arrays.items()})


def read_shard(path: str | os.PathLike[str]) -> Shard:
    """Reads a shard.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no shard of this version, or is damaged.
    """
    try:
        arrays = read_arrays(path, ("content", "data"), what="shard", remedy="delete it")
        if any(x.dtype != np.uint8 or x.ndim != 1 for x in arrays.values()):
            raise ValueError("its arrays are no bytes")
        content, data = json.loads(arrays["content"].tobytes()), memoryview(arrays["data"].tobytes())
        version = content["format_version"]
        if version != FORMAT_VERSION:
            raise ValueError(f"it has format version {version}, not {FORMAT_VERSION}")
        identity = {str(name): str(text) for name, text in content["identity"].items()}
        records = {tuple(x["key"]): _unpack(x["value"], data[x["start"] :]) for x in content["records"]}
    except FileNotFoundError:
        raise
    # A file that somebody edited can fail in each of these ways.
    except (
        *(OSError, zlib.error, NotImplementedError, RecursionError),
        *(ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, RuntimeError),
    ) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path} is no complete shard of predictions: {reason}") from error
    return Shard(identity, records)


class OutputShards:
    """The type of these files, see `utils.shards.ShardKind`."""

    pattern = "part-*.npz"

    def read_header(self, path: Path) -> ShardHeader:
        """Reads the whole shard, so that a damaged one is found here, and drops the values."""
        shard = read_shard(path)
        return ShardHeader(shard.identity, [*shard.records])


def output_shards(folder: Path) -> ShardFolder:
    """The shards of these files in a folder."""
    return ShardFolder(folder, OutputShards())


class ShardWriter:
    """Collects records, and writes a shard whenever there are enough of them.

    Attributes:
        count: number of images in the shards that were written.
    """

    def __init__(
        self,
        folder: Path,
        identity: Callable[[], Mapping[str, str]],
        *,
        rank: int,
        images: int,
        seconds: float,
        size: int,
    ) -> None:
        """Makes a writer without records. It writes nothing yet.

        Args:
            folder: folder of the shards. What it has stays.
            identity: function that returns the identity. It is called before the first shard is written.
            rank: number of this process. Each process names its own shards by it.
            images: number of images, `seconds`, `size`: a shard is written as soon as it has so many images,
                so many bytes, or so much time went by.
        """
        self._folder, self._make_identity, self._rank = folder, identity, rank
        self._images, self._seconds, self._size = images, seconds, size
        self._identity: Mapping[str, str] | None = None
        self._records: list[PackedRecord] = []
        self._waiting, self._bytes, self._start = 0, 0, time.monotonic()
        self.count = 0

    def add(self, record: PackedRecord, images: int) -> None:
        """Takes a record of some images.

        Raises:
            OSError: a shard can't be written.
        """
        self._records.append(record)
        self._waiting += images
        self._bytes += len(record.data)
        late = time.monotonic() - self._start >= self._seconds
        if late or self._waiting >= self._images or self._bytes >= self._size:
            self.flush()

    def flush(self) -> None:
        """Writes the records that wait.

        Raises:
            OSError: the shard can't be written.
        """
        if self._records:
            if self._identity is None:
                self._identity = self._make_identity()
            write_shard(self._next_path(), self._identity, self._records)
            self.count += self._waiting
        self._records, self._waiting, self._bytes, self._start = [], 0, 0, time.monotonic()

    def _next_path(self) -> Path:
        prefix = f"part-{self._rank:03}-"
        numbers = [
            int(number)
            for path in self._folder.glob(f"{prefix}*.npz")
            if (number := path.stem.removeprefix(prefix)).isdigit()
        ]
        return self._folder / f"{prefix}{max(numbers, default=-1) + 1:06}.npz"
