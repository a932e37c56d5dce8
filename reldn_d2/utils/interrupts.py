"""Ctrl-C between two steps of a work, not in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def delayed_interrupt() -> Iterator[None]:
    """Lets a block end before Ctrl-C is felt. Where other threads run the block, nothing is delayed.

    Raises:
        KeyboardInterrupt: at the end of the block, if the user pressed Ctrl-C in it.
    """
    # Only the main thread gets signals, and only it may say what happens.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def remember(*_: object) -> None:
        nonlocal pressed
        pressed = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)
