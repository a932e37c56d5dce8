"""The local image files that --input names: files, folders and patterns; and the lines of lists."""

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from reldn_d2.utils.counted import counted
from reldn_d2.utils.plain_text import say, visible
from reldn_d2.utils.system_errors import describe, explained

from .kinds import PACKED, Kind, choose, ending, is_picture, kind_of, wanted

#: The name of a list that is read from standard input.
STANDARD_INPUT = "-"
#: Folder with the record of a run of `reldn predict`, and the file by which its results are known.
RECORD, RUN_FILE = "record", "run.json"


class LocalSearch:
    """Searches files, folders and patterns. No image is opened.

    What is left out in folders and patterns is counted and said: files with another ending than those of
    pictures, hidden files and folders, links to folders, and folders with results of `reldn predict`, so that
    no drawing becomes an input.

    Attributes:
        output: folder of the results, without links.
        folders: the folders of the images, and of the files that links lead to.
        unreadable: folder below a given one -> why it can't be read: the end of a sentence.
    """

    def __init__(
        self,
        output: Path,
        add_image: Callable[[Path, str], None],
        add_list: Callable[[str, Path | None], None],
        add_packed: Callable[[Path], None] | None = None,
    ) -> None:
        """Takes what to do with what is found.

        Args:
            output: folder of the results.
            add_image: takes the path of an image, and its name: the path below the folder that was given, or
                the name of the file.
            add_list: takes what messages call a list, and its path; None: standard input.
            add_packed: takes the path of a table or archive of images. Folders and patterns are searched for
                them if they have no picture. None: they are no input.

        Raises:
            ValueError: the output is a file.
        """
        if output.is_file():
            raise ValueError(f"--output {output} is a file: give a folder")
        self._add_image, self._add_list, self._add_packed = add_image, add_list, add_packed
        self.folders: set[str] = set()
        self.unreadable: dict[Path, str] = {}
        self._given_output, self.output = output, output.resolve()
        self._output_is_recorded = (output / RECORD / RUN_FILE).is_file()
        self._is_below_results = cache(self._is_below_results_of_any_run)

    def add(self, path: Path, name: str) -> None:
        """Adds an image. Nothing is asked of the system, which takes minutes for those of a network disk."""
        self._add_image(path, name)
        self.folders.add(os.path.dirname(os.path.abspath(path)))

    def add_input(self, text: str, hint: Callable[[str], str]) -> None:
        """Adds what a text names: a file, folder, pattern or list.

        Args:
            text: the text.
            hint: gives the end of the error about what is not there.

        Raises:
            FileNotFoundError: there is no such file or folder, or nothing fits a pattern.
            ValueError: the text is empty, or what it names has no image.
            OSError: a folder can't be read.
        """
        if not text:
            raise ValueError('--input "" is no path: name a file or folder ("." is the working directory)')
        path = Path(text)
        if text == STANDARD_INPUT:
            self._add_list("standard input", None)
        elif path.is_dir():
            self._add_folder(path)
        elif path.is_file():
            self._add_file(text, path)
        elif glob.has_magic(text):
            self._add_pattern(text)
        else:
            raise FileNotFoundError(f"--input {text}: no such file or folder{hint(text)}")

    def _add_file(self, text: str, path: Path) -> None:
        kind = kind_of(path.name)
        if kind is Kind.LIST:
            self._add_list(text, path)
        elif kind in PACKED and self._add_packed is not None:
            self._add_packed(path)
        else:
            self.add(path, path.name)
            self._add_link(path)

    def check_output(self) -> None:
        """Checks that results can't replace images.

        Raises:
            ValueError: they could.
        """
        if any(os.path.realpath(folder) == str(self.output) for folder in self.folders):
            raise ValueError(_own_folder(self._given_output))

    def _add_folder(self, top: Path) -> None:
        if top.resolve() == self.output:
            raise ValueError(_own_folder(self._given_output))
        skipped, any_image, packed = Counter[str](), False, list[Path]()
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            if self._has_results(folder):
                if (folder / RECORD / RUN_FILE).is_file():
                    skipped["folder with results of this command"] += 1
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
                    self.add(folder / child.name, f"{below_top}{child.name}")
                    if child.is_symlink():
                        self._add_link(folder / child.name)
                elif kind == _FOLDER:
                    below.append(folder / child.name)
                else:
                    skipped[kind] += 1
                    if kind != _HIDDEN and kind_of(child.name) in PACKED and child.is_file():
                        packed.append(folder / child.name)
            waiting += reversed(below)
        any_image = any_image or self._take_packed(packed, skipped)
        report(f"{top}", skipped)
        if not any_image:
            raise ValueError(f"--input {top}: no image in this folder or below; {self._wanted()}")

    def _add_pattern(self, pattern: str) -> None:
        parts = Path(pattern).parts
        fixed = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        skipped, any_match, any_image, packed = Counter[str](), False, False, list[Path]()
        for match in sorted(glob.iglob(pattern, recursive=True)):
            any_match, path = True, Path(match)
            if self._is_below_results(path.parent):
                self._check_in_output(path)
                skipped["result of this command"] += 1
            elif is_picture(path.name) and path.is_file():
                any_image = True
                self.add(path, path.relative_to(fixed).as_posix())
            elif not path.is_dir():  # "**" names all folders, too
                skipped[ending(path.name)] += 1
                if kind_of(path.name) in PACKED and path.is_file():
                    packed.append(path)
        any_image = any_image or self._take_packed(packed, skipped)
        report(pattern, skipped)
        if not any_match:
            raise FileNotFoundError(f"--input {pattern}: no file fits this pattern")
        if not any_image:
            raise ValueError(f"--input {pattern}: no image fits this pattern; {self._wanted()}")

    def _add_link(self, path: Path) -> None:
        self.folders.add(os.path.dirname(os.path.realpath(path)))

    def _take_packed(self, packed: list[Path], skipped: Counter[str]) -> bool:
        """Adds the tables, or else the archives, of a folder or pattern. Returns whether there are any."""
        if self._add_packed is None:
            return False
        for name in choose([str(path) for path in packed]).chosen:
            self._add_packed(Path(name))
            skipped[ending(name)] -= 1
        return bool(packed)

    def _wanted(self) -> str:
        return wanted(packed=self._add_packed is not None)

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
        if not self._output_is_recorded and is_picture(path.name) and not _is_recorded(path):
            raise ValueError(
                f"--output {self._given_output} lies inside --input and has pictures that this command has "
                f"not written, such as {path}: choose another folder"
            )


_PICTURE, _FOLDER, _HIDDEN = "picture", "folder", "hidden"
# What is left out has other words if it is there several times; those of endings are the same.
_SEVERAL = {
    "folder with results of this command": "folders with results of this command",
    "result of this command": "results of this command",
    "link to a folder": "links to folders",
}


def _kind(entry: os.DirEntry[str]) -> str:
    """`_PICTURE`, `_FOLDER`, `_HIDDEN`, or what is left out. Most entries cost no call of the system."""
    if entry.name.startswith("."):
        return _HIDDEN
    try:
        if entry.is_dir():
            return "link to a folder" if entry.is_symlink() else _FOLDER
        # A pipe, for example, is no file: reading it would wait for ever.
        usable = entry.is_file()
    except OSError:
        usable = True  # such as a link that leads to itself: reading it names it
    return _PICTURE if usable and is_picture(entry.name) else ending(entry.name)


def _is_recorded(path: Path) -> bool:
    """Whether a file is in or below a folder with results."""
    return any((folder / RECORD / RUN_FILE).is_file() for folder in path.parents)


def report(source: str, skipped: Counter[str]) -> None:
    """Says what of a folder or pattern is left out."""
    if skipped := +skipped:
        listed = ", ".join(counted(n, kind, _SEVERAL.get(kind, kind)) for kind, n in skipped.most_common())
        say(visible(f"{source}: left out {listed}"))


def _own_folder(output: Path) -> str:
    return (
        f"--output {output} is the images' own folder, where results could replace images: choose "
        "another folder"
    )


def list_lines(lines: Iterable[bytes], source: str) -> Iterator[str]:
    """The lines of a list of images that are not empty.

    Args:
        lines: the lines of the list, such as an open file: a path in each.
        source: what it is called.

    Raises:
        ValueError: it is no text, or has no line.
    """
    any_line = False
    for number, line in enumerate(lines):
        if b"\0" in line:
            raise ValueError(
                f"--input {source} is no list of images, one a line, in UTF-8: save it as UTF-8, or give an "
                "image another ending than .txt"
            )
        text = os.fsdecode(
            (line if number else line.removeprefix(b"\xef\xbb\xbf")).rstrip(b"\n").strip(b"\r")
        )
        if text.strip():
            any_line = True
            yield text
    if not any_line:
        raise ValueError(f"--input {source} lists no image: write the path of an image in each line")
