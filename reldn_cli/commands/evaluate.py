"""`reldn evaluate`."""

import argparse
from pathlib import Path

from ..command import Command, Parser
from ..flags import (
    add_config,
    add_data,
    add_device,
    add_image_files,
    add_launch,
    add_output,
    add_precision,
    add_weights,
    check_launch,
    positive,
)

# Options that are for saved predictions only.
_OF_PREDICTIONS = (
    *(
        "--predicates-per-pair",
        "--excluded-predicates",
        "--image-labels",
        "--image-sizes",
        "--train-dataset",
        "--allow-missing",
    ),
    *("--submission", "--kaggle", "--merge-repeats"),
)
# Options that are for folders of predictions only, and options that are not for them.
_OF_FOLDERS = ("--annotations", "--train-annotations", "--processes")
_IN_ANNOTATIONS = ("--dataset", "--data", "--image-labels", "--image-sizes")
_OF_FILES = ("--train-dataset", "--merge-repeats", "--submission", "--kaggle", "--skip-unreadable")
_OF_MODELS = ("--skip-unreadable", "--restart")
# Options that --submission, which computes no scores, does not use.
_OF_SCORES = (
    *("--protocol", "--output", "--confusion-subset", "--train-dataset", "--image-labels"),
    *("--predicates-per-pair", "--excluded-predicates"),
)


def _add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add_weights(parser, "the model to evaluate")
    add(
        "--predictions",
        type=Path,
        metavar="FILE|FOLDER",
        help="saved predictions instead of a model: an .npz file of an evaluation or of another model; a "
        ".csv file, which is a list of scored triplets or a submission to the OpenImages challenge; or, with "
        "--annotations, a folder of .npz files",
    )
    add_config(parser, default="config.yaml in the folder of the weights")
    add_data(parser)
    add(
        "--dataset",
        nargs="+",
        default=[],
        metavar="NAME",
        help="registered data sets (default: those of the config or file)",
    )
    add(
        "--task",
        nargs="+",
        default=[],
        metavar="TASK",
        help="sgdet, sgcls or prdcls; several need one loading (default: that of the config or file)",
    )
    add("--protocol", nargs="+", default=[], metavar="NAME", help="evaluation protocols (docs/evaluation.md)")
    add_output(
        parser,
        "folder for the results (default: inference/ in the folder of the training, ./output for a "
        "shared model, or beside the predictions)",
    )
    add("--confusion-subset", action="store_true", help="also score only the images with a confusable case")
    add(
        "--restart",
        action="store_true",
        help="begin anew where an evaluation of a model or folder was stopped (default: go on with what it "
        "saved)",
    )
    model = parser.add_argument_group("with a model")
    add = model.add_argument
    add(
        "--skip-unreadable",
        action="store_true",
        help="exclude images whose picture can't be read, and list them (default: the first one is an error)",
    )
    saved = parser.add_argument_group("with --predictions")
    add = saved.add_argument
    add(
        "--allow-missing",
        action="store_true",
        help="count images without prediction as images where nothing was found",
    )
    add(
        "--merge-repeats",
        action="store_true",
        help="of equal triplets in a list, count only the best one (default: all count)",
    )
    add("--predicates-per-pair", type=positive, nargs="+", metavar="K", help="the k's of protocol reldn")
    add(
        "--excluded-predicates",
        nargs="+",
        metavar="PREDICATE",
        help="predicates that are not in the starred numbers of the openimages protocols",
    )
    add_image_files(parser)
    add(
        "--train-dataset",
        metavar="NAME",
        help="training split, for zero-shot recall (default: the one in the metadata)",
    )
    add(
        "--submission",
        type=Path,
        metavar="FILE.csv",
        help="write a submission to the challenge instead of scores",
    )
    add("--kaggle", action="store_true", help="write it for the Kaggle server")
    folders = parser.add_argument_group("with a folder of --predictions (docs/scale.md)")
    add = folders.add_argument
    add(
        "--annotations",
        type=Path,
        metavar="FOLDER",
        help="annotation files of the evaluated images, from `reldn convert annotations`",
    )
    add(
        "--train-annotations",
        type=Path,
        metavar="FOLDER",
        help="annotation files of the training split, for zero-shot recall",
    )
    add("--processes", type=positive, metavar="N", help="processes that score files (default: 1)")
    add_device(parser)
    add_precision(parser)
    add_launch(parser)


def _check(parser: Parser, args: argparse.Namespace) -> None:
    def given(options: tuple[str, ...]) -> list[str]:
        return [name for name in options if getattr(args, name.removeprefix("--").replace("-", "_"))]

    if args.predictions is None:
        if not (args.weights or args.config_file):
            parser.error("give a model (--weights), or saved predictions (--predictions)")
        of_saved = given((*_OF_PREDICTIONS, *_OF_FOLDERS))
        if of_saved:
            parser.error(f"{of_saved[0]} is for saved predictions: give --predictions, or leave it out")
        check_launch(parser, args)
        return
    if args.annotations is not None:
        if given(_IN_ANNOTATIONS):
            parser.error(
                f"{given(_IN_ANNOTATIONS)[0]} is for `reldn convert annotations`, which writes the folder of "
                "--annotations: leave it out here"
            )
        if given(_OF_FILES):
            parser.error(f"{given(_OF_FILES)[0]} is not for a folder of predictions: leave it out")
    elif given(_OF_FOLDERS):
        parser.error(f"{given(_OF_FOLDERS)[0]} is for a folder of predictions: give --annotations, too")
    elif given(_OF_MODELS):
        parser.error(f"{given(_OF_MODELS)[0]} is for a model: leave it out with --predictions")
    if given(("--weights", "--config-file", "--device", "--precision", "--opts")):
        parser.error(
            "--predictions needs no model: leave out --weights, --config-file, --device, --precision "
            "and overrides"
        )
    if len(args.dataset) > 1:
        parser.error("--predictions are scored on one --dataset")
    if args.kaggle and not args.submission:
        parser.error("--kaggle is a format of --submission FILE.csv")
    if args.submission and args.predictions.suffix.lower() == ".csv":
        parser.error("--submission is written from an .npz file, not from a .csv")
    if args.submission and given(_OF_SCORES):
        parser.error(f"{given(_OF_SCORES)[0]} is for scores, and --submission writes none")


COMMAND = Command(
    name="evaluate",
    summary="evaluate a model, or score saved predictions",
    description="""
Evaluates a model on the test sets of its config, or scores saved predictions of any model. Writes tables of
all numbers; the last lines on the screen say which number is the usual one, and where the tables are.
""",
    example="""
reldn evaluate --weights output/scenes/reldn --task prdcls sgdet
reldn evaluate --protocol motifs \\
    --predictions output/scenes/reldn/inference/reldn_scenes_test/prdcls/relation_predictions.npz
reldn evaluate --protocol motifs --predictions predictions/ --annotations annotations/ --processes 8
""",
    module="evaluate",
    add_arguments=_add_arguments,
    check=_check,
)
