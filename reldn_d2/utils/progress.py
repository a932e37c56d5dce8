"""`progress`: a bar on a terminal, plain lines elsewhere, both with rate and remaining time."""

import logging
import sys
import time
from collections.abc import Collection, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

logger = logging.getLogger(__name__)
# Seconds between two lines where there is no terminal.
_PERIOD = 30.0


def progress(items: Collection[T], unit: str) -> Iterator[T]:
    """Yields the items, and shows how many are done.

    Where standard error is no terminal, a line is logged every 30 seconds, so that short jobs log nothing.

    Args:
        items: the items.
        unit: what they are, in the plural, such as "images".
    """
    if sys.stderr.isatty():
        yield from tqdm(items, unit=f" {unit}", leave=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last >= _PERIOD and done:
            rate = done / (now - start)
            remaining = (len(items) - done) / rate
            logger.info(
                "%d of %d %s, %.3g a second, %.0f s remaining", done, len(items), unit, rate, remaining
            )
            last = now
        yield item
