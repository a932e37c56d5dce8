"""Joins the processes that torchrun has started to one run, as Detectron2's launcher joins its own."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch
from detectron2.utils import comm
from torch import distributed

from .console import setup_console
from .same_everywhere import check_same_everywhere
from .setup import check_num_gpus

# The variables by which torchrun tells each process its place. PyTorch reads the last two.
_NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
_PORT = "MASTER_PORT"
_VARIABLES = (*_NUMBERS, "MASTER_ADDR", _PORT)
# What PyTorch raises where a process can't reach the others at the start.
_UNREACHED = re.compile(r"(?:^|\.|\s)(?:DistNetworkError|DistStoreError): (.*)")
# Parts of its errors when another process ends later, by gloo and by NCCL.
_ENDED = ("gloo/transport", "ncclRemoteError")
# Seconds between two looks of the main process for the others.
_PAUSE = 0.05


@dataclass(frozen=True)
class Place:
    """The place of a process in a run that torchrun has started.

    Attributes:
        rank: number of the process in the run, from 0.
        local_rank: its number on its machine, from 0.
        count: number of processes of the run.
        local_count: number of them on this machine.
    """

    rank: int
    local_rank: int
    count: int
    local_count: int

    @classmethod
    def of_environment(cls) -> "Place | None":
        """The place of this process; None if it was not started by torchrun.

        Raises:
            ValueError: a variable of torchrun is no number.
        """
        if not all(name in os.environ for name in _VARIABLES):
            return None
        given = {name: os.environ[name] for name in (*_NUMBERS, _PORT)}
        try:
            *place, _ = map(int, given.values())
            return cls(*place)
        except ValueError as error:
            raise ValueError(
                f"{', '.join(f'{name}={value}' for name, value in given.items())}: torchrun sets these to "
                "numbers. Start with torchrun, or unset these variables"
            ) from error


@contextmanager
def in_words() -> Iterator[None]:
    """Says it in words if another process of the run has ended, or can't be reached.

    Raises:
        ConnectionError: in place of PyTorch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, distributed.DistStoreError | distributed.DistNetworkError):
            raise ConnectionError(unreached(f"{type(error).__name__}: {error}")) from error
        message = ended(str(error))
        if message:
            raise ConnectionError(message) from error
        raise


def ended(text: str) -> str:
    """What to do if another process of a run has ended.

    Args:
        text: message of PyTorch's error, maybe at the end of a traceback.

    Returns:
        The message in words; empty if the error is another one.
    """
    found = next((line for line in text.splitlines() if any(part in line for part in _ENDED)), "")
    if not found:
        return ""
    return (
        f"another process of this run has ended, or does not answer ({found.strip()}): its own output says "
        "why. A training goes on from its last checkpoint with --resume, if all machines start again"
    )


def unreached(text: str) -> str:
    """What to do if a process did not find the others at the start of its run.

    Args:
        text: type and message of PyTorch's error, maybe at the end of a traceback.

    Returns:
        The message in words; empty if the error is another one.
    """
    found = _UNREACHED.search(text)
    if found is None:
        return ""
    return (
        f"the processes of this run did not find each other ({found[1].strip().rstrip('.')}): start the "
        "command on every machine, also on machine 0, with the address of machine 0 and a port that is free "
        "there and open to the others (--dist-url; of torchrun --rdzv-endpoint), with the same numbers of "
        "machines and of processes of each, and with another number of the machine on each. --dist-timeout "
        "says how long they wait"
    )


def _store(place: Place, timeout: timedelta) -> Any:
    """PyTorch's store where the processes of this start exchange their addresses; None: PyTorch makes one.

    torchrun may keep its own store (`TORCHELASTIC_USE_AGENT_STORE`) when it starts processes again. It then
    holds the addresses of the processes that have ended, and PyTorch would wait for these. So the keys of
    each start get a name of their own.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    stores: Any = distributed  # PyTorch's types do not name its stores
    shared = stores.TCPStore(host, port, timeout=timeout, wait_for_workers=False)
    return stores.PrefixStore(common_name(shared, place.rank, place.count, timeout), shared)


def common_name(store: Any, rank: int, count: int, timeout: timedelta) -> str:
    """A name that the processes of this start have in common, and no earlier ones. All of them call it.

    Each process but the main one writes a name of its own, and waits for the answer to it. What an ended
    process has written may be answered, too, but only a process of this start confirms the answer.

    Args:
        store: a store of PyTorch, which may hold keys of earlier starts.
        rank: number of the process.
        count: number of processes.
        timeout: how long they wait for each other.

    Raises:
        ConnectionError: a process does not come (in the main process).
        DistStoreError: the main process does not answer.
    """
    own = uuid4().hex
    if rank:
        store.set(f"reldn_d2/{rank}", own)
        common: str = store.get(f"reldn_d2/answer/{own}").decode()
        store.set(f"reldn_d2/{common}/{rank}", "")
        return common
    missing, deadline = set(range(1, count)), time.monotonic() + timeout.total_seconds()
    while missing:
        for other in sorted(missing):
            if store.check([f"reldn_d2/{own}/{other}"]):
                missing.remove(other)
            elif store.check([f"reldn_d2/{other}"]):
                store.set(f"reldn_d2/answer/{store.get(f'reldn_d2/{other}').decode()}", own)
        if missing and time.monotonic() > deadline:
            late = f"DistStoreError: process {min(missing)} of {count} did not come"
            raise ConnectionError(unreached(late))
        time.sleep(_PAUSE)
    return own


@contextmanager
def joined(place: Place, timeout: timedelta) -> Iterator[None]:
    """Makes this process a part of its run until the block ends: by NCCL where there are GPUs, else by gloo.

    Args:
        place: place of the process.
        timeout: how long the processes wait for each other, at the start and later.

    Raises:
        ValueError: this machine has some GPUs, but not one for each of its processes; or the machines have
            different numbers of processes.
        DistError: the other processes can't be reached.
    """
    check_num_gpus(place.local_count, "--nproc-per-node")
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(place.local_rank)
    distributed.init_process_group(
        "nccl" if has_gpu else "gloo",
        store=_store(place, timeout),
        timeout=timeout,
        rank=place.rank,
        world_size=place.count,
    )
    # Detectron2's groups of a machine need it, and its launcher allows nothing else.
    check_same_everywhere(
        {"number of processes": str(place.local_count)}, "Give torchrun the same --nproc-per-node everywhere"
    )
    comm.create_local_process_group(place.local_count)
    setup_console()  # once more: only now it is known which process is the main one
    yield
    # After an error nobody may wait here for the others.
    distributed.destroy_process_group()
