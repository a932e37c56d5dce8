"""`reldn compare`."""

from argparse import Namespace
from pathlib import Path

from ..command import Command, Parser
from ..flags import add_output


def _add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--base",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="results of the run to compare with, or of several trainings of one model with different seeds",
    )
    add(
        "--input",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="results of the runs to compare, each on its own",
    )
    add(
        "--with",
        type=Path,
        nargs="+",
        action="append",
        default=[],
        dest="models",
        metavar="FOLDER",
        help="results of several trainings of one model to compare; may be repeated for other models",
    )
    add("--task", help="sgdet, sgcls or prdcls, if the folders have results of several tasks")
    add("--dataset", metavar="NAME", help="data set, if the folders have results of several data sets")
    add("--protocol", default="motifs", metavar="NAME", help="evaluation protocol (default: %(default)s)")
    add(
        "--metrics",
        nargs="+",
        default=["R@50"],
        metavar="NAME",
        help="metrics in the per-image counts of the protocol (default: R@50)",
    )
    add(
        "--averages",
        nargs="+",
        choices=["macro", "micro"],
        default=["macro", "micro"],
        help="mean over images, or over relationships",
    )
    add_output(parser, "folder for a report: the table, the recalls with their intervals, and a drawing")


def _check(parser: Parser, args: Namespace) -> None:
    if not (args.input or args.models):
        parser.error("there is nothing to compare with --base: give --input or --with")
    if args.input and len(args.base) > 1:
        parser.error(
            f"--base has {len(args.base)} runs, and --input compares single ones: give the runs of the other "
            "model with --with"
        )
    for folders in args.models:
        if (len(folders) > 1) != (len(args.base) > 1):
            parser.error(
                f"--base has {len(args.base)} of the runs, and --with {len(folders)}: an interval over seeds "
                "needs several of each model"
            )


COMMAND = Command(
    name="compare",
    summary="compare runs, with intervals",
    description="""
Compares runs with a base run: recalls, their differences, and 95 % intervals. The folders are those of the
runs (OUTPUT_DIR), or folders that an evaluation wrote: OUTPUT_DIR/inference/DATASET/TASK, or the folder that
`reldn evaluate --predictions` names.
Prints a Markdown table, which says in words whether a difference is shown.

With one run of each model, an interval says how much a difference depends on the choice of the test
images (a BCa bootstrap). It says nothing about other seeds of training. With several runs of each model
(--base and --with), it is about images and seeds. With fewer than 5 runs it is wide ("few seeds").
""",
    example="""
reldn compare --base output/scenes/reldn_l0 --input output/scenes/reldn --metrics R@20 R@50
reldn compare --base l0/seed1 l0/seed2 l0/seed3 --with all/seed1 all/seed2 all/seed3 --output report
""",
    module="compare",
    add_arguments=_add_arguments,
    check=_check,
)
