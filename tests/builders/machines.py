"""Runs on several "machines": commands on this one, with one process each, that meet at a port."""

import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.builders.tiny_models import REPOSITORY

#: After this time a command that hangs is killed. It is enough for a slow machine.
LIMIT = 600
# Below the ports that Linux gives to programs that ask for any, so that no other program gets one in between.
_PORTS = range(20_000, 30_000)
_RELDN = ("-m", "reldn_cli")


@dataclass(frozen=True)
class Ended:
    """What a command left.

    Attributes:
        status: its exit status.
        output: what it printed, errors too.
    """

    status: int
    output: str

    @property
    def errors(self) -> list[str]:
        """The messages of the expected errors that it printed."""
        lines = self.output.splitlines()
        return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]


def free_port() -> int:
    """A port that nobody uses."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")


def by_detectron2(words: Sequence[object], machine: int, port: int, *, machines: int = 2) -> list[str]:
    """The command of a machine with Detectron2's launcher."""
    address = f"tcp://127.0.0.1:{port}"
    launch = ("--num-machines", machines, "--machine-rank", machine, "--dist-url", address)
    return [sys.executable, *map(str, (*_RELDN, *words, *launch))]


def by_torchrun(
    words: Sequence[object],
    machine: int | None = None,
    port: int | None = None,
    *,
    options: Sequence[object] = ("--nnodes", 2),
    program: Sequence[str] = _RELDN,
) -> list[str]:
    """The command of a machine with torchrun.

    Args:
        words: words of `reldn` or of another program.
        machine: number of the machine; None: the machines agree on their numbers, also when they start again.
        port: port where several machines meet; None: there is one machine.
        options: more options of torchrun.
        program: the program, in the form that torchrun takes.
    """
    number = ("--rdzv-backend", "c10d") if machine is None else ("--node-rank", machine)
    there = (*number, "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1")
    meeting = ("--standalone",) if port is None else there
    launch = ("-m", "torch.distributed.run", *meeting, *options)
    return [sys.executable, *map(str, (*launch, *program, *words))]


def run_together(commands: Sequence[Sequence[str]], folder: Path) -> list[Ended]:
    """Runs commands at the same time, in the repository.

    Args:
        commands: the commands.
        folder: where what they print is kept meanwhile.
    """
    files = [folder / f"output_{i}.txt" for i in range(len(commands))]
    started = []
    try:
        for command, file in zip(commands, files, strict=True):
            with file.open("wb") as output:
                started.append(
                    subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=REPOSITORY)
                )
        statuses = [process.wait(LIMIT) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [Ended(status, file.read_text()) for status, file in zip(statuses, files, strict=True)]
