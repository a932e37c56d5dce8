"""What one machine can show of prediction on many.

    python -m tools.scale faults                    # kills parts of it, compares the rows: about 20 minutes
    python -m tools.scale faults --only node disk --turns 1
    python -m tools.scale memory                    # peak memory with 200 and 20,000 small images
    python -m tools.scale throughput                # Ray's workers beside plain processes, in one run
    python -m tools.scale cost --check              # predicts the cost of a run, and compares it with one

It needs the package's extra `ray`, and Linux. Nothing else should run on the machine, or times say nothing.
The faults `disk` and `memory` need root: one mounts a small disk, the other makes a cgroup.
"""

import argparse
import sys
from pathlib import Path

from . import cost, faults, memory, throughput
from .predictions import QUICK_MODEL


def main() -> None:
    """Runs one part."""
    args = _arguments()
    if args.part == "faults":
        if not faults.run(args.only, args.turns, args.folder):
            sys.exit(1)
    elif args.part == "memory":
        memory.run(args.images, args.words, args.folder)
    elif args.part == "throughput":
        throughput.run(args.images, args.turns, args.words, args.shard_size, args.folder)
    else:
        cost.run(check=args.check, folder=args.folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    tried = parts.add_parser("faults")
    tried.add_argument("--only", nargs="+", choices=faults.KINDS, default=[*faults.KINDS], metavar="FAULT",
                       help=f"default: all of {', '.join(faults.KINDS)}")  # fmt: skip
    tried.add_argument("--turns", type=int, default=5, help="trials of each fault (default: %(default)s)")
    watched = parts.add_parser("memory")
    watched.add_argument("--images", type=int, nargs="+", default=[200, 20_000], help="default: 200 20000")
    timed = parts.add_parser("throughput")
    timed.add_argument("--images", type=int, default=3000, help="default: %(default)s")
    timed.add_argument("--turns", type=int, default=2, help="default: %(default)s")
    timed.add_argument("--shard-size", type=int, default=100, help="default: %(default)s")
    computed = parts.add_parser("cost")
    computed.add_argument("--check", action="store_true", help="predict 2,000 images, and compare")
    for part in (watched, timed):
        words = "after --: options of reldn predict (default: those of a very small model)"
        part.add_argument("words", nargs="*", default=QUICK_MODEL, metavar="WORD", help=words)
    for part in (tried, watched, timed, computed):
        part.add_argument("--folder", type=Path, help="keep what is written in this folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
