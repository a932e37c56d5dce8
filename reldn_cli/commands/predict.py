"""`reldn predict`."""

import argparse
from pathlib import Path

from ..command import Command, Parser
from ..flags import (
    above_zero,
    add_config,
    add_device,
    add_imports,
    add_output,
    add_precision,
    add_weights,
    bounds,
    positive,
    share,
)

# RelDN ranks so many relationships of an image.
MOST_RELATIONSHIPS = 100
# Names of --format.
FORMATS = (
    *("drawings", "json", "jsonl", "csv", "parquet", "shards", "graphml", "gexf", "cytoscape", "dot"),
    *("coco-relations", "label-studio"),
)
# Images of a file of --format shards.
_SHARD_SIZE = 100


def _add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--input",
        nargs="+",
        metavar="PATH",
        help="images, folders (with all folders below), quoted patterns such as 'photos/**/*.jpg', and "
        "lists: .txt files with a path in each line (- is standard input); with --format shards also "
        "addresses, tables and archives (docs/scale.md); default: the picture that a model of this package "
        "brings with it",
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
    add(
        "--pad",
        action="store_true",
        help="let a batch hold images of several sizes: padding them changes what is found near borders",
    )
    add("--resume", action="store_true", help="keep the finished images of a run that was stopped, and go on")
    add(
        "--overwrite",
        action="store_true",
        help="replace files in the output folder, and results of another model or of other options",
    )
    add_device(parser)
    add_precision(parser)
    _add_workers(parser)


def _add_workers(parser: Parser) -> None:
    add = parser.add_argument_group("very many images, with --format shards").add_argument
    add("--shard-size", type=positive, metavar="N", help=f"images of a shard (default: {_SHARD_SIZE})")
    add("--image-column", metavar="NAME", help="column of --input tables with paths or pictures")
    add("--id-column", metavar="NAME", help="column of --input tables with ids of the images")
    add(
        "--num-gpus",
        type=positive,
        default=1,
        metavar="N",
        help="GPUs of this machine; without GPUs, CPU processes (default: %(default)s)",
    )
    add("--engine", choices=("local", "ray"), default="local", help="this machine, or Ray (default: local)")
    add(
        "--address",
        metavar="HOST:PORT",
        help="Ray's cluster; auto is the one of this machine (default: one is started for this command)",
    )
    add("--workers", type=bounds, metavar="N|MIN:MAX", help="workers of Ray (default: 1)")
    add("--worker-cpus", type=above_zero, metavar="N", help="CPU cores of each (default: 1)")
    add("--worker-gpus", type=float, metavar="N", help="GPUs of each (default: 1, with a GPU as the device)")
    add("--worker-memory", type=above_zero, metavar="GIB", help="memory of each (default: not counted)")


# Options that only say something about the workers of --engine ray, and about --format shards.
_OF_RAY = ("address", "workers", "worker_cpus", "worker_gpus", "worker_memory")
_OF_SHARDS = ("shard_size", "image_column", "id_column")


def _check_workers(parser: Parser, args: argparse.Namespace) -> None:
    if "shards" in args.format:
        if set(args.format) != {"shards"}:
            parser.error("--format shards is written by workers, and stands alone: leave the others out")
        if args.boxes is not None:
            parser.error("--format shards takes no --boxes: leave them out, or use --format jsonl")
    elif args.engine == "ray":
        parser.error("--engine ray writes shards alone: add --format shards")
    elif args.num_gpus > 1:
        parser.error("--num-gpus is for --format shards: add that, or leave --num-gpus out")
    for names, is_used, needed in (
        (_OF_SHARDS, "shards" in args.format, "--format shards"),
        (_OF_RAY, args.engine == "ray", "--engine ray"),
    ):
        given = [name for name in names if getattr(args, name) is not None]
        if given and not is_used:
            parser.error(f"--{given[0].replace('_', '-')} is for {needed}: add that, or leave it out")
    if args.engine == "ray" and args.num_gpus > 1:
        parser.error("--num-gpus is for this machine alone: --engine ray takes --workers and --worker-gpus")
    args.shard_size = args.shard_size or _SHARD_SIZE
    args.workers = args.workers or (1, 1)
    args.worker_cpus = args.worker_cpus or 1.0


def _check(parser: Parser, args: argparse.Namespace) -> None:
    _check_workers(parser, args)
    if args.top_k > MOST_RELATIONSHIPS:
        parser.error(f"--top-k {args.top_k} is more than {MOST_RELATIONSHIPS}, the number that RelDN ranks")
    if args.boxes is None and (args.annotations is not None or args.drop_unknown_classes):
        parser.error(
            "--annotations and --drop-unknown-classes say something about --boxes: give --boxes, too"
        )
    if args.pad and args.batch_size == 1:
        parser.error("--pad is about batches of several images: give --batch-size, too")
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
reldn predict --input list.txt --weights output/party --format shards --engine ray --workers 2:8 --resume
""",
    module="predict",
    add_arguments=_add_arguments,
    check=_check,
)
