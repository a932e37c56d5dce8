"""Archives of images: tar files in the layout of WebDataset.

The files of a sample follow each other, and share the path up to the first dot of the name: `0001.jpg` and
`0001.json` are the sample `0001`. The image of a sample is the file that ends as pictures do.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from ..images import byte_limit
from .kinds import is_picture
from .remote import MissingPackageError, is_address, open_stream, reason, too_large
from .units import InputRow, Unit

# Headers that hold long names and the like, and the largest that is read.
_LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_LONGEST_HEADER = 2**20
_ASKED_AT_END = 20
# How often an archive at an address is read, if connections break.
_TRIES = 3
# How many files of a sample without a picture are named.
_NAMED = 5
_PART = 2**16
_GZIP = b"\x1f\x8b"
# What damaged compression raises: BadGzipFile is an OSError, as what a network raises.
_DAMAGE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)
_NO_FILE = "is a link or a device in the archive: pack it with `tar --dereference --hard-dereference`"
_AGAIN = "when it can be read, delete the shard that has this row, and run with --resume"
_JOINED = (
    "goes on behind its end, as joined archives do, and nothing of that is read: pack all files into one "
    "archive, or keep the archives apart"
)


class _Picture(NamedTuple):
    """A picture in an archive.

    Attributes:
        name: its path there.
        image: its bytes; None after an error.
        error: why it can't be used.
    """

    name: str
    image: bytes | None
    error: str | None


class _JoinedError(Exception):
    """Something follows the end of an archive."""


class _Header(tarfile.TarInfo):
    """A header that is damaged or cut off is an error. `tarfile` takes it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        """See the base class.

        Raises:
            tarfile.ReadError: the archive is cut off, or this is no header.
        """
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            # Blocks of zeros end an archive.
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            cut = len(buf) < tarfile.BLOCKSIZE
            raise tarfile.ReadError("unexpected end of data" if cut else str(error)) from error
        # What comes behind these headers is taken into memory as a whole.
        if header.size < 0 or (header.type in _LONG_HEADERS and header.size > _LONGEST_HEADER):
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header


def read_archive(unit: Unit) -> Iterator[InputRow]:
    """The samples of an archive, which is read from start to end. Members are never written to a disk.

    What can't be read of an archive is one last row with an error. If only a connection broke, the archive is
    read again, without the samples that were there before.

    Raises:
        MissingPackageError: the package that reads an address is not installed.
        ValueError: see `reldn_d2.data.images.byte_limit`.
    """
    number, limit = unit.first, byte_limit()
    tries, remedy = _TRIES if is_address(unit.input) else 1, _AGAIN
    while tries:
        tries -= 1
        try:
            with closing(_opened(unit.input)) as stream:
                for sample in islice(_samples(stream, limit), number - unit.first, None):
                    yield sample.row(unit.input, number)
                    number += 1
            return
        except MissingPackageError:
            raise
        except _JoinedError:
            yield InputRow(unit.input, number, unit.input, error=_JOINED)
            return
        except _DAMAGE as error:
            said, remedy, tries = str(error), "copy it again", 0
        # The packages behind fsspec have errors of their own.
        except Exception as error:
            said = reason(error)
    read = number - unit.first
    what = "is cut off or damaged" if read and remedy != _AGAIN else "cannot be read"
    what += f" behind its first {read} samples" if read else ""
    yield InputRow(unit.input, number, unit.input, error=f"{what} ({said}): {remedy}")


class _Ending:
    """A stream that fails if somebody goes on reading behind its end.

    `tarfile` skips a file by reading as many bytes as its header claims, whether there are any or not.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        """Takes an open file. `tarfile` itself reads only the first part of a gzip file of several."""
        self._file, self._empty = file, 0
        is_packed = file.peek(len(_GZIP)).startswith(_GZIP)
        # With `read1`, no content is lost that comes before damage.
        self._read = gzip.GzipFile(fileobj=file).read1 if is_packed else file.read

    def read(self, size: int) -> bytes:
        """Reads from the stream.

        Raises:
            tarfile.ReadError: it has ended, and was asked many times.
        """
        part = self._read(size)
        self._empty = 0 if part else self._empty + 1
        # A whole archive is also asked once or twice.
        if self._empty > _ASKED_AT_END:
            raise tarfile.ReadError("unexpected end of data")
        return part

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _opened(path: str) -> _Ending:
    return _Ending(open_stream(path) if is_address(path) else Path(path).open("rb"))


@dataclass
class _Sample:
    """The files of a sample.

    Attributes:
        key: what they share.
        names: their paths in the archive.
        picture: the one that is the image; None if no file is a picture.
    """

    key: str
    names: list[str] = field(default_factory=list)
    picture: _Picture | None = None

    def row(self, archive: str, number: int) -> InputRow:
        """The row of the sample."""
        pictures = [name for name in self.names if is_picture(name)]
        if self.picture is None:
            error = f"has no picture, only {_listed(self.names)}"
        # Which one is meant, nobody can say.
        elif _dots(self.picture.name) > 1 and len(pictures) > 1:
            error = (
                f"has several pictures, {_listed(pictures)}, because what follows the first dot does not "
                "count: rename them, or leave one"
            )
        else:
            name, image, error_or_none = self.picture
            return InputRow(archive, number, f"{archive}/{name}", self.key, image, error_or_none)
        return InputRow(archive, number, f"{archive}/{self.key}", self.key, error=error)


def _samples(stream: _Ending, limit: int) -> Iterator[_Sample]:
    """The samples of an archive.

    Args:
        stream: the open archive, with or without compression.
        limit: largest number of bytes of a picture.

    Raises:
        Exception: the archive is damaged. A sample whose picture was read comes before.
    """
    sample: _Sample | None = None
    try:
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|*", tarinfo=_Header) as archive:
            while (member := archive.next()) is not None:
                # They would be kept for reading them again.
                cast(Any, archive).members.clear()
                name = member.name.removeprefix("./")
                key = None if member.isdir() else _key_of(name)
                if key is None:
                    continue
                # A name that comes again begins another sample, so that none is lost.
                if sample is None or sample.key != key or name in sample.names:
                    if sample is not None:
                        yield sample
                    sample = _Sample(key)
                sample.names.append(name)
                if is_picture(name) and _is_better(name, sample):
                    sample.picture = _picture(archive, member, name, limit)
            if sample is not None:
                yield sample
                sample = None
            _check_end(cast(IO[bytes], archive.fileobj))
    except Exception:
        if sample is not None and sample.picture is not None:
            yield sample
        raise


def _check_end(stream: IO[bytes]) -> None:
    """Reads what follows the last header. With gzip, this also compares the checksum of all content.

    Raises:
        _JoinedError: it is not empty.
    """
    while rest := stream.read(_PART):
        if rest.strip(b"\0"):
            raise _JoinedError


def _picture(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, limit: int) -> _Picture:
    if not member.isfile():
        return _Picture(name, None, _NO_FILE)
    if member.size > limit:
        return _Picture(name, None, too_large(limit))
    with cast(IO[bytes], archive.extractfile(member)) as file:
        return _Picture(name, file.read(), None)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _is_better(name: str, sample: _Sample) -> bool:
    """Whether a picture is the image of its sample, not the one before: `1.jpg`, not `1.mask.png`."""
    return sample.picture is None or _dots(name) == 1 < _dots(sample.picture.name)


def _dots(name: str) -> int:
    return name.rpartition("/")[2].count(".")


def _key_of(name: str) -> str | None:
    """The key of the sample that a file belongs to; None if it belongs to none, as hidden files."""
    folder, slash, file = name.rpartition("/")
    stem, dot, _ = file.partition(".")
    # WebDataset's own notes about an archive.
    is_note = stem.startswith("__") and stem.endswith("__")
    return f"{folder}{slash}{stem}" if stem and dot and not is_note else None
