"""The command line that the scripts datasets/prepare_*.py share."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reldn_d2.data.conversion import Conversion, convert, digests_of_sources
from reldn_d2.data.registration import datasets_root

# What a shell reports of a command that Ctrl-C ended.
_INTERRUPTED = 130


def conversion_parser(description: str, folder: str) -> argparse.ArgumentParser:
    """The options of scripts that convert a data set of a known folder: --root, --output and --force.

    Args:
        description: of the script.
        folder: of the data set, below the folder of all data sets.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = Path(datasets_root()) / folder
    parser.add_argument(
        "--root", type=Path, default=root, help="folder of the official files; default: %(default)s"
    )
    parser.add_argument("--output", type=Path, help="folder to write to; default: coco_relations in --root")
    parser.add_argument("--force", action="store_true", help="convert again what is there already")
    return parser


def run_conversions(conversions: Sequence[Conversion], output: Path, force: bool) -> None:
    """Convert one after the other, and print what became of each.

    Raises:
        SystemExit: with a message of one line, when a data set cannot be read or a file not be written; with status 130
            after such a line on standard error, when interrupted.
    """
    try:
        digests = digests_of_sources(conversions)
        for conversion in conversions:
            print(convert(conversion, output, digests, force), flush=True)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        print("interrupted; run it again to go on", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None
