"""Files that an address names, such as s3://bucket/photo.jpg. They are read through fsspec.

How a server is reached (keys, end points, time limits, retries) is said by the configuration of fsspec and of
the package behind an address.
"""

import glob
import io
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

from reldn_d2.utils.extras import import_extra
from reldn_d2.utils.threads import map_ahead

from ..images import byte_limit
from .kinds import why_no_image
from .units import InputRow

# One letter and a colon begin a path of Windows.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WEB = ("http", "https")
_NOT_FOUND = 404
# Requests of one worker that wait for a server at the same time.
_REQUESTS = 8

_Result = TypeVar("_Result")


class MissingPackageError(ValueError):
    """The package that reads addresses of a kind is not installed."""


class Place(NamedTuple):
    """A file system of fsspec, and a path there."""

    files: Any
    path: str


@dataclass(frozen=True)
class Fetched:
    """The content of a file.

    Attributes:
        content: its bytes; None after an error.
        error: why it can't be read: the end of a sentence that the address begins.
    """

    content: bytes | None = None
    error: str | None = None


def is_address(text: str) -> bool:
    """Whether a text is an address, and no path of a local file."""
    return _ADDRESS.match(text) is not None


def protocol_of(address: str) -> str:
    """What an address begins with, such as "s3"."""
    return address.partition("://")[0].lower()


def name_of(address: str) -> str:
    """The path of an address, which has the ending of the file; without a query such as "?size=large"."""
    return urlsplit(address).path if protocol_of(address) in _WEB else address


def is_pattern(address: str) -> bool:
    """Whether an address stands for several. In addresses of the web, only "*" does."""
    return "*" in address if protocol_of(address) in _WEB else glob.has_magic(address)


def resolved(path: str, folder: str) -> str:
    """The absolute path or the address that a list or table means.

    Args:
        path: a path, absolute or relative to the folder, or an address; file:// is a local path.
        folder: path or address of a folder.
    """
    if path.lower().startswith("file://"):
        return url2pathname(urlsplit(path).path)
    if is_address(path):
        return path
    if is_address(folder) and not os.path.isabs(path):
        protocol, _, inner = f"{folder.rstrip('/')}/{path}".partition("://")
        # Names in a store of objects may have empty parts.
        inner = posixpath.normpath(inner) if {".", ".."} & {*path.split("/")} else inner
        return f"{protocol}://{inner}"
    return os.path.abspath(os.path.join(folder, path))


def folder_of(file: str) -> str:
    """Path or address of the folder of a file."""
    return file.rpartition("/")[0] if is_address(file) else os.path.dirname(os.path.abspath(file))


def place(address: str) -> Place:
    """Finds the file system of an address.

    Raises:
        MissingPackageError: fsspec, or what it needs for this protocol, is not installed.
        ValueError: nobody knows the protocol.
    """
    core = _fsspec(address)
    try:
        return Place(*core.url_to_fs(address))
    except ImportError as error:
        raise MissingPackageError(
            f"to read {address}, a package is missing: {error} (pip install 'reldn-d2[remote]' brings fsspec "
            "and what http:// and https:// need)"
        ) from error


def check_package(address: str) -> None:
    """Checks that the package is installed that reads an address. What else is wrong, reading it will say.

    Raises:
        MissingPackageError: it is not.
    """
    try:
        place(address)
    except MissingPackageError:
        raise
    # For example of an unknown protocol.
    except Exception:
        return


def fetch(address: str) -> Fetched:
    """Reads a file of at most `byte_limit` bytes.

    Raises:
        MissingPackageError: see `place`.
        ValueError: see `byte_limit`.
    """
    limit = byte_limit()
    try:
        content = _read(address, limit)
    except MissingPackageError:
        raise
    # Each of the packages behind fsspec has errors of its own.
    except Exception as error:
        return Fetched(error=f"cannot be read {refusal(error)}")
    return Fetched(error=too_large(limit)) if len(content) > limit else Fetched(content)


def _read(address: str, limit: int) -> bytes:
    """Reads a file, at most one byte more than the limit."""
    files, path = place(address)
    if protocol_of(address) not in _WEB:
        content: bytes = files.cat_file(path, start=0, end=limit + 1)
        return content
    # A server may ignore what part it is asked for. A stream ends when we have enough; the size that is given
    # saves the request that would ask for it.
    with files.open(path, "rb", block_size=0, size=1) as stream:
        return read_at_most(stream, limit + 1)


def read_at_most(stream: IO[bytes], size: int) -> bytes:
    """Reads up to a number of bytes. A stream may give less at a time."""
    parts, missing = list[bytes](), size
    while missing and (part := stream.read(min(missing, 2**20))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def open_stream(address: str) -> io.BufferedReader:
    """Opens a file that is read once, from start to end, which may take hours.

    Raises:
        MissingPackageError: see `place`.
        Exception: it can't be opened; the packages behind fsspec have errors of their own.
    """
    files, path = place(address)
    options: dict[str, Any] = {}
    # Parts are asked for one by one, if the server can give parts. Else there is one answer, for which
    # aiohttp would wait five minutes altogether.
    if protocol_of(address) in _WEB and not files.info(path).get("partial"):
        time_limit = import_extra("aiohttp", "remote", f"to read {address}").ClientTimeout(sock_read=300)
        options = {"block_size": 0, "size": 1, "timeout": time_limit}
    return io.BufferedReader(_Forward(files.open(path, "rb", **options)))


class _Forward(io.RawIOBase):
    """A stream that can only be read, for `io.BufferedReader`, which finds lines."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Reads at least one byte, unless the stream has ended. Returns their number."""
        part = self._stream.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Closes the stream."""
        self._stream.close()
        super().close()


def too_large(limit: int) -> str:
    """Why a file is not read: the end of a sentence."""
    return (
        f"can't be used: it has more than {limit:,} bytes, more than the largest picture that is read: make "
        "it smaller, or set the environment variable RELDN_D2_MAX_PIXELS to a larger number"
    )


def refusal(error: BaseException) -> str:
    """What an error of a package behind fsspec says, and what helps: "(reason): remedy"."""
    if isinstance(error, FileNotFoundError):
        cause = error.__cause__
        # fsspec also says this if there was no connection, or the server refused to answer.
        is_missing = getattr(cause, "status", _NOT_FOUND) == _NOT_FOUND
        if cause is None or (is_missing and not isinstance(cause, OSError)):
            return "(there is no such file): check the path"
        error = cause
    return f"({reason(error)}): check the address and the network"


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def named_image(source: str, number: int, path: str, image_id: str | None = None) -> InputRow:
    """The row of an image that a list or a table names.

    Args:
        source: the table; "" for a list.
        number: number of the row.
        path: absolute path or address of the image.
        image_id: see `InputRow`.
    """
    error = why_no_image(name_of(path))
    return InputRow(source, number, path, image_id, None if error else path, error)


def with_content(rows: Iterable[InputRow]) -> Iterator[InputRow]:
    """Reads the files of the rows whose image is an address, several at the same time.

    Args:
        rows: rows, which are taken when they are needed.

    Yields:
        The rows in their order, with bytes or an error instead of an address.

    Raises:
        MissingPackageError: the package that reads an address is not installed.
    """
    for needs_content, part in groupby(rows, _needs_content):
        if needs_content:
            yield from map_ahead(_fetched, part, _REQUESTS)
        else:
            yield from part


def _needs_content(row: InputRow) -> bool:
    return isinstance(row.image, str) and is_address(row.image)


def _fetched(row: InputRow) -> InputRow:
    fetched = fetch(str(row.image))
    return replace(row, image=fetched.content, error=fetched.error)


def find(address: str) -> list[str]:
    """The addresses of all files below a folder, or of those that fit a pattern, sorted.

    Raises:
        OSError, ValueError: the server can't be asked. The message names the address.
    """
    files, path = asked(address, lambda: place(address))
    if is_pattern(address):
        found = asked(address, lambda: files.glob(path, detail=True))
        names = [name for name, about in found.items() if about["type"] == "file"]
    else:
        names = asked(address, lambda: files.find(path))
    return sorted(files.unstrip_protocol(name) for name in names)


def is_folder(address: str) -> bool:
    """Whether an address is that of a folder. On the web, these end in "/".

    Raises:
        FileNotFoundError: there is neither a file nor a folder.
        OSError, ValueError: the server can't be asked. The message names the address.
    """
    files, path = asked(address, lambda: place(address))
    about = asked(address, lambda: files.info(path))
    return address.endswith("/") if protocol_of(address) in _WEB else about["type"] == "directory"


def state_at(address: str) -> str:
    """The size of a file and the tag of its content, as far as the server says them; else an empty text."""
    try:
        files, path = place(address)
        about = files.info(path)
    # Each of the packages behind fsspec has errors of its own.
    except Exception:
        return ""
    known = (about.get(name) for name in ("size", "ETag", "etag"))
    return " ".join(str(value) for value in known if value is not None)


def asked(address: str, ask: Callable[[], _Result]) -> _Result:
    """What a server answers.

    Raises:
        MissingPackageError: see `place`.
        FileNotFoundError: it has no such file.
        ValueError: anything else. The message names the address.
    """
    try:
        return ask()
    except MissingPackageError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(f"--input {address} cannot be read {refusal(error)}") from error
    # Each of the packages behind fsspec has errors of its own.
    except Exception as error:
        raise ValueError(f"--input {address} cannot be read {refusal(error)}") from error


def _fsspec(address: str) -> Any:
    try:
        return import_extra("fsspec.core", "remote", f"to read {address}")
    except ValueError as error:
        raise MissingPackageError(str(error)) from error
