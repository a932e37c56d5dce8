"""`Command`: the name, help and options of a command; `Parser`: its parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn


def _accept_all(parser: Parser, args: argparse.Namespace) -> None:
    """The check of commands whose options fit each other in any combination."""


@dataclass(frozen=True)
class Command:
    """A command of `reldn`.

    Attributes:
        name: what follows `reldn`, one or two words.
        summary: one line for the list of commands.
        description: what the command does, for its help.
        example: command lines that work, for its help.
        module: module of `reldn_d2.cli` whose function `run(args)` runs the command and returns the exit
            status.
        add_arguments: adds the options to a parser.
        check: refuses command lines whose options do not fit each other, by `parser.error`.
    """

    name: str
    summary: str
    description: str
    example: str
    module: str
    add_arguments: Callable[[Parser], None]
    check: Callable[[Parser, argparse.Namespace], None] = _accept_all


class Parser(argparse.ArgumentParser):
    """A parser that refuses shortened options and names near misses."""

    def __init__(self, command: Command) -> None:
        """Takes the help texts from a command."""
        example = "\n".join(f"  {line}" for line in command.example.strip().splitlines())
        super().__init__(
            prog=f"reldn {command.name}",
            description=command.description.strip(),
            epilog=f"example:\n{example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def refuse_unknown_options(self, words: Sequence[str]) -> None:
        """Refuses words that look like an option and are none, before argparse says what is missing."""
        for word in words:
            name = word.partition("=")[0]
            if name.startswith("--") and name != "--" and name not in self._option_string_actions:
                near = get_close_matches(name, self._option_string_actions, n=1)
                hint = f": did you mean {near[0]}?" if near else ""
                self.error(f"there is no option {name}{hint}")

    def error(self, message: str) -> NoReturn:
        """Ends with status 2, after a line with the error and its remedy."""
        # A word may be the name of a file of other people, with characters that steer a terminal.
        message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
        self.exit(2, f"error: {message}\n(`{self.prog} --help` shows the options)\n")
