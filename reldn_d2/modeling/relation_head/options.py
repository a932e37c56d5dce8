"""Functions as parts of a model: what `RelDNHead` is given to draw pairs and to compute losses."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any, TypeVar

Result = TypeVar("Result")


def with_options(function: Callable[..., Result], **options: Any) -> Callable[..., Result]:
    """`function` with options bound: `functools.partial` for configs in Python, where every argument has a name.

    Raises:
        TypeError: the function has no such option. `partial` would say so at the first call.
    """
    signature(function).bind_partial(**options)
    return partial(function, **options)
