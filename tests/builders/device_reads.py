"""Counts what makes a GPU wait for the host or the host for a GPU, on a machine without one."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import detectron2
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import reldn_d2
from reldn_d2.modeling.acceleration import pooler as our_pooler
from reldn_d2.modeling.relation_head import fixed_shapes, sampling, selection

OURS, DETECTRON2 = (Path(str(package.__file__)).parent for package in (reldn_d2, detectron2))
# What these do belongs to whoever calls them.
CALLED_BY_OTHERS = [
    OURS / "modeling" / "acceleration",
    *(DETECTRON2 / name for name in ("structures", "layers", "modeling/poolers.py", "utils")),
]
# Their tensors are on the host: the sizes of images, and "relations", which are checked only where a loader
# leaves them.
ON_HOST = {
    (DETECTRON2 / "structures" / "image_list.py", "from_tensors"),
    (OURS / "modeling" / "inputs.py", "_check_rows"),
}

# Operators whose result, or its shape, is read by the host.
OPERATORS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "bincount", "equal"),
    *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive"),
}
READING_METHODS = ("tolist", "numpy", "cpu", "__array__")


class Read(NamedTuple):
    """A value that the host reads, or writes.

    Attributes:
        owner: "reldn_d2", "detectron2", or "" for the test itself.
        place: file and function.
        what: the operator or method.
    """

    owner: str
    place: str
    what: str


class DeviceReads:
    """Inside of it, reads are counted: `with DeviceReads() as reads`.

    Attributes:
        found: how often each read occurred.
    """

    def __init__(self) -> None:
        self.found: Counter[Read] = Counter()
        self._modes: list[Any] = [_Operators(self._add), _Functions(self._add)]

    def __enter__(self) -> "DeviceReads":
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(kind, error, trace)

    def of(self, owner: str) -> dict[Read, int]:
        return {read: count for read, count in self.found.items() if read.owner == owner}

    def number(self, owner: str) -> int:
        return sum(self.of(owner).values())

    def _add(self, what: str) -> None:
        owner, place = _caller()
        if owner is not None:
            self.found[Read(owner, place, what)] += 1


def _caller() -> tuple[str | None, str]:
    """The innermost frame of one of the packages; None instead of an owner for what is on the host."""
    frame = sys._getframe(1)
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if (file, frame.f_code.co_name) in ON_HOST:
            return None, ""
        owner = next((package.name for package in (OURS, DETECTRON2) if file.is_relative_to(package)), None)
        if owner is not None and not any(file.is_relative_to(place) for place in CALLED_BY_OTHERS):
            return owner, f"{file.name}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "", "test"


class _Operators(TorchDispatchMode):
    def __init__(self, add: Callable[[str], None]) -> None:
        super().__init__()
        self._add = add

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in OPERATORS or func is torch.ops.aten.repeat_interleave.Tensor:
            self._add(name)
        elif name in ("index", "index_put", "index_put_", "_unsafe_index"):
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self._add("index of booleans")
        elif func.namespace == "torchvision" and name == "nms":
            self._add("nms")
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    """What Python does without an operator."""

    def __init__(self, add: Callable[[str], None]) -> None:
        super().__init__()
        self._add = add
        # They are kept, so that no other tensor gets the identity of one of them.
        self._on_host: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if func in (torch.tensor, torch.as_tensor):
            if kwargs.get("device") is not None and not isinstance(args[0], Tensor):
                self._add(f"torch.{name} with a device")
        elif func is Tensor.new_tensor:
            self._add("new_tensor")
        elif name in ("__getitem__", "__setitem__") and _has_list(args[1]):
            self._add("index of a list")
        elif name in READING_METHODS and func is getattr(Tensor, name):
            result = func(*args, **kwargs)
            # What `cpu()` returned is on the host, where more steps cost nothing.
            if id(args[0]) not in self._on_host:
                self._add(name)
            if name == "cpu":
                self._on_host[id(result)] = result
            return result
        return func(*args, **kwargs)


def _has_list(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, list) for part in parts)


def pretend_gpu(patch: pytest.MonkeyPatch) -> None:
    """Takes the ways of this package that are for GPUs, though tensors are on the CPU."""
    patch.setattr(our_pooler, "HAS_SPARSE_PRODUCT", False)
    patch.setattr(our_pooler.RegionPooler, "_of_each_level", our_pooler.RegionPooler._masked)
    for module in (fixed_shapes, sampling, selection):
        patch.setattr(module, "true_rows", fixed_shapes._search_true_rows)
