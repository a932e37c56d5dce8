"""`reldn demo`."""

from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from reldn_cli.main import find_command, parse
from reldn_d2.demo import run_demo

from .common import FINISHED


def run(args: Namespace) -> int:
    """Runs the steps of the demo that are missing, and writes the report. Returns the exit status."""
    output = args.output or Path("output", "demo_quick" if args.quick else "demo")
    run_demo(output, args.opts, call, quick=args.quick)
    return FINISHED


def call(words: Sequence[str]) -> None:
    """Runs a command of `reldn` as a step of the demo. Its errors are not caught."""
    command, rest = find_command(words)
    import_module(f"{__package__}.{command.module}").run(parse(command, rest))
