"""The record of a run of `reldn predict`: what it depends on, and which images are finished.

The folder `record` in the output folder has two files. `run.json` has the identity of the run, for example a
digest of the weights. `finished.jsonl` is a journal that only grows during a run, with lines of five kinds:

    {"names": ["a", ...]}          files such as a.json may be there from now on
    {"outdated": {"/a.jpg": "a"}}  images that are predicted again, and the names of their old files
    {"image": "/a.jpg", ...}       an image whose results were written, see `Finished`
    {"positions": {"csv": 1234}}   all before is on the disk, and the files that grow have these positions
                                   (`Writer.commit`)
    {"at_end": {"a.json": "5d..."}}  files that were written at the end of a run (`Writer.finish`), and their
                                   SHA-256; it is empty while they are written

Images after the last line of positions do not count: a kill may have come in between. So a run that goes on
cuts the files that grow off there, and every image is in them exactly once.
"""

import csv
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import IO, Any

from reldn_d2.scene_graphs import About
from reldn_d2.utils.interrupts import delayed_interrupt
from reldn_d2.utils.io import atomic_write, file_digest
from reldn_d2.utils.plain_text import to_csv
from reldn_d2.utils.shards import differences
from reldn_d2.utils.system_errors import explained

from .formats import Collected, Output, Result, Writer, format_names, make_output
from .names import plain_name
from .places import FAILURES, JOURNAL, RECORD, RUN_FILE

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_NAMED = 10


@dataclass(frozen=True)
class Finished:
    """An image whose results are written.

    Attributes:
        image: absolute path of the image.
        label: what graphs and tables call it.
        name: name of its own files, without ending.
        size: size of the image file in bytes.
        changed: time of its last change in nanoseconds.
        relationships: number of relationships.
        clipped: number of given boxes that were clipped.
    """

    image: str
    label: str
    name: str
    size: int
    changed: int
    relationships: int
    clipped: int


@dataclass
class _Journal:
    """What a journal says.

    Attributes:
        finished: absolute path -> image, those before the last line of positions.
        outdated: absolute path -> name of the files, for images that are to be predicted again. Their files
            are those of an earlier time.
        positions: name of a format -> position.
        names: all names whose files may be there.
        at_end: name of a file that a run wrote at its end -> SHA-256; empty: it was being written.
    """

    finished: dict[str, Finished] = field(default_factory=dict)
    outdated: dict[str, str] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    at_end: dict[str, str] = field(default_factory=dict)


class Record:
    """The record of this run, and its writers.

    Attributes:
        finished: absolute path -> image; those of earlier tries that need not be predicted again, and those
            of this one that are committed.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, str],
        outputs: Mapping[str, Output],
        *,
        resume: bool,
        overwrite: bool,
    ) -> None:
        """Reads the record of the folder. Nothing is written or deleted yet.

        Without `resume`, images of the same run are predicted again. Results of images that are not among
        them stay if each image has files of its own; otherwise all results will be deleted.

        Args:
            folder: output folder. The caller holds its lock.
            identity: what the results depend on, name -> text.
            outputs: name of a format -> its writer, or what is written elsewhere than by `add`.
            resume: keep finished images of a run with the same identity.
            overwrite: delete results of a run with another identity, and replace files that no record lists.

        Raises:
            ValueError: the folder has results of another run, and may not be overwritten; or its record is
                damaged.
            OSError: the record can't be read.
        """
        self._folder, self._identity, self._outputs = folder, dict(identity), outputs
        self._writers = {name: one for name, one in outputs.items() if isinstance(one, Writer)}
        self._resume, self._overwrite, self._waiting = resume, overwrite, list[Finished]()
        self._file: IO[bytes] | None = None
        self._torn, self._last_commit = False, time.monotonic()
        self._formats, saved = self._read_run()
        different = differences(saved, self._identity) if saved else []
        if different and not overwrite:
            more = f"; and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
            raise ValueError(
                f"--output {folder} has results of another run: {'; '.join(different[:_NAMED])}{more}. "
                "Choose another folder, or add --overwrite, which deletes them"
            )
        self._journal = self._read_journal() if saved else _Journal()
        shares = any(one.shared for one in outputs.values())
        self._keeps = not different and (resume or not shares)
        self.finished = dict(self._journal.finished) if self._keeps and resume else {}
        if self._journal.finished and not self._keeps and not overwrite:
            logger.warning(
                "%s has results of %d images of the same run: they are deleted, and all images are predicted "
                "again. --resume keeps them",
                folder,
                len(self._journal.finished),
            )

    @property
    def kept_names(self) -> dict[str, str]:
        """Path of an image -> name of its files, for all images that have results and keep their names."""
        outdated = self._journal.outdated if self._keeps else {}
        return outdated | {path: image.name for path, image in self.kept.items()}

    @property
    def reserved_names(self) -> list[str]:
        """Names that the files of no image may have, because files of all images would be the same."""
        shared = [*self.at_end, *(one.shared for one in self._outputs.values())]
        return [x.removesuffix(ending) for ending in self._endings for x in shared if x.endswith(ending)]

    @property
    def kept(self) -> dict[str, Finished]:
        """The images that have results which are not all deleted, by path. Some may be predicted again."""
        return self._journal.finished if self._keeps else {}

    def begin(self, names: Mapping[str, str]) -> None:
        """Makes the folder ready for results. What the record lists and is not kept is deleted.

        Args:
            names: absolute path of each image of this run -> name of its files, without ending.

        Raises:
            ValueError: files that no record lists, or that somebody has changed since, would be replaced, and
                may not be; or results are gone that the record lists.
            OSError: the folder can't be written.
        """
        there = {name.lower() for name in os.listdir(self._folder)} if self._folder.is_dir() else set()
        self._check_finished(there)
        if not self._overwrite:
            self._check_changed()
            self._check_replaced(list(names.values()), there)
        if not self._keeps:
            self._delete()
            self._journal = _Journal()
        elif not self._resume:
            for image in names.keys() & self._journal.finished.keys():
                self._journal.outdated[image] = self._journal.finished.pop(image).name
        run = {"format_version": FORMAT_VERSION, "formats": list(self._outputs), "identity": self._identity}
        self._write(RUN_FILE, (json.dumps(run, indent=1) + "\n").encode())
        lines = [
            {"names": sorted(self._journal.names)},
            {"outdated": self._journal.outdated},
            *map(asdict, self._journal.finished.values()),
            {"positions": self._journal.positions},
            {"at_end": self._journal.at_end},
        ]
        self._write(JOURNAL, "".join(json.dumps(line) + "\n" for line in lines).encode())
        self._file = (self._folder / RECORD / JOURNAL).open("ab")
        for name, writer in self._writers.items():
            writer.open(self._journal.positions.get(name, 0))
        self.report_failures({})

    def add(self, result: Result, finished: Finished) -> None:
        """Writes the results of an image in all formats. They count from the next commit on.

        Raises:
            ResultError: they can't be expressed in a format, or the image can't be read any more. Nothing was
                written.
            OSError: they can't be written.
        """
        contents = []
        for writer in self._writers.values():
            try:
                contents.append(writer.encode(result))
            # Whatever is wrong with one image must not stop the others.
            except Exception as error:
                raise ResultError(error) from error
        if self._endings and finished.name not in self._journal.names:
            # Only what may really have been written is ever deleted or replaced.
            self._append({"names": [finished.name]}, to_disk=True)
            self._journal.names.add(finished.name)
        with delayed_interrupt():
            self._torn = True
            for writer, content in zip(self._writers.values(), contents, strict=True):
                writer.write(result, content)
            self._waiting.append(finished)
            self._torn = False
        now = time.monotonic()
        period = max(writer.period for writer in self._writers.values())
        if now - self._last_commit >= period or any(writer.full for writer in self._writers.values()):
            self.commit()

    def remove_outdated(self, image: str) -> None:
        """Removes the old files of an image that can't be predicted any more.

        Args:
            image: its absolute path.

        Raises:
            OSError: they can't be removed.
        """
        name = self._journal.outdated.get(image)
        for ending in self._endings if name is not None else ():
            path = self._folder / f"{name}{ending}"
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise explained(error, path, "removed") from error

    def commit(self) -> None:
        """Brings all results to the disk, and then the journal.

        Raises:
            OSError: they can't be written.
        """
        with delayed_interrupt():
            positions = {name: writer.commit() for name, writer in self._writers.items()}
            for image in self._waiting:
                self._append(asdict(image))
            self._append({"positions": positions}, to_disk=True)
            self.finished |= {image.image: image for image in self._waiting}
            self._waiting, self._last_commit = [], time.monotonic()

    @property
    def at_end(self) -> list[str]:
        """Names of the files that are written at the end."""
        return [name for writer in self._writers.values() for name in writer.at_end]

    def finish(self, about: About) -> list[Collected]:
        """Writes the files of all images at once, after the last commit. Without any results there are none.

        Args:
            about: what they say besides the graphs.

        Raises:
            ValueError: the results can't be expressed in a format.
            OSError: they can't be written.
        """
        names = self.at_end
        if not names or not self.finished:
            return []
        self._append({"at_end": dict.fromkeys(names, "")}, to_disk=True)
        found = [writer.finish(list(self.finished), about) for writer in self._writers.values()]
        self._append({"at_end": {name: file_digest(self._folder / name) for name in names}}, to_disk=True)
        return [collected for collected in found if collected is not None]

    def commit_interrupted(self) -> None:
        """Commits after an interrupt, unless it came in the middle of an image's results.

        Raises:
            OSError: see `commit`.
        """
        if not self._torn:
            self.commit()

    def close(self) -> None:
        """Closes all files. What was not committed does not count."""
        for writer in self._writers.values():
            writer.close()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def report_failures(self, failures: Mapping[str, str]) -> None:
        """Writes the list of images without results; if there are none, an older list is removed.

        Args:
            failures: path of an image -> the reason.

        Raises:
            OSError: it can't be written.
        """
        path = self._folder / FAILURES
        if not failures:
            path.unlink(missing_ok=True)
            return
        text = StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["image", "reason"])
        rows.writerows([to_csv(image), to_csv(reason)] for image, reason in failures.items())
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())

    def _append(self, line: Mapping[str, Any], *, to_disk: bool = False) -> None:
        if self._file is None:
            raise RuntimeError("the record is not open")
        try:
            self._file.write((json.dumps(line) + "\n").encode())
            # The system has the line from here on, also if this process is killed.
            self._file.flush()
            if to_disk:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise explained(error, self._folder / RECORD / JOURNAL, "written") from error

    def _write(self, name: str, content: bytes) -> None:
        with atomic_write(self._folder / RECORD / name) as file:
            file.write(content)

    def _read(self, name: str) -> bytes:
        """The content of a file of the record; nothing if there is none."""
        path = self._folder / RECORD / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise explained(error, path) from error

    def _read_run(self) -> tuple[list[str], dict[str, str]]:
        """The formats and the identity of the recorded run, both empty if there is none."""
        content = self._read(RUN_FILE)
        if not content:
            return [], {}
        try:
            run = json.loads(content)
            if run["format_version"] != FORMAT_VERSION:
                raise ValueError(f"it has format version {run['format_version']}")
            formats = [name for name in run["formats"] if name in format_names()]
            return formats, {str(name): str(text) for name, text in run["identity"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{self._folder / RECORD / RUN_FILE} is no record of a run of this version ({error}): choose "
                "another --output, or delete this folder"
            ) from error

    def _read_journal(self) -> _Journal:
        content = self._read(JOURNAL)
        journal, waiting, place = _Journal(), list[Finished](), 0
        while (end := content.find(b"\n", place)) >= 0:
            try:
                line = json.loads(content[place:end])
                if "positions" in line:
                    journal.finished |= {image.image: image for image in waiting}
                    for image in waiting:
                        journal.outdated.pop(image.image, None)
                    journal.positions = {str(name): _number(x) for name, x in line["positions"].items()}
                    waiting = []
                elif "at_end" in line:
                    journal.at_end = {str(name): str(digest) for name, digest in line["at_end"].items()}
                elif "names" in line:
                    journal.names |= set(map(_checked_name, line["names"]))
                elif "outdated" in line:
                    outdated = line["outdated"].items()
                    journal.outdated |= {str(image): _checked_name(name) for image, name in outdated}
                else:
                    numbers = {key: _number(line[key]) for key in ("size", "relationships", "clipped")}
                    waiting.append(
                        Finished(
                            str(line["image"]),
                            str(line["label"]),
                            _checked_name(line["name"]),
                            changed=_number(line["changed"], lowest=-(2**63)),
                            **numbers,
                        )
                    )
                    journal.names.add(waiting[-1].name)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise ValueError(
                    f"{self._folder / RECORD / JOURNAL} is damaged at byte {place} ({error}): choose another "
                    "--output, or delete this folder"
                ) from error
            place = end + 1
        return journal

    @property
    def _endings(self) -> list[str]:
        return [writer.ending for writer in self._writers.values() if writer.ending]

    def _check_finished(self, there: set[str]) -> None:
        """Refuses to go on if results of finished images are gone."""
        files = (f"{image.name}{ending}" for image in self.finished.values() for ending in self._endings)
        gone = [name for name in files if name.lower() not in there]
        if gone:
            raise ValueError(
                f"{self._folder} has no {gone[0]} any more, which the record of the run lists "
                f"({len(gone)} such files). Run without --resume, which writes everything again"
            )

    def _check_changed(self) -> None:
        """Refuses to replace a file of all images that somebody has corrected."""
        for name in self._at_end_of_recorded():
            path, known = self._folder / name, self._journal.at_end[name]
            if known and path.is_file() and file_digest(path) != known:
                raise ValueError(
                    f"{path} has been changed since this command wrote it, and would be written again: move "
                    "it to another folder, or run with --overwrite (and without --resume), which deletes it"
                )

    def _check_replaced(self, names: list[str], there: set[str]) -> None:
        """Refuses to replace files that the record does not list."""
        shared = [FAILURES, *self.at_end, *(x.shared for x in self._outputs.values() if x.shared)]
        written = [*shared, *(f"{name}{ending}" for name in names for ending in self._endings)]
        found = [name for name in written if name.lower() in there]
        listed = set(self._listed()) if found else set()
        replaced = [name for name in found if name not in listed]
        if replaced:
            raise ValueError(
                f"--output {self._folder} has {len(replaced)} files that would be replaced, such as "
                f"{replaced[0]}, and no record of a run that wrote them: choose another folder, or add "
                "--overwrite"
            )

    def _listed(self) -> Iterator[str]:
        """Names of all files in the output folder that the recorded run may have written."""
        if self._formats:
            yield FAILURES
        yield from self._at_end_of_recorded()
        for writer in self._recorded():
            if writer.shared:
                yield writer.shared
            if writer.ending:
                yield from (f"{name}{writer.ending}" for name in self._journal.names)

    def _recorded(self) -> list[Output]:
        """What the recorded run has written, by format."""
        return [make_output(name, self._folder) for name in self._formats]

    def _at_end_of_recorded(self) -> list[str]:
        """Names of the files that the recorded run wrote at its end."""
        return [x for writer in self._recorded() for x in writer.at_end if x in self._journal.at_end]

    def _delete(self) -> None:
        """Deletes what the record lists, and the journal last: a kill in between loses track of nothing."""
        shared = [one for one in self._recorded() if one.shared]
        for one in shared:
            one.delete()
        for name in set(self._listed()) - {one.shared for one in shared}:
            (self._folder / name).unlink(missing_ok=True)
        (self._folder / RECORD / JOURNAL).unlink(missing_ok=True)


class ResultError(Exception):
    """The results of an image can't be expressed, or the image can't be read any more. The cause says why."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def _checked_name(name: Any) -> str:
    """A name that may be deleted: the folder may come from anybody."""
    if not isinstance(name, str) or plain_name(name) != name:
        raise ValueError(f"{name!r} is no name of a result")
    return name


def _number(value: Any, lowest: int = 0) -> int:
    if type(value) is not int or value < lowest:
        raise ValueError(f"{value!r} is no number of something")
    return value
