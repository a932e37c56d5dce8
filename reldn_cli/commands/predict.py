"""`reldn predict`."""

import argparse
from pathlib import Path

from ..command import Command, Parser
from ..flags import add_config, add_device, add_imports, add_output, add_weights, positive, share

# RelDN ranks so many relationships of an image.
MOST_RELATIONSHIPS = 100


def _add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--input", nargs="+", required=True, metavar="PATH", help="images and folders of images")
    add_weights(parser, "a trained RelDN", required=True)
    add_config(parser, default="config.yaml in the folder of the weights")
    add_imports(parser)
    add_output(parser, "folder for the results", Path("predictions"))
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
    add_device(parser)


def _check(parser: Parser, args: argparse.Namespace) -> None:
    if args.top_k > MOST_RELATIONSHIPS:
        parser.error(f"--top-k {args.top_k} is more than {MOST_RELATIONSHIPS}, the number that RelDN ranks")


COMMAND = Command(
    name="predict",
    summary="find the relationships in images",
    description="Writes the scene graph of each image: a JSON file and a drawing.",
    example="""
reldn predict --input photo.jpg --weights output/party
reldn predict --input photos/ more/*.jpg --weights output/party --output graphs MODEL.DEVICE cpu
""",
    module="predict",
    add_arguments=_add_arguments,
    check=_check,
)
