"""Braces in patterns of --input, which stand for several texts: {000..012} and {train,val}."""

import re
from collections.abc import Iterator

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand_braces(text: str) -> Iterator[str]:
    """The texts that a text with braces stands for, as a shell makes them.

    Numbers get the digits of the first one: {08..10} are 08, 09 and 10. Braces without ".." or a comma stay.

    >>> list(expand_braces("{a,b}-{08..10}.tar"))
    ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
    """
    for braces in _BRACES.finditer(text):
        words = _words(braces.group(1))
        if words is not None:
            for word in words:
                yield from expand_braces(f"{text[: braces.start()]}{word}{text[braces.end() :]}")
            return
    yield text


def _words(inside: str) -> Iterator[str] | None:
    """What the text inside of braces stands for; None if it stands for itself."""
    numbers = _RANGE.fullmatch(inside)
    if numbers is not None:
        first, last = numbers.groups()
        step = 1 if int(last) >= int(first) else -1
        return (f"{number:0{len(first)}}" for number in range(int(first), int(last) + step, step))
    return iter(inside.split(",")) if "," in inside else None
