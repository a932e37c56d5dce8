"""Records of a file that can't be used: an error at the first, or all of them, grouped by kind.

A reader calls `refuse` for the records that fail a check. In a training this raises an error, which names
the file, the first record and the remedy, and counts the others. Within `collected`, as `reldn check` reads,
the call returns: the reader leaves the records out and reads on, so that one run names everything.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

#: How many records of a kind are kept with their texts.
MOST_KEPT = 5
# How many other records an error names.
_MOST_NAMED = 30


class Refusal(NamedTuple):
    """Why a record is refused.

    Attributes:
        where: the record, such as "annotation 3".
        problem: what is wrong with it.
        remedy: what to do: sentences with their full stops.
    """

    where: str
    problem: str
    remedy: str


@dataclass
class Group:
    """Records of a file that fail the same check.

    Attributes:
        path: the file.
        kind: the check that they fail, in a few words.
        count: number of records.
        first: the first `MOST_KEPT` of them.
    """

    path: str
    kind: str
    count: int = 0
    first: list[Refusal] = field(default_factory=list)


# What `refuse` adds to: (path, kind) -> group; None outside of `collected`.
_COLLECTED: ContextVar[dict[tuple[str, str], Group] | None] = ContextVar("collected", default=None)


@contextmanager
def collected() -> Iterator[dict[tuple[str, str], Group]]:
    """Within the block, `refuse` raises nothing and adds to the groups that the block is given."""
    groups: dict[tuple[str, str], Group] = {}
    token = _COLLECTED.set(groups)
    try:
        yield groups
    finally:
        _COLLECTED.reset(token)


def refuse(
    path: str | os.PathLike[str],
    kind: str,
    count: int,
    record: Callable[[int], Refusal],
    error: type[Exception] | Exception = ValueError,
) -> None:
    """Refuse some records of a file that fail the same check. Without records, nothing happens.

    Args:
        path: the file.
        kind: the check that they fail, in a few words.
        count: number of records.
        record: why the k-th of them is refused; it is asked about the first ones only.
        error: class of the error, or an error that says all of this in its own words.

    Raises:
        ValueError, or what `error` says: there are records, and nobody collects them.
    """
    if not count:
        return
    path, groups = os.fspath(path), _COLLECTED.get()
    if groups is None:
        if isinstance(error, Exception):
            raise error
        where, problem, remedy = record(0)
        if count > 1:
            named = ", ".join(record(k).where for k in range(1, min(count, 1 + _MOST_NAMED)))
            more = ", ..." if count - 1 > _MOST_NAMED else ""
            remedy += f" The same check fails for {count - 1} more: {named}{more}."
        raise error(f"{path}: {where}: {problem}. {remedy}")
    group = groups.setdefault((path, kind), Group(path, kind))
    room = max(0, min(count, MOST_KEPT - group.count))
    group.first += [record(k) for k in range(room)]
    group.count += count


def refuse_one(path: str | os.PathLike[str], kind: str, where: str, problem: str, remedy: str) -> None:
    """Refuse one record, see `refuse` and `Refusal`."""
    refuse(path, kind, 1, lambda _: Refusal(where, problem, remedy))
