"""`reldn demo`."""

from argparse import Namespace
from pathlib import Path

from reldn_d2.demo import run_demo

from .common import FINISHED


def run(args: Namespace) -> int:
    """Runs the steps of the demo that are missing, and writes the report. Returns the exit status."""
    output = args.output or Path("output", "demo_quick" if args.quick else "demo")
    run_demo(output, args.opts, quick=args.quick)
    return FINISHED
