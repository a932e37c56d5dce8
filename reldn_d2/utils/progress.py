"""`progress`: a bar on a terminal, plain lines elsewhere, both with rate and remaining time."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from datetime import timedelta
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

logger = logging.getLogger(__name__)
# Seconds between two lines where there is no terminal.
_PERIOD = 30.0
# A longer duration is shown in hours and minutes.
_LONGEST_IN_SECONDS = 120


def progress(items: Iterable[T], unit: str, total: int | None = None) -> Iterator[T]:
    """Yields the items, and shows how many are done.

    Where standard error is no terminal, a line is logged every 30 seconds, so that short jobs log nothing.

    Args:
        items: the items.
        unit: what they are, in the plural, such as "images".
        total: number of items; None: `len(items)`, if the items have a length.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, unit=f" {unit}", total=total, leave=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last >= _PERIOD and done:
            rate = done / (now - start)
            if total is None:
                logger.info("%d %s, %.3g a second", done, unit, rate)
            else:
                logger.info(
                    "%d of %d %s, %.3g a second, %s remaining",
                    done, total, unit, rate, _duration((total - done) / rate),
                )  # fmt: skip
            last = now
        yield item


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds <= _LONGEST_IN_SECONDS else str(timedelta(seconds=round(seconds)))
