"""Runs lists of steps side by side, in processes of their own.

A small network does not keep several threads busy: two trainings of one thread each end sooner than one after
the other with two threads.
"""

import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TextIO, cast

import torch

from reldn_d2.utils.plain_text import say

from .steps import Call, Command, Step, Steps, run_step


@dataclass(frozen=True)
class Lane:
    """Commands that run one after the other in a process of their own.

    Attributes:
        commands: the commands.
        places: which steps they are, in words.
        folder: the demo's folder.
        call: see `steps.Call`. The process must be able to import it.
        threads: threads of PyTorch in the process.
    """

    commands: Sequence[Command]
    places: Sequence[str]
    folder: Path
    call: Call
    threads: int


def run_side_by_side(steps: Steps, lists: Sequence[Sequence[Command]]) -> None:
    """Runs lists of commands side by side, each list in its order, and adds them to the steps.

    The threads of this process are shared among the processes. If there are fewer threads than lists, all
    commands run one after the other in this process. Lines on the screen begin with the name of their step.

    The first error ends the other processes. Finished steps are kept, and in the next call a training goes on
    from its last checkpoint.

    Args:
        steps: the steps of the demo.
        lists: the lists of commands.

    Raises:
        ValueError: see `Steps.run`.
        OSError: see `Steps.run`; or a process was ended from outside.
    """
    threads = torch.get_num_threads() // len(lists)
    if threads == 0:
        for command in (command for commands in lists for command in commands):
            steps.run(command)
        return
    say(f"\nThe next steps run in {len(lists)} processes side by side; their lines begin with their names.")
    first, lanes = len(steps.done), list[Lane]()
    for commands in lists:
        places = [f"{first + i + 1} of {steps.number}" for i in range(len(commands))]
        lanes.append(Lane(commands, places, steps.folder, steps.call, threads))
        first += len(commands)
    for done in _in_processes(lanes):
        steps.done += done


def _in_processes(lanes: Sequence[Lane]) -> list[list[Step]]:
    """The finished steps of each lane."""
    # A fork of a process whose threads have worked can hang.
    context = multiprocessing.get_context("spawn")
    processes, ends = list[SpawnProcess](), list[Connection]()
    done: dict[Connection, list[Step]] = {}
    try:
        for lane in lanes:
            end, other_end = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(lane, other_end))
            # On Ctrl-C this process ends the others. A signal that is ignored stays so in a new program.
            with _interrupts_ignored():
                process.start()
            processes.append(process)
            ends.append(end)
            other_end.close()
        while len(done) < len(ends):
            for end in cast(list[Connection], wait([end for end in ends if end not in done])):
                done[end] = _received(end)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
    return [done[end] for end in ends]


def _received(end: Connection) -> list[Step]:
    """What a process sends in the end: its steps, or the error that it raised and where."""
    try:
        answer: list[Step] | tuple[Exception, str] = end.recv()
    except EOFError:
        raise OSError(
            "a process of the demo was ended from outside; where memory is short, the system does so. The "
            "same command goes on from what is finished, and with OMP_NUM_THREADS=1 before it in one process"
        ) from None
    if isinstance(answer, list):
        return answer
    error, where = answer
    raise error from RuntimeError(where)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    # Only the main thread gets Ctrl-C, and only it may say what happens.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(lane: Lane, end: Connection) -> None:
    """Runs the commands of a lane in a new process, and sends what came of them."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(lane.threads)
    out, error = NamedLines(sys.stdout), NamedLines(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, error)
    done = []
    try:
        for command, place in zip(lane.commands, lane.places, strict=True):
            out.name = error.name = command.name
            done.append(run_step(command, lane.folder, place, lane.call))
            say(f"finished in {done[-1].seconds:.0f} s")
    except Exception as problem:
        end.send((_picklable(problem), traceback.format_exc()))
    else:
        end.send(done)


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception of another package may do anything here
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """Ends this process if the demo is killed: nothing shall train on unseen."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class NamedLines(io.TextIOBase):
    """A stream that writes whole lines to another one, each behind a name.

    Attributes:
        name: the name.
    """

    def __init__(self, stream: TextIO) -> None:
        """Starts without a name.

        Args:
            stream: the other stream.
        """
        self.name = ""
        self._stream, self._rest = stream, ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the other stream."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Writes the lines that are complete. The rest follows when it is."""
        *lines, self._rest = (self._rest + text).split("\n")
        # In one piece, so that lines of several processes do not mix.
        self._stream.write("".join(f"{self.name}: {line}\n" for line in lines if line))
        self._stream.flush()
        return len(text)
