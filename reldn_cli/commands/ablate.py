"""`reldn ablate`."""

import argparse
from pathlib import Path

from ..command import Command, Parser
from ..flags import add_config, add_data, add_output, add_weights, positive

CHALLENGE = 9


def _add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--table",
        type=int,
        choices=range(1, CHALLENGE + 1),
        required=True,
        metavar="N",
        help="number of the table in the paper, 1 to 9",
    )
    add_config(parser, default="that of the paper's table")
    add_data(parser)
    add_weights(parser, "trained detector")
    add(
        "--seeds",
        type=positive,
        default=3,
        metavar="N",
        help="runs of each line, with seeds 1 to N (default: %(default)s)",
    )
    add("--lines", nargs="+", default=[], metavar="LINE", help="some lines of the table (default: all)")
    add_output(parser, "folder for runs and tables", Path("output/ablations"))
    add(
        "--jobs",
        type=positive,
        default=1,
        metavar="N",
        help="runs at a time; they share the cores (default: %(default)s)",
    )
    add("--num-gpus", type=positive, default=1, metavar="N", help="GPUs of each run (default: %(default)s)")
    server = "scores that the challenge's test server gave, for table 9"
    add("--scores", nargs="+", default=[], type=_score, metavar="LINE=PUBLIC,PRIVATE", help=server)


def _score(text: str) -> tuple[str, tuple[float, float]]:
    name, _, numbers = text.partition("=")
    public, private = map(float, numbers.split(","))
    if not (0 <= public <= 1 and 0 <= private <= 1):
        raise ValueError(text)
    return name, (public, private)


def _check(parser: Parser, args: argparse.Namespace) -> None:
    if (args.table == CHALLENGE) != bool(args.scores):
        parser.error(
            f"--scores LINE=PUBLIC,PRIVATE and --table {CHALLENGE} need each other: only the test server "
            "gives the "
            "numbers of this table"
        )


COMMAND = Command(
    name="ablate",
    summary="run a table of the paper with several seeds",
    description="""
Runs a table of the paper, each line with several seeds, and writes it beside the paper's numbers. A line is a
delta: a file of configs/ablations whose settings go on top of the config and the overrides. Each run is a
training in OUTPUT/CONFIG/LINE/seedN, and all tables share it. Finished runs are kept: the same command again
makes only the missing runs. Exit status: 0 if all runs are finished, 1 if some failed (the table has the
others).
""",
    example="""
reldn ablate --table 1 --config-file scenes/reldn.yaml --weights output/scenes/detector --seeds 3
reldn ablate --table 7 --seeds 1 --lines L0_VGG16 RelDN_VGG16 --num-gpus 8
reldn ablate --table 9 --scores RelDN=0.320,0.332
""",
    module="ablate",
    add_arguments=_add_arguments,
    check=_check,
)
