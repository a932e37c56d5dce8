"""`reldn predict`."""

import argparse
from pathlib import Path

from ..command import Command, Parser
from ..flags import (
    add_config,
    add_device,
    add_imports,
    add_output,
    add_precision,
    add_weights,
    positive,
    share,
)

# RelDN ranks so many relationships of an image.
MOST_RELATIONSHIPS = 100
# Names of --format.
FORMATS = (
    *("drawings", "json", "jsonl", "csv", "parquet", "graphml", "gexf", "cytoscape", "dot"),
    *("coco-relations", "label-studio"),
)


def _add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--input",
        nargs="+",
        metavar="PATH",
        help="images, folders (with all folders below), quoted patterns such as 'photos/**/*.jpg', and "
        "lists: .txt files with a path in each line (- is standard input); default: the picture that a model "
        "of this package brings with it",
    )
    add_weights(parser, "a trained RelDN", required=True)
    add_config(parser, default="config.yaml in the folder of the weights")
    add_imports(parser)
    add_output(parser, "folder for the results", Path("predictions"))
    add(
        "--format",
        nargs="+",
        default=["json", "drawings"],
        metavar="NAME",
        help=f"what is written: {', '.join(FORMATS)} (default: json drawings)",
    )
    add(
        "--boxes",
        type=Path,
        metavar="FILE.json",
        help="boxes of the images: COCO results, a COCO file, or graphs of this command; boxes alone are "
        "classified, boxes with classes are taken for certain, with scores they are detections",
    )
    add(
        "--annotations",
        type=Path,
        metavar="FILE.json",
        help="COCO file with the images and categories that the numbers in --boxes stand for",
    )
    add(
        "--drop-unknown-classes",
        action="store_true",
        help="leave out boxes of classes that the model does not know",
    )
    add(
        "--top-k",
        type=positive,
        default=20,
        metavar="N",
        help=f"relationships in an image, 1 to {MOST_RELATIONSHIPS} (default: %(default)s)",
    )
    add(
        "--predicates-per-pair",
        type=positive,
        default=1,
        metavar="N",
        help="largest number of predicates of a pair (default: %(default)s)",
    )
    add(
        "--score-threshold",
        type=share,
        default=0.1,
        metavar="X",
        help="lowest score of a relationship, 0 to 1 (default: %(default)s)",
    )
    add(
        "--entity-threshold",
        type=share,
        default=0.0,
        metavar="X",
        help="lowest score of an entity, 0 to 1 (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=positive,
        default=1,
        metavar="N",
        help="images of one size that the model takes at a time (default: %(default)s)",
    )
    add("--resume", action="store_true", help="keep the finished images of a run that was stopped, and go on")
    add(
        "--overwrite",
        action="store_true",
        help="replace files in the output folder, and results of another model or of other options",
    )
    add_device(parser)
    add_precision(parser)


def _check(parser: Parser, args: argparse.Namespace) -> None:
    if args.top_k > MOST_RELATIONSHIPS:
        parser.error(f"--top-k {args.top_k} is more than {MOST_RELATIONSHIPS}, the number that RelDN ranks")
    if args.boxes is None and (args.annotations is not None or args.drop_unknown_classes):
        parser.error(
            "--annotations and --drop-unknown-classes say something about --boxes: give --boxes, too"
        )
    if args.resume and args.overwrite:
        parser.error("--resume keeps results, and --overwrite deletes them: give one of them")


COMMAND = Command(
    name="predict",
    summary="find the relationships in images",
    description="Writes the scene graphs of images: a JSON file and a drawing for each, files of other "
    "formats, or one file for all, such as a data set to correct and to train on.",
    example="""
reldn predict --weights scenes-tiny
reldn predict --input photo.jpg --weights output/party
reldn predict --input photos/ more/*.jpg --weights output/party --output graphs MODEL.DEVICE cpu
reldn predict --input photos --weights output/party --format jsonl csv --batch-size 8 --resume
reldn predict --input photos --weights output/party --format coco-relations --entity-threshold 0.5 --top-k 100
reldn predict --input photos --weights output/party --boxes boxes.json
""",
    module="predict",
    add_arguments=_add_arguments,
    check=_check,
)
