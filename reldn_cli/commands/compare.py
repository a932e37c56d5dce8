"""`reldn compare`."""

from pathlib import Path

from ..command import Command, Parser


def _add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--base", type=Path, required=True, metavar="FOLDER", help="results of the run to compare with")
    add(
        "--input",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="results of the runs to compare",
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


COMMAND = Command(
    name="compare",
    summary="compare runs, with intervals",
    description="""
Compares runs with a base run: recalls, and paired bootstrap intervals over the test images. The folders are
those of the runs (OUTPUT_DIR), or the folders in them that an evaluation wrote
(OUTPUT_DIR/inference/DATASET/TASK). Prints a Markdown table. An interval says how much a difference depends
on the choice of the test images. It says nothing about other seeds of training.
""",
    example="reldn compare --base output/scenes/reldn_l0 --input output/scenes/reldn --metrics R@20 R@50",
    module="compare",
    add_arguments=_add_arguments,
)
