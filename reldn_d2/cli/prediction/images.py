"""The images that --input names: files, folders, patterns and lists."""

import io
import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from reldn_d2.data.sources.local_files import LocalSearch, list_lines
from reldn_d2.utils.system_errors import explained

from ..common import near_keys


@dataclass(frozen=True)
class InputImage:
    """An image of --input.

    Attributes:
        path: its file, as it was given or found.
        name: what results call it: the path below the folder that was given, or the name of the file; the
            whole path if several images share that.
    """

    path: Path
    name: str

    @property
    def key(self) -> str:
        """Its absolute path, which is the same however it is given. Links are not followed."""
        return os.path.abspath(self.path)


@dataclass(frozen=True)
class InputImages:
    """What --input names.

    Attributes:
        images: the images, each once, in the order of --input; those of a folder or pattern are sorted.
        unreadable: folder below a given one -> why it can't be read: the end of a sentence.
    """

    images: list[InputImage]
    unreadable: dict[Path, str]


def find_images(inputs: Sequence[str], output: Path, keys: Collection[str]) -> InputImages:
    """Finds the images. What is left out in folders and patterns is counted and said.

    No image is opened. `LocalSearch` says what is left out.

    Args:
        inputs: files, folders (with all folders below), patterns with "*", "?" or "[" ("**" are any folders),
            and lists: files that end in .txt, with a path in each line, which is relative to the list; "-" is
            a list from standard input, with paths relative to the working directory.
        output: folder of the results.
        keys: keys of the config, for the error about a misspelt override.

    Raises:
        FileNotFoundError: there is no such file or folder, or nothing fits a pattern.
        ValueError: an input is an empty text, a folder has no image, a list is no text or is empty, or
            results could replace images.
        OSError: a folder or list can't be read.
    """
    found: dict[str, InputImage] = {}

    def add(path: Path, name: str) -> None:
        image = InputImage(path, name)
        found.setdefault(image.key, image)

    def add_list(source: str, path: Path | None) -> None:
        content = sys.stdin.buffer.read() if path is None else _content(path)
        folder = Path() if path is None else path.parent
        for line in list(list_lines(io.BytesIO(content), source)):
            inside = not os.path.isabs(line) and ".." not in Path(line).parts
            search.add(folder / line, Path(line).as_posix() if inside else Path(line).name)

    search = LocalSearch(output, add, add_list)
    for text in inputs:
        search.add_input(text, lambda word: near_keys(word, keys))
    search.check_output()
    given = list(found.values())
    shared = Counter(image.name for image in given)
    images = [
        image if shared[image.name] == 1 else InputImage(image.path, image.path.as_posix()) for image in given
    ]
    return InputImages(images, search.unreadable)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise explained(error, path) from error
