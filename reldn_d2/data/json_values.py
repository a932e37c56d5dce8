"""Kinds of values that annotation files in JSON hold. `true` is none of them: Python takes it for 1."""

from typing import Any


def is_id(value: Any) -> bool:
    """An integer that int64 holds."""
    return type(value) is int and abs(value) < 2**63


def is_side(value: Any) -> bool:
    """An image's width or height: an integer in [1, 2**31)."""
    return type(value) is int and 0 < value < 2**31


def is_box(value: Any) -> bool:
    """A list of four numbers, in any order and maybe not finite."""
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    # an integer of more digits fits no array
    return type(value) is float or is_id(value)
