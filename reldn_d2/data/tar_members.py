"""Pictures in tar files: how a `file_name` names one, and opening it.

The name says everything that a process needs to read the picture:

    reldn-tar://1536+40960/data/shards/train-000.tar/street/a.jpg

the first byte and the number of bytes of the picture, the tar file, and the name of the member. So worker
processes share nothing. Detectron2's PathManager opens such names, so mappers of other projects read them.
"""

import os
import posixpath
import re
import tarfile
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase
from typing import Any

from detectron2.utils.file_io import PathHandler, PathManager

from .pixels import UnusablePictureError

#: How the name of a picture in a tar file begins.
PREFIX = "reldn-tar://"
#: The ending of tar files.
ENDING = ".tar"
# A longer name, or one of other characters, may stand before the header and be cut in it.
_PLAIN = re.compile(r"[ -~]{1,90}")
_NAME = re.compile(rf"{PREFIX}(\d+)\+(\d+)(/.*?{re.escape(ENDING)})/(.+)", re.DOTALL)


@dataclass(frozen=True)
class TarMember:
    """A picture in a tar file.

    Attributes:
        tar: absolute path of the tar file.
        name: name of the member.
        offset: its first byte in the tar file.
        size: its number of bytes.
    """

    tar: str
    name: str
    offset: int
    size: int

    @property
    def file_name(self) -> str:
        """The `file_name` of a dataset dict with this picture."""
        return f"{PREFIX}{self.offset}+{self.size}{self.tar}/{self.name}"

    @classmethod
    def of(cls, file_name: str | os.PathLike[str]) -> "TarMember | None":
        """The member that a `file_name` stands for; None if it names an ordinary file."""
        found = _NAME.fullmatch(os.fspath(file_name))
        return None if found is None else cls(found[3], found[4], int(found[1]), int(found[2]))


def open_member(member: TarMember) -> BufferedReader:
    """Opens a picture in a tar file, for reading. The file is opened anew, so processes share no position.

    Raises:
        FileNotFoundError: the tar file does not exist.
        UnusablePictureError: the tar file was changed after its members were listed. It is a ValueError.
    """
    part = _Part(os.open(member.tar, os.O_RDONLY), member)
    if not part.has_header_of(member):
        part.close()
        raise UnusablePictureError(
            f"{member.tar} was changed after its members were listed: start the run again", member.name
        )
    return BufferedReader(part)


class _Part(RawIOBase):
    """The bytes of a member, as a file."""

    def __init__(self, descriptor: int, member: TarMember) -> None:
        """Takes over the descriptor of the tar file, which is closed with the part."""
        self._descriptor = descriptor
        self._start, self._size, self._position = member.offset, member.size, 0

    def has_header_of(self, member: TarMember) -> bool:
        """Whether the header of this member is before the bytes, as far as it tells."""
        block = os.pread(self._descriptor, tarfile.BLOCKSIZE, self._start - tarfile.BLOCKSIZE)
        try:
            header = tarfile.TarInfo.frombuf(block, tarfile.ENCODING, "surrogateescape")
        except tarfile.TarError:
            return False
        same_name = not _PLAIN.fullmatch(member.name) or posixpath.normpath(header.name) == member.name
        return header.size == member.size and same_name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        start = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        room = memoryview(buffer)[: max(0, self._size - self._position)]
        count = os.preadv(self._descriptor, [room], self._start + self._position)
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


class TarPathHandler(PathHandler):
    """Makes Detectron2's PathManager open pictures in tar files."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> BufferedReader:
        self._check_kwargs(kwargs)
        member = TarMember.of(path)
        if member is None or mode != "rb":
            raise ValueError(f"{path}: names no picture in a tar file, or is not opened to be read as bytes")
        return open_member(member)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        member = TarMember.of(path)
        return member is not None and os.path.isfile(member.tar)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return self._exists(path)

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        return False


PathManager.register_handler(TarPathHandler())
