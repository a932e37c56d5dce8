"""What --input names, as units that workers read: `open_source`, `Source`, `InputReader`."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from reldn_d2.utils.system_errors import explained

from .archives import read_archive
from .braces import expand_braces
from .kinds import Kind, choose, kind_of, wanted
from .local_files import LocalSearch, list_lines, report
from .remote import (
    asked,
    check_package,
    find,
    folder_of,
    is_address,
    is_folder,
    is_pattern,
    name_of,
    named_image,
    open_stream,
    protocol_of,
    resolved,
    with_content,
)
from .state import state_of
from .tables import Table, TableReader, read_tables
from .units import InputRow, Unit


class InputReader:
    """Reads units. It is all that a worker needs: it is small, and can be pickled."""

    def __init__(self, image_column: str | None = None, id_column: str | None = None) -> None:
        """Takes the columns of tables with the images and with their ids, see `open_source`."""
        self._tables = TableReader(image_column, id_column)

    def rows(self, unit: Unit) -> Iterator[InputRow]:
        """The images of a unit, in order. What can't be read is a row with an error.

        Local files are not opened: their paths stand in the rows.

        Raises:
            MissingPackageError: the package that reads an address is not installed. It is a ValueError.
        """
        if not unit.input:
            numbered = enumerate(unit.paths, unit.first)
            return with_content(named_image("", number, path) for number, path in numbered)
        kind = kind_of(name_of(unit.input))
        return read_archive(unit) if kind is Kind.ARCHIVE else self._tables.rows(unit)

    def state(self, unit: Unit) -> str:
        """What tells the file of a unit from an earlier one of its name, see `state_of`; or an empty text."""
        return state_of(unit.input) if unit.input else ""


@dataclass(frozen=True)
class ImageList:
    """A list of images. It is read whenever it is needed, because it may have very many lines.

    Attributes:
        source: its path or address, or what messages call it.
        folder: path or address of the folder of relative paths.
        content: what standard input held, which is read only once; None: the list is a file.
    """

    source: str
    folder: str
    content: bytes | None = None

    def images(self) -> Iterator[str]:
        """The absolute path or the address of each line.

        Raises:
            OSError: the list can't be read.
            ValueError: it is no text, or has no line.
        """
        for line in list_lines(self._lines(), self.source):
            yield resolved(line, self.folder)

    def _lines(self) -> Iterator[bytes]:
        with closing(self._open()) as file:
            # A connection may break at any line.
            line = partial(asked, self.source, file.readline) if is_address(self.source) else file.readline
            yield from iter(line, b"")

    def _open(self) -> IO[bytes]:
        if self.content is not None:
            return io.BytesIO(self.content)
        if is_address(self.source):
            return asked(self.source, lambda: open_stream(self.source))
        try:
            return Path(self.source).open("rb")
        except OSError as error:
            raise explained(error, self.source) from error


@dataclass(frozen=True)
class Source:
    """An input of any size.

    Attributes:
        reader: reads the units.
        images: absolute paths or addresses of the images that are given one by one, and lists of such.
        tables: tables of images.
        archives: absolute paths or addresses of archives of images.
        unreadable: folder below a given one -> why it can't be read: the end of a sentence.
    """

    reader: InputReader
    images: Sequence[str | ImageList]
    tables: Sequence[Table]
    archives: Sequence[str]
    unreadable: dict[Path, str]

    def units(self, size: int) -> Iterator[Unit]:
        """All parts of the input, always the same ones in the same order.

        Units of images given one by one, and of tables, have at most `size` rows. Those of images begin at a
        multiple of the size. The unit of an archive is all of it.

        Args:
            size: the largest number of rows, at least 1.

        Raises:
            OSError, ValueError: a list can't be read any more.
        """
        images, first = self._images(), 0
        while paths := tuple(islice(images, size)):
            yield Unit("", first, first + len(paths), paths)
            first += len(paths)
        for table in self.tables:
            yield from table.units(size)
        for archive in self.archives:
            yield Unit(archive, 0, None)

    def rows(self, unit: Unit) -> Iterator[InputRow]:
        """See `InputReader.rows`."""
        return self.reader.rows(unit)

    def _images(self) -> Iterator[str]:
        for image in self.images:
            if isinstance(image, ImageList):
                yield from image.images()
            else:
                yield image


def open_source(
    inputs: Sequence[str],
    output: Path,
    hint: Callable[[str], str] = lambda _: "",
    *,
    image_column: str | None = None,
    id_column: str | None = None,
) -> Source:
    """Finds what is to be read. No image is opened; of tables the footers are read.

    Args:
        inputs: files, folders, patterns and lists as `LocalSearch` takes them, addresses of such
            (s3://bucket/photos/), tables of images (.parquet) and archives (.tar, .tar.gz, .tgz), also those
            of a folder or pattern without a picture. Braces stand for several texts, see `expand_braces`. An
            image, table or archive that is found twice is taken once; each line of a list is an image of its
            own.
        output: folder of the results.
        hint: gives the end of the error about a local path that is not there.
        image_column: column of tables with paths, addresses or bytes; None: `tables.IMAGE_COLUMNS` says it.
        id_column: column of tables with ids of the images; None: there is none.

    Raises:
        FileNotFoundError: there is no such file or folder, or nothing fits a pattern.
        ValueError: an input has no image, is damaged, or lacks a column; results could replace images; a
            package is not installed.
        OSError: an input can't be read.
    """
    opening = _Opening(output, hint, image_column, id_column)
    for text in inputs:
        opening.add(text)
    return opening.source()


class _Opening:
    """Collects the parts of a source."""

    def __init__(
        self, output: Path, hint: Callable[[str], str], image_column: str | None, id_column: str | None
    ) -> None:
        self._hint, self._columns = hint, (image_column, id_column)
        self._search = LocalSearch(output, self._add_image, self._add_list, self._add_packed)
        self._images: list[str | ImageList] = []
        self._seen: set[str] = set()
        self._protocols: set[str] = set()
        # Of all inputs, and of the present one.
        self._tables: dict[str, Table] = {}
        self._archives: dict[str, None] = {}
        self._packed: dict[Kind, list[str]] = {}

    def source(self) -> Source:
        """The source.

        Raises:
            ValueError: results could replace images, or a column is named and there is no table.
        """
        self._search.check_output()
        if not self._tables and any(self._columns):
            raise ValueError(
                "--image-column and --id-column name columns of tables, and --input names no file that ends "
                "in .parquet: leave them out"
            )
        return Source(
            InputReader(*self._columns),
            self._images,
            list(self._tables.values()),
            list(self._archives),
            self._search.unreadable,
        )

    def add(self, text: str) -> None:
        """Adds an input, see `open_source`."""
        if text.lower().startswith("file://"):
            text = resolved(text, os.getcwd())
        is_there = not is_address(text) and os.path.exists(text)
        for one in [text] if is_there else expand_braces(text):
            self._packed = {Kind.TABLE: [], Kind.ARCHIVE: []}
            if is_address(one):
                self._add_address(one)
            else:
                self._search.add_input(one, self._hint)
            self._open_tables(one)
            self._open_archives(one)

    def _add_address(self, address: str) -> None:
        if not is_pattern(address) and not is_folder(address):
            self._add_found(kind_of(name_of(address)), address)
            return
        found = find(address)
        if not found:
            raise FileNotFoundError(f"--input {address}: there is no file: check the address")
        choice = choose(name for name in found if not _is_hidden(name))
        choice.skipped["hidden"] = sum(map(_is_hidden, found))
        report(address, choice.skipped)
        if not choice.chosen:
            raise ValueError(f"--input {address}: there is no image; {wanted(packed=True)}")
        for name in choice.chosen:
            self._add_found(choice.kind, name)

    def _add_found(self, kind: Kind, address: str) -> None:
        if kind is Kind.LIST:
            self._check_list(ImageList(address, folder_of(address)))
        elif kind is Kind.IMAGE:
            self._add_once(address)
        else:
            self._packed[kind].append(address)

    def _add_image(self, path: Path, name: str) -> None:
        self._add_once(os.path.abspath(path))

    def _add_once(self, image: str) -> None:
        if image not in self._seen:
            self._seen.add(image)
            self._images.append(image)

    def _add_list(self, name: str, path: Path | None) -> None:
        if path is None:
            self._check_list(ImageList(name, os.getcwd(), sys.stdin.buffer.read()))
        else:
            self._check_list(ImageList(os.path.abspath(path), folder_of(str(path))))

    def _check_list(self, images: ImageList) -> None:
        for image in images.images():
            if not is_address(image):
                self._search.folders.add(os.path.dirname(image))
            elif protocol_of(image) not in self._protocols:
                check_package(image)
                self._protocols.add(protocol_of(image))
        self._images.append(images)

    def _add_packed(self, path: Path) -> None:
        self._packed[kind_of(path.name)].append(os.path.abspath(path))

    def _open_tables(self, text: str) -> None:
        paths = self._packed[Kind.TABLE]
        if not paths:
            return
        tables = read_tables(paths, *self._columns)
        if not any(map(sum, (table.groups for table in tables))):
            raise ValueError(f"--input {text} has no row, so no image: choose another table")
        self._tables |= {table.path: table for table in tables}

    def _open_archives(self, text: str) -> None:
        paths = self._packed[Kind.ARCHIVE]
        # The first sample of the first archive is usually there.
        if paths and not any(next(read_archive(Unit(path, 0, None)), None) for path in paths):
            raise ValueError(f"--input {text} has no sample, so no image: choose another archive")
        self._archives |= dict.fromkeys(paths)


def _is_hidden(address: str) -> bool:
    return address.rpartition("/")[2].startswith(".")
