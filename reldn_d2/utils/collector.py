"""Python's collector of objects that refer to each other in a circle."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """A context in which the collector does not run.

    Imports make very many objects, which all stay. The collector would look through them again and again,
    which takes a tenth of the time of the imports.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
