"""Shards: the finished parts of a long computation, in files that appear one by one.

A shard holds some records, each with a key, and the identity of the computation: what its results depend on,
such as a digest of the weights. A computation that was killed looks at its shards, and goes on with the
records that are in none of them.

`ShardFolder` is a folder of shards, whatever their files look like. That is said by a `ShardKind`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from .io import atomic_write, remove_orphans

#: What a record is found by.
Key = tuple[int | str, ...]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says of itself.

    Attributes:
        identity: name -> text, what the computation depends on.
        keys: the keys of its records.
    """

    identity: Mapping[str, str]
    keys: Sequence[Key]


class ShardKind(Protocol):
    """A type of file for shards.

    Attributes:
        pattern: names of the files, for `Path.glob`.
    """

    pattern: str

    def read_header(self, path: Path) -> ShardHeader:
        """Reads identity and keys.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is no complete shard. The message names it.
        """
        ...


class ShardFolder:
    """A folder of shards. It need not exist; what else is in it stays.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path, kind: ShardKind) -> None:
        """Takes a folder and the type of its shards. Nothing on the disk is touched."""
        self.path, self._kind = path, kind

    def paths(self) -> list[Path]:
        """The shards, complete or not, sorted by name."""
        return sorted(self.path.glob(self._kind.pattern))

    def read(self) -> dict[Path, ShardHeader]:
        """The headers of all complete shards, sorted by name.

        A shard that is damaged is left out, and a warning names it: its images are computed again.

        Raises:
            OSError: a shard can't be read.
        """
        found = {}
        for path in self.paths():
            try:
                found[path] = self._kind.read_header(path)
            except FileNotFoundError:  # another process has deleted it
                continue
            except ValueError as error:
                _logger.warning("%s; its images are computed again", error)
        return found

    def write(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Opens a new shard. It gets its name when it is complete, see `atomic_write`.

        Args:
            name: name of the file. A shard that has it already is replaced.
        """
        return atomic_write(self.path / name)

    def delete(self, paths: Iterable[Path] | None = None) -> None:
        """Deletes some shards, or all, what killed writers left, and the folder if nothing else is in it.

        Several processes may do so at once.
        """
        for path in self.paths() if paths is None else paths:
            path.unlink(missing_ok=True)
        remove_orphans(self.path)
        with suppress(OSError):  # it is not empty, or another process has deleted it
            self.path.rmdir()


def places(headers: Mapping[Path, ShardHeader]) -> dict[Key, Path]:
    """The shard of each record.

    Raises:
        ValueError: a record is in two shards. The message names both.
    """
    found: dict[Key, Path] = {}
    for path, header in headers.items():
        for key in header.keys:
            if found.setdefault(key, path) is not path:
                name = ", ".join(map(str, key))
                raise ValueError(f"{found[key]} and {path} both have the record {name}: delete one of them")
    return found


def differences(saved: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """What differs between two identities, in words: "task was sgdet, now prdcls"."""
    names = dict.fromkeys((*saved, *current))
    return [
        f"{name} was {saved.get(name, 'not there')}, now {current.get(name, 'not there')}"
        for name in names
        if saved.get(name) != current.get(name)
    ]
