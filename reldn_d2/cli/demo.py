"""`reldn demo`."""

from argparse import Namespace

from reldn_d2.demo import run_demo

from .common import FINISHED


def run(args: Namespace) -> int:
    """Runs the steps of the demo that are missing, and writes the report. Returns the exit status."""
    run_demo(args.output.resolve(), args.opts, quick=args.quick)
    return FINISHED
