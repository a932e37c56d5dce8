"""Several real processes on CPUs."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from detectron2.engine import launch

# After this time a process that waits for another one fails. It is enough for a slow machine.
TIMEOUT = timedelta(minutes=10)


def run_in_processes(function: Callable[..., None], count: int, folder: Path, *args: Any) -> None:
    """Calls a function in `count` processes at once, with Detectron2's launcher.

    They meet through a file in `folder`: a free port could be taken before they open it.
    """
    rendezvous = folder / f"rendezvous_of_{count}"
    launch(function, count, dist_url=rendezvous.as_uri(), args=args, timeout=TIMEOUT)
