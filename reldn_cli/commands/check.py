"""`reldn check`."""

import argparse
from pathlib import Path

from ..command import Command, Parser
from ..flags import add_data, add_output


def _add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--dataset", nargs="+", default=[], metavar="NAME", help="registered data sets")
    add_data(parser)
    add("--annotations", type=Path, metavar="FILE.json", help="a COCO-relations file")
    add("--image-root", type=Path, metavar="FOLDER", help="folder of its images, or tar files")
    add(
        "--outside-root",
        action="store_true",
        help="its images may lie outside this folder, if you trust the file",
    )
    read = "read whole image files, only their headers, or no image (default: %(default)s)"
    add("--images", choices=["decode", "header", "skip"], default="decode", help=read)
    add_output(parser, "write all numbers to this JSON file")
    add("--html", type=Path, metavar="FILE.html", help="write a page with drawn samples to this file")
    add(
        "--samples",
        type=int,
        default=12,
        metavar="N",
        help="samples to draw of each data set (default: %(default)s)",
    )


def _check(parser: Parser, args: argparse.Namespace) -> None:
    if not args.dataset and args.data is None and args.annotations is None:
        parser.error("give --data FILE.yaml, --dataset NAME, or --annotations FILE.json --image-root FOLDER")
    if (args.annotations is None) != (args.image_root is None):
        parser.error("--annotations and --image-root need each other: give both")
    if args.outside_root and args.annotations is None:
        parser.error("--outside-root is for --annotations; a data file says 'outside_root: true' for a split")
    if args.samples < 0:
        parser.error("--samples must not be negative")


COMMAND = Command(
    name="check",
    summary="show the contents and the problems of data sets",
    description="""
Checks data sets before training: counts of classes, predicates and confusable cases, and every problem with
its record. Exit status: 0 if there are no errors (notes are not errors), 1 if a data set has errors, 2 if a
data set can't be loaded.
""",
    example="""
reldn check --data party.yaml --html party.html
reldn check --dataset reldn_vrd_train reldn_vrd_test --images header
""",
    module="check",
    add_arguments=_add_arguments,
    check=_check,
)
