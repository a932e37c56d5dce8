"""`main`: parses the command line of `reldn`, and runs the command."""

import gc
import io
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import version

from .command import Command, Parser
from .commands import COMMANDS, GROUPS
from .flags import join_weights

USAGE_ERROR, INTERRUPTED = 2, 130
_OVERVIEW = """usage: reldn {prefix}COMMAND [options] [KEY VALUE ...]

Finds <subject, predicate, object> relationships in images.

commands:
{commands}

`reldn {prefix}COMMAND --help` shows the options of a command and an example.
`reldn --version` shows the version."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command of `reldn`.

    Args:
        arguments: words of the command line; None: those of this process.

    Returns:
        The exit status: 0; 1 if the command found problems; 2 for wrong usage or an expected error; 130 after
        Ctrl-C.

    Raises:
        SystemExit: status 2 after a usage error, 0 after --help.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without a character, such as the arrow of a note, gets a question mark, not an error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    command, rest = find_command(words)
    args = parse(command, rest)
    is_own_process = arguments is None
    if is_own_process:
        gc.disable()  # looking through all objects of the imports several times takes a second
    try:
        # Imports PyTorch, so it is not at the top. What is warned of here is shown when the screen is set up.
        with warnings.catch_warnings(record=True) as early:
            from reldn_d2.cli.common import run_command
    except KeyboardInterrupt:
        print("interrupted: nothing was started", file=sys.stderr)
        return INTERRUPTED
    if is_own_process:
        gc.freeze()  # what was imported stays until the end
        gc.enable()
    return run_command(command.module, args, early)


def find_command(words: Sequence[str]) -> tuple[Command, list[str]]:
    """The command that the first words name, and the other words.

    Raises:
        SystemExit: there is no such command (status 2), or help or the version was asked for (status 0).
    """
    if words and words[0] == "--version":
        print(f"reldn {version('reldn-d2')}")
        raise SystemExit(0)
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        raise SystemExit(0 if words else USAGE_ERROR)
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in COMMANDS:
            return COMMANDS[name], [*words[count:]]
    kinds = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if kinds and words[1:2] in ([], ["-h"], ["--help"]):
        print(overview(f"{words[0]} "))
        raise SystemExit(0 if words[1:] else USAGE_ERROR)
    wanted = " ".join(words[:2]) if kinds else words[0]
    known = kinds or [name.split()[0] for name in COMMANDS]
    near = [name for name in known if name.startswith(wanted)] or get_close_matches(wanted, known, cutoff=0.5)
    hint = f": did you mean {near[0]}?" if near else ""
    prefix = f"{words[0]} " if kinds else ""
    print(f"error: there is no command {wanted!r}{hint}", file=sys.stderr)
    print(f"(`reldn {prefix}--help` lists the commands)", file=sys.stderr)
    raise SystemExit(USAGE_ERROR)


def overview(prefix: str = "") -> str:
    """The help text with all commands, or with those whose names begin with a prefix."""
    summaries = {name: command.summary for name, command in COMMANDS.items()}
    if prefix:
        summaries = {name: text for name, text in summaries.items() if name.startswith(prefix)}
    else:
        groups = {name.split()[0]: GROUPS.get(name.split()[0]) for name in summaries}
        summaries = {name: text or summaries[name] for name, text in groups.items()}
    width = max(map(len, summaries)) + 2
    return _OVERVIEW.format(
        prefix=prefix, commands="\n".join(f"  {name:<{width}}{text}" for name, text in summaries.items())
    )


def parse(command: Command, words: Sequence[str]) -> Namespace:
    """Parses the words after the name of a command.

    Raises:
        SystemExit: the usage is wrong (status 2), or help was asked for (status 0).
    """
    parser = Parser(command)
    command.add_arguments(parser)
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    parser.refuse_unknown_options(words)
    args = parser.parse_intermixed_args(words)
    args.command = command.name
    join_weights(parser, args)
    command.check(parser, args)
    return args
