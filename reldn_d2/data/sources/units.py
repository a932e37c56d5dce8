"""The parts of an input that workers read, and the rows that they find there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A part of the input that one worker reads from start to end. It is small, and can be pickled.

    Attributes:
        input: the file of the input that has the rows, by its absolute path or its address: a table or an
            archive; "" for images that are given one by one.
        first: number of its first row in this input, from 0.
        stop: number behind its last row; None: all rows, of an archive whose rows nobody has counted.
        paths: absolute paths or addresses of the images, if they are given one by one.
    """

    input: str
    first: int
    stop: int | None
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputRow:
    """An image of the input, or why there is none.

    Attributes:
        input, row: the input and the number of the row there, see `Unit`.
        path: absolute path or address of the image. Of an image in a file: FILE#ROW in a table, FILE/MEMBER
            in an archive.
        image_id: what the input itself calls the image: a cell of its table, the key of its sample in an
            archive; None if it says nothing.
        image: path of a local file, or the bytes of the encoded picture; None if there is none.
        error: why there is none: the end of a sentence that `path` begins.
    """

    input: str
    row: int
    path: str
    image_id: str | None = None
    image: str | bytes | None = None
    error: str | None = None
