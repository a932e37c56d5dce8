"""`reldn train`."""

import argparse
from difflib import get_close_matches
from itertools import takewhile

from ..command import Command, Parser
from ..flags import (
    add_config,
    add_data,
    add_device,
    add_launch,
    add_output,
    add_precision,
    add_weights,
    check_launch,
)

#: The same as `reldn_d2.recipes.STAGES`, which is not imported here.
STAGES = ("detector", "relations", "evaluate", "draw")


def _add_arguments(parser: Parser) -> None:
    add_config(parser)
    add_data(parser)
    add_weights(
        parser, "checkpoint to start from (for RelDN: the trained detector; with --recipe also: scratch)"
    )
    add_output(parser, "folder of the run (default: OUTPUT_DIR of the config; output/NAME with --recipe)")
    add = parser.add_argument
    add(
        "--recipe", choices=["small"], help="train detector and RelDN on --data, in one go (docs/training.md)"
    )
    stages = f"some stages of the recipe only: {', '.join(STAGES)} (default: all)"
    add("--stages", nargs="+", default=[], metavar="STAGE", help=stages)
    add("--resume", action="store_true", help="go on from the last checkpoint in the folder of the run")
    add("--seed", type=int, metavar="N", help="seed of the run (default: that of the config)")
    add_device(parser)
    add_precision(parser)
    add_launch(parser)


def _check(parser: Parser, args: argparse.Namespace) -> None:
    if bool(args.recipe) == bool(args.config_file):
        parser.error("give --config-file FILE, or --data FILE.yaml --recipe small")
    if args.recipe and not args.data:
        parser.error("--recipe trains on your own data: give --data FILE.yaml")
    if args.stages and not args.recipe:
        parser.error("--stages chooses stages of a --recipe: leave it out")
    # Overrides may stand behind the stages; their keys are in upper case.
    wrong = [word for word in takewhile(lambda word: word != word.upper(), args.stages) if word not in STAGES]
    if wrong:
        near = get_close_matches(wrong[0], STAGES, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        parser.error(f"there is no stage {wrong[0]!r}{hint} The stages are {', '.join(STAGES)}")
    if args.recipe and args.num_gpus * args.num_machines > 1:
        parser.error("--recipe trains in one process: leave out --num-gpus and --num-machines")
    check_launch(parser, args)


COMMAND = Command(
    name="train",
    summary="train a detector or RelDN, or both on your own data",
    description="""
Trains the model of a config: a detector (stage 1), or RelDN on a trained detector (stage 2). With --recipe it
trains both on your own data, one after the other, evaluates, and draws ten predictions.
""",
    example="""
reldn train --config-file scenes/detector.yaml
reldn train --config-file scenes/reldn.yaml --weights output/scenes/detector
reldn train --data party.yaml --recipe small --output output/party
""",
    module="train",
    add_arguments=_add_arguments,
    check=_check,
)
