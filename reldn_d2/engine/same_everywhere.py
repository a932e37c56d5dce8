"""What all processes of a run must share: they run on several machines, each with files of its own."""

import socket
from collections.abc import Mapping
from itertools import islice

import detectron2
import torch
from detectron2.utils import comm

import reldn_d2

_LISTED = 10


def versions() -> dict[str, str]:
    """The packages on which the numbers of a training depend: "version of NAME" -> version."""
    packages = {
        "reldn_d2": reldn_d2.__version__,
        "detectron2": detectron2.__version__,
        "torch": torch.__version__,
    }
    return {f"version of {name}": version for name, version in packages.items()}


def check_same_everywhere(found: Mapping[str, str], remedy: str) -> None:
    """Compares what each process of a run has found with what the main one has. Every process calls it.

    Args:
        found: name -> value, as plain text.
        remedy: what makes the processes agree, for the message.

    Raises:
        ValueError: a process differs. Every process of the run raises it, with the first such process, its
            machine, and the values on both sides.
    """
    if comm.get_world_size() == 1:
        return
    (main, wanted), *others = comm.all_gather((socket.gethostname(), dict(found)))
    for rank, (machine, values) in enumerate(others, 1):
        names = [name for name in {**wanted, **values} if wanted.get(name) != values.get(name)]
        if not names:
            continue
        listed = (
            f"{name} is {values.get(name, 'missing')}, not {wanted.get(name, 'missing')}"
            for name in islice(names, _LISTED)
        )
        more = f"; and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise ValueError(
            f"process {rank} on {machine} differs from process 0 on {main}: {'; '.join(listed)}{more}. "
            f"{remedy}"
        )
