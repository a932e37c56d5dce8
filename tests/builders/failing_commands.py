"""Work that fails, for tests of commands with several processes, which import it by name."""

from argparse import Namespace

from detectron2.utils import comm


def fails_as_expected(args: Namespace) -> None:
    """Both processes find the same mistake of the user."""
    raise ValueError(f"the file {args.file} is empty: give another one")


def fails_in_the_second(args: Namespace) -> None:
    """Only one process finds it."""
    if comm.get_rank() == 1:
        raise FileNotFoundError(2, "No such file or directory", args.file)


def breaks(args: Namespace) -> None:
    """A mistake of ours."""
    raise KeyError(args.file)
