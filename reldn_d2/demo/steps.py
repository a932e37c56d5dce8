"""Runs commands of `reldn` one after the other, and keeps the results of finished ones."""

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

#: Runs a command of `reldn`, given as its words. It lets errors pass.
Call = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class Command:
    """A command of the demo.

    Attributes:
        name: name of the step, for its record.
        words: words after `reldn`.
        result: a file that the command writes.
        inputs: files that the command reads and that earlier steps wrote.
    """

    name: str
    words: Sequence[str]
    result: Path
    inputs: Sequence[Path] = ()


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

    An error of a step reaches the user as it does from the command itself.

    Attributes:
        folder: the demo's folder, relative to the working directory. A record of each finished step is in
            `folder`/steps.
        number: number of all steps.
        call: see `Call`.
        done: the steps so far.
    """

    def __init__(self, folder: Path, number: int, call: Call) -> None:
        """Starts without a step.

        Args:
            folder: see above.
            number: see above.
            call: see above.
        """
        self.folder, self.number, self.call = folder, number, call
        self.done: list[Step] = []

    def run(self, command: Command) -> None:
        """Runs a command, unless the same one has finished before.

        Raises:
            ValueError: the result exists, but was made by another command or before its inputs; or see the
                command.
            OSError: see the command.
        """
        self.done.append(run_step(command, self.folder, f"{len(self.done) + 1} of {self.number}", self.call))


def run_step(command: Command, folder: Path, place: str, call: Call) -> Step:
    """Runs one command, see `Steps.run`.

    Args:
        command: the command.
        folder: the demo's folder.
        place: which step it is, in words.
        call: see `Call`.
    """
    text = shell_text(["reldn", *command.words])
    key = text.replace(str(folder), _FOLDER)
    record = folder / "steps" / f"{command.name}.json"
    say(f"\n=== step {place}: {text}")
    if record.is_file() and command.result.is_file():
        finished = Step(**json.loads(record.read_text()))
        made = command.result.stat().st_mtime
        if finished.command != key or any(file.stat().st_mtime > made for file in command.inputs):
            raise ValueError(
                f"{command.result} was made by another command, or what it was made from changed later: "
                f"delete {folder}, or choose another --output"
            )
        say(f"{command.result} exists and is kept")
        return Step(text, finished.seconds)
    start = time.perf_counter()
    call(command.words)
    step = Step(text, time.perf_counter() - start)
    with atomic_write(record) as file:
        file.write(json.dumps(asdict(Step(key, step.seconds))).encode())
    return step


def shell_text(words: Sequence[str]) -> str:
    """A command line for a shell. Words with single quotes are put in double quotes, which reads better."""
    return " ".join(
        f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word) for word in words
    )
