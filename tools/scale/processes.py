"""Processes of this machine, as Linux shows them in /proc: whose children they are, and their memory."""

import os
import time
from collections.abc import Callable
from pathlib import Path

_PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """All processes that a process started, and those that these started."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(_PROC):
        if entry.isdigit() and (parent := _parent(int(entry))) is not None:
            children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def _parent(pid: int) -> int | None:
    text = _read(pid, "stat")
    # The second field is a name in brackets, which may hold spaces and brackets.
    return int(text.rpartition(")")[2].split()[1]) if text else None


def title(pid: int) -> str:
    """The command line of a process, or what it calls itself; empty if it has ended."""
    return _read(pid, "cmdline").replace("\0", " ").strip()


def peak_mb(pid: int) -> float:
    """The largest memory that a process has had, in MB (1e6 bytes); 0 if it has ended."""
    return _status_mb(pid, "VmHWM")


def shared_mb(pid: int) -> float:
    """The shared memory that a process has touched, in MB (1e6 bytes); 0 if it has ended."""
    return _status_mb(pid, "RssShmem")


def _status_mb(pid: int, key: str) -> float:
    for line in _read(pid, "status").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _read(pid: int, name: str) -> str:
    """A file of a process; empty if the process has ended."""
    try:
        return (_PROC / str(pid) / name).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def actors(pid: int) -> list[int]:
    """The workers of Ray below a process that hold a model."""
    return [one for one in descendants(pid) if title(one).startswith("ray::MapWorker")]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 600) -> None:
    """Waits for a condition.

    Args:
        condition: function that is called again and again.
        what: what is waited for, for the message.
        seconds: longest time.

    Raises:
        TimeoutError: it has not come true.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} seconds")
        time.sleep(0.02)
