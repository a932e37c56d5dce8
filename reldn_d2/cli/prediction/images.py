"""The images that --input names: files, folders, patterns and lists."""

import glob
import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reldn_d2.data.images import picture_endings
from reldn_d2.utils.plain_text import say, visible
from reldn_d2.utils.system_errors import describe, explained

from ..common import near_keys
from .places import RECORD, RUN_FILE

#: A file with this ending lists images, one a line.
LIST_ENDING = ".txt"
#: The name of a list that is read from standard input.
STANDARD_INPUT = "-"


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

    No image is opened. Left out are: files with another ending than those of pictures, hidden files and
    folders, links to folders, and folders with results of this command, so that no drawing becomes an input.

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
    if output.is_file():
        raise ValueError(f"--output {output} is a file: give a folder")
    search = _Search(output)
    for text in inputs:
        search.add(text, keys)
    given = list(search.found.values())
    if any(os.path.realpath(folder) == str(search.output) for folder in search.folders):
        raise ValueError(_own_folder(output))
    shared = Counter(image.name for image in given)
    images = [
        image if shared[image.name] == 1 else InputImage(image.path, image.path.as_posix()) for image in given
    ]
    return InputImages(images, search.unreadable)


class _Search:
    """Collects images.

    Attributes:
        found: absolute path -> image.
        folders: the folders of the images, and of the files that links lead to.
        unreadable: see `InputImages`.
        output: folder of the results, without links.
    """

    def __init__(self, output: Path) -> None:
        self.found: dict[str, InputImage] = {}
        self.folders: set[str] = set()
        self.unreadable: dict[Path, str] = {}
        self._given_output, self.output = output, output.resolve()
        self._output_is_recorded = (output / RECORD / RUN_FILE).is_file()
        self._is_below_results = cache(self._is_below_results_of_any_run)

    def add(self, text: str, keys: Collection[str]) -> None:
        if not text:
            raise ValueError('--input "" is no path: name a file or folder ("." is the working directory)')
        path = Path(text)
        if text == STANDARD_INPUT:
            self._add_list("standard input", sys.stdin.buffer.read(), Path())
        elif path.is_dir():
            self._add_folder(path)
        elif path.is_file():
            if path.suffix.lower() == LIST_ENDING:
                self._add_list(text, _content(path), path.parent)
            else:
                self._add(path, path.name)
                self._add_link(path)
        elif glob.has_magic(text):
            self._add_pattern(text)
        else:
            raise FileNotFoundError(f"--input {text}: no such file or folder{near_keys(text, keys)}")

    def _add(self, path: Path, name: str) -> None:
        # Nothing is asked of the system, which takes minutes for the images of a network disk.
        image = InputImage(path, name)
        self.found.setdefault(image.key, image)
        self.folders.add(os.path.dirname(image.key))

    def _add_link(self, path: Path) -> None:
        self.folders.add(os.path.dirname(os.path.realpath(path)))

    def _add_list(self, source: str, content: bytes, folder: Path) -> None:
        if b"\0" in content:
            raise ValueError(
                f"--input {source} is no list of images, one a line, in UTF-8: save it as UTF-8, or give an "
                "image another ending than .txt"
            )
        lines = [
            os.fsdecode(line.strip(b"\r")) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        ]
        lines = [line for line in lines if line.strip()]
        if not lines:
            raise ValueError(f"--input {source} lists no image: write the path of an image in each line")
        for line in lines:
            inside = not os.path.isabs(line) and ".." not in Path(line).parts
            self._add(folder / line, Path(line).as_posix() if inside else Path(line).name)

    def _add_folder(self, top: Path) -> None:
        if top.resolve() == self.output:
            raise ValueError(_own_folder(self._given_output))
        skipped, any_image = Counter[str](), False
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            if self._has_results(folder):
                if (folder / RECORD / RUN_FILE).is_file():
                    skipped["folders with results of this command"] += 1
                else:
                    self._refuse_pictures_below(folder)
                continue
            try:
                with os.scandir(folder) as entries:
                    children = sorted(entries, key=lambda child: child.name)
            except OSError as error:
                if folder == top:
                    raise explained(error, folder) from error
                self.unreadable[folder] = describe(error, folder).removeprefix(f"{folder} ")
                continue
            below, inner = [], folder.relative_to(top).as_posix()
            below_top = "" if inner == "." else f"{inner}/"
            for child in children:
                kind = _kind(child)
                if kind == _PICTURE:
                    any_image = True
                    self._add(folder / child.name, f"{below_top}{child.name}")
                    if child.is_symlink():
                        self._add_link(folder / child.name)
                elif kind == _FOLDER:
                    below.append(folder / child.name)
                else:
                    skipped[kind] += 1
            waiting += reversed(below)
        self._report(f"{top}", skipped)
        if not any_image:
            raise ValueError(f"--input {top}: no image in this folder or below; {_wanted()}")

    def _add_pattern(self, pattern: str) -> None:
        parts = Path(pattern).parts
        fixed = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        skipped, any_match, any_image = Counter[str](), False, False
        for match in sorted(glob.iglob(pattern, recursive=True)):
            any_match, path = True, Path(match)
            if self._is_below_results(path.parent):
                self._check_in_output(path)
                skipped["results of this command"] += 1
            elif _is_picture(path.name) and path.is_file():
                any_image = True
                self._add(path, path.relative_to(fixed).as_posix())
            elif not path.is_dir():  # "**" names all folders, too
                skipped[_ending(path.name)] += 1
        self._report(pattern, skipped)
        if not any_match:
            raise FileNotFoundError(f"--input {pattern}: no file fits this pattern")
        if not any_image:
            raise ValueError(f"--input {pattern}: no image fits this pattern; {_wanted()}")

    def _is_below_results_of_any_run(self, folder: Path) -> bool:
        return any(map(self._has_results, (folder, *folder.parents)))

    def _has_results(self, folder: Path) -> bool:
        return folder.resolve() == self.output or (folder / RECORD / RUN_FILE).is_file()

    def _refuse_pictures_below(self, output: Path) -> None:
        """Refuses an output folder with pictures of the user, which would not be read, but replaced."""
        for folder, _, names in os.walk(output):
            for name in sorted(names):
                self._check_in_output(Path(folder, name))

    def _check_in_output(self, path: Path) -> None:
        # Results of other runs may lie below.
        if not self._output_is_recorded and _is_picture(path.name) and not _is_recorded(path):
            raise ValueError(
                f"--output {self._given_output} lies inside --input and has pictures that this command has "
                f"not written, such as {path}: choose another folder"
            )

    @staticmethod
    def _report(source: str, skipped: Counter[str]) -> None:
        if skipped:
            listed = ", ".join(f"{number} {visible(kind)}" for kind, number in skipped.most_common())
            say(f"{visible(source)}: left out {listed}")


_PICTURE, _FOLDER = "picture", "folder"


def _kind(entry: os.DirEntry[str]) -> str:
    """`_PICTURE`, `_FOLDER`, or what is left out, in words. Most entries cost no call of the system."""
    if entry.name.startswith("."):
        return "hidden"
    try:
        if entry.is_dir():
            return "links to folders" if entry.is_symlink() else _FOLDER
        # A pipe, for example, is no file: reading it would wait for ever.
        usable = entry.is_file()
    except OSError:
        usable = True  # such as a link that leads to itself: reading it names it
    return _PICTURE if usable and _is_picture(entry.name) else _ending(entry.name)


def _is_recorded(path: Path) -> bool:
    """Whether a file is in or below a folder with results."""
    return any((folder / RECORD / RUN_FILE).is_file() for folder in path.parents)


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in picture_endings()


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower() or "without an ending"


def _wanted() -> str:
    return f"images end in {', '.join(sorted(picture_endings()))}"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise explained(error, path) from error


def _own_folder(output: Path) -> str:
    return (
        f"--output {output} is the images' own folder, where results could replace images: choose "
        "another folder"
    )
