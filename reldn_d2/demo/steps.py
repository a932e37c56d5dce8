"""Runs commands of `reldn` in this process, and keeps the results of finished ones."""

import json
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import say

# Stands for the demo's folder in records, so that they hold in any working directory.
_FOLDER = "OUTPUT"


@dataclass(frozen=True)
class Step:
    """A command of the demo and the time that it took.

    Attributes:
        command: the command line.
        seconds: duration.
    """

    command: str
    seconds: float


class Steps:
    """The steps of a demo, in order.

    The steps run in this process, not in processes of their own. That saves the import of PyTorch, several
    seconds a step, which would be most of the time of a quick demo. An error of a step reaches the user as it
    does from the command itself.

    Attributes:
        folder: the demo's folder, relative to the working directory. A record of each finished step is in
            `folder`/steps.
        number: number of all steps.
        done: the steps so far.
    """

    def __init__(self, folder: Path, number: int, call: Callable[[Sequence[str]], None]) -> None:
        """Starts without a step.

        Args:
            folder: see above.
            number: see above.
            call: runs a command of `reldn`, given as its words. It lets errors pass.
        """
        self.folder, self.number, self._call = folder, number, call
        self.done: list[Step] = []

    def run(self, name: str, words: Sequence[str], result: Path, inputs: Sequence[Path] = ()) -> None:
        """Runs a command, unless the same one has finished before.

        Args:
            name: name of the step, for its record.
            words: words after `reldn`.
            result: a file that the command writes.
            inputs: files that the command reads and that earlier steps wrote.

        Raises:
            ValueError: the result exists, but was made by another command or before its inputs; or see the
                command.
            OSError: see the command.
        """
        command = shell_text(["reldn", *words])
        key = command.replace(str(self.folder), _FOLDER)
        record = self.folder / "steps" / f"{name}.json"
        say(f"\n=== step {len(self.done) + 1} of {self.number}: {command}")
        if record.is_file() and result.is_file():
            finished = Step(**json.loads(record.read_text()))
            made = result.stat().st_mtime
            if finished.command != key or any(file.stat().st_mtime > made for file in inputs):
                raise ValueError(
                    f"{result} was made by another command, or what it was made from changed later: delete "
                    f"{self.folder}, or choose another --output"
                )
            say(f"{result} exists and is kept")
            self.done.append(Step(command, finished.seconds))
            return
        start = time.perf_counter()
        self._call(words)
        step = Step(command, time.perf_counter() - start)
        with atomic_write(record) as file:
            file.write(json.dumps(asdict(Step(key, step.seconds))).encode())
        self.done.append(step)


def shell_text(words: Sequence[str]) -> str:
    """A command line for a shell. Words with single quotes are put in double quotes, which reads better."""
    return " ".join(
        f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word) for word in words
    )
