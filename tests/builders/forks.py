"""Work in a forked process, which may be killed or have less rights, without the seconds that imports take.

A forked process can't train: PyTorch's backward pass refuses it if this process has trained before.
"""

import ctypes
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

# See capabilities(7): root may read and write whatever the permissions say.
_OVERRIDE, _READ_SEARCH = 1, 2
_VERSION_3 = 0x20080522


@dataclass(frozen=True)
class Outcome:
    """What came of the work.

    Attributes:
        value: what it returned.
        error: the error that it raised, as "Class: message"; empty if there was none.
        killed: whether the process was killed.
    """

    value: Any = None
    error: str = ""
    killed: bool = False


def in_child(work: Callable[[], Any]) -> Outcome:
    """Calls a function in a forked process, and waits for it."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        try:
            try:
                outcome = Outcome(work())
            except BaseException as error:
                outcome = Outcome(error=f"{type(error).__name__}: {error}")
            os.write(sender, pickle.dumps(outcome))
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return pickle.loads(answer) if answer else Outcome(killed=True)


def killed_after(work: Callable[[], Any], seconds: float) -> None:
    """Calls a function in a forked process, and kills it after some seconds, at whatever moment that is."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@contextmanager
def running_child(work: Callable[[Callable[[], None]], None]) -> Iterator[Callable[[], None]]:
    """A forked process that does its work until it says that it is ready, and then waits.

    Args:
        work: it gets the function that says so and waits.

    Yields:
        A function that kills the process.
    """
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:

        def ready() -> None:
            os.write(sender, b"ready")
            signal.pause()

        try:
            work(ready)
        finally:
            os._exit(1)
    killed = False

    def kill() -> None:
        nonlocal killed
        if not killed:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        killed = True

    os.close(sender)
    try:
        assert os.read(receiver, 5) == b"ready"
        yield kill
    finally:
        os.close(receiver)
        kill()


def kill_myself() -> None:
    """Ends this process as the system does when memory is short: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def respect_permissions() -> None:
    """Makes permissions of files count in this process, also for root. Skips the test if that can't be."""
    if os.geteuid():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    failed = libc.capget(header, data)
    for place in (0, 1):  # effective and permitted
        data[place] &= ~(1 << _OVERRIDE | 1 << _READ_SEARCH)
    if failed or libc.capset(header, data):
        pytest.skip("root can't give up its rights here")
