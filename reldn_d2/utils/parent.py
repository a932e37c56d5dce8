"""Ends a process when the one that has started it has ended, however that came."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with_parent() -> None:
    """Ends this process, which `multiprocessing` has started, as soon as its parent has ended.

    Nothing is cleaned up, as after a kill.
    """
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
