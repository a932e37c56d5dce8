"""`reldn cache-detections`."""

import argparse

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


def _add_arguments(parser: Parser) -> None:
    add_weights(parser, "a trained detector")
    add_config(parser, default="config.yaml in the folder of the weights")
    add_data(parser)
    add = parser.add_argument
    add(
        "--dataset",
        nargs="+",
        default=[],
        metavar="NAME",
        help="data sets (default: training and test sets of the config)",
    )
    add_output(
        parser,
        "folder for the files, one for each data set (default: detections/ in the folder of the weights; "
        "for a saved model, in OUTPUT_DIR of the config)",
    )
    add_device(parser)
    add_precision(parser)
    add_launch(parser)


def _check(parser: Parser, args: argparse.Namespace) -> None:
    check_launch(parser, args)
    if not (args.weights or args.config_file):
        parser.error(
            "give the detector: --weights FILE|FOLDER|NAME, or --config-file FILE MODEL.WEIGHTS FILE"
        )


COMMAND = Command(
    name="cache-detections",
    summary="save a detector's output, for RelDN runs that share it",
    description="""
Runs a trained detector over data sets and saves its detections. RelDN runs take the files as
DATASETS.DETECTION_FILES_TRAIN and DATASETS.DETECTION_FILES_TEST; in Python configs the keys are
datasets.train_detections and datasets.test_detections. Files are kept if they were made with the same weights
and config. Files of another detector are made again.
""",
    example="reldn cache-detections --weights output/scenes/detector --output output/scenes/detections",
    module="cache_detections",
    add_arguments=_add_arguments,
    check=_check,
)
