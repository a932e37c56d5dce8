"""The command line that the scripts datasets/prepare_*.py share."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reldn_d2.data.conversion import Conversion, convert, digests_of_sources
from reldn_d2.data.registration import datasets_root

# Exit status of a command that Ctrl-C ended, as shells report it.
_INTERRUPTED = 130


def conversion_parser(description: str, folder: str) -> argparse.ArgumentParser:
    """Makes the argument parser of a conversion script, with --root, --output and --force.

    Args:
        description: what the script does, for --help.
        folder: folder of the data set, relative to the folder of all data sets.
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
    """Converts the data sets one after the other and prints the result of each.

    Raises:
        SystemExit: a data set can't be read or a file can't be written: a message of one line. The user
            interrupted the script: status 130, after a line on standard error.
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
