#!/usr/bin/env python
r"""Score saved predictions under any protocol. No model is run.

python tools/evaluate.py --predictions output/x/inference/vrd_test/sgdet/relation_predictions.npz \
    --protocol motifs vrd2016
python tools/evaluate.py --predictions submission.csv --dataset my_openimages_test --import my_data.py

The predictions are a file that an evaluation wrote, a file that save_predictions wrote for another model, or
a submission to the OpenImages challenge. The tool prints the tables of an evaluation and writes its files.
With --submission it writes the predictions as a submission instead.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog

from reldn_d2.engine import import_data_sets
from reldn_d2.evaluation import (
    ALL_PREDICATES,
    PROTOCOLS,
    DatasetScorer,
    EvaluationProtocol,
    PredictedGraph,
    SavedPredictions,
    image_sizes,
    load_predictions,
    make_protocols,
    read_submission,
    submission_labels,
    write_submission,
)
from reldn_d2.evaluation.graphs import parse_task
from reldn_d2.evaluation.protocols.openimages import OpenImagesProtocol
from reldn_d2.evaluation.protocols.registry import protocols_with

# Setting of a protocol -> its option.
_SETTINGS = {"predicates_per_pair": "--predicates-per-pair", "excluded_predicates": "--excluded"}
# Attribute -> option, for the options that --submission does not use.
_OPTIONS_OF_SCORES = {
    "protocol": "--protocol",
    "output": "--output",
    "confusion_subset": "--confusion-subset",
    "train_dataset": "--train-dataset",
    "image_labels": "--image-labels",
    **_SETTINGS,
}
_logger = logging.getLogger("reldn_d2.evaluate")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--predictions", type=Path, required=True, help="an .npz file of an evaluation, or a .csv submission")
    add("--dataset", help="registered data set (default: the one in the .npz file)")
    add("--task", help="task to be checked; the .npz file has it, a submission is sgdet")
    names = f"one or more of {', '.join(PROTOCOLS)}\n(default: motifs and reldn; openimages for a submission)"
    add("--protocol", nargs="+", choices=[*PROTOCOLS], metavar="NAME", help=names)
    add(
        "--output",
        type=Path,
        help="folder for the results (default: beside the predictions, with their name and _scored)",
    )
    add("--confusion-subset", action="store_true", help="also score the images with a confusable case")
    add(
        "--allow-missing",
        action="store_true",
        help="count images without prediction as images where nothing was found",
    )
    add("--predicates-per-pair", type=int, nargs="+", metavar="K", help="the k's of reldn")
    excluded: dict[str, Any] = {"dest": "excluded_predicates", "nargs": "+", "metavar": "PREDICATE"}
    add(
        "--excluded",
        help="predicates that are not in the starred numbers of both openimages protocols",
        **excluded,
    )
    add("--left-out", help=argparse.SUPPRESS, **excluded)  # name of --excluded in earlier releases
    add("--image-labels", type=Path, metavar="FILE.csv", help="verified image labels, for openimages")
    add("--train-dataset", help="training split, for zero-shot recall (default: the one in the metadata)")
    registers = "module or .py file that registers data sets of your own"
    add("--import", action="append", default=[], dest="modules", metavar="MODULE", help=registers)
    add("--submission", type=Path, metavar="FILE.csv", help="write a submission instead of scores")
    add("--kaggle", action="store_true", help="write it for the Kaggle server")
    args = parser.parse_args(arguments)
    if args.kaggle and not args.submission:
        parser.error("--kaggle is a format of --submission FILE.csv")
    if args.submission and is_submission(args.predictions):
        parser.error("--predictions is a submission already: give an .npz")
    for attribute, option in _OPTIONS_OF_SCORES.items() if args.submission else ():
        if getattr(args, attribute):
            parser.error(f"{option} is for scores, and --submission writes none")
    return args


def is_submission(path: Path) -> bool:
    """Whether a file is a submission to the challenge, and not a file of `save_predictions`."""
    return path.suffix.lower() == ".csv"


def load(path: Path, dataset_name: str | None) -> SavedPredictions:
    """Read predictions in either format, and check that their data set is registered."""
    if not path.is_file():
        raise FileNotFoundError(f"--predictions: no file {path}")
    if not is_submission(path):
        saved = load_predictions(path)
        _check_registered(dataset_name or saved.dataset_name)
        if dataset_name in (None, saved.dataset_name):
            return saved
        _logger.warning("%s was made for %s and is scored on %s", path, saved.dataset_name, dataset_name)
        return replace(saved, dataset_name=dataset_name)
    if dataset_name is None:
        raise ValueError(f"{path}: a submission does not say which data set it is for: give --dataset")
    _check_registered(dataset_name)
    sizes = image_sizes(DatasetCatalog.get(dataset_name))
    class_labels, predicate_labels = submission_labels(dataset_name)
    graphs = read_submission(path, sizes, class_labels=class_labels, predicate_labels=predicate_labels)
    return SavedPredictions(dataset_name, "sgdet", graphs)


def _check_registered(name: str) -> None:
    if name not in DatasetCatalog:
        raise ValueError(
            f"data set '{name}' is not registered: correct --dataset, or --import a module that registers it"
        )


def choose_protocols(args: argparse.Namespace) -> list[EvaluationProtocol[Any]]:
    """Make the protocols that the command line names. `openimages` counts all rows of a submission."""
    submission = is_submission(args.predictions)
    names = args.protocol or (["openimages"] if submission else ["motifs", "reldn"])
    settings = {key: getattr(args, key) for key in _SETTINGS if getattr(args, key)}
    users = {_SETTINGS[key]: protocols_with(key) for key in settings}
    if args.image_labels:
        users["--image-labels"] = ["openimages"]
    for option, protocols_of_option in users.items():
        if not {*protocols_of_option} & {*names}:
            raise ValueError(
                f"{option} is for --protocol {' or '.join(protocols_of_option)}: leave the option out"
            )
    protocols = make_protocols(names, **settings)
    if not submission:
        return protocols
    return [
        replace(protocol, predicates_per_pair=ALL_PREDICATES, list_length=ALL_PREDICATES)
        if isinstance(protocol, OpenImagesProtocol)
        else protocol
        for protocol in protocols
    ]


def prepare(
    scorer: DatasetScorer, saved: SavedPredictions, path: Path, *, allow_missing: bool
) -> dict[str, PredictedGraph]:
    """Check and rank the predictions (see `DatasetScorer.prepare`); errors name the file."""
    try:
        predictions = {i: scorer.prepare(i, graph) for i, graph in saved.predictions.items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    missing = sorted(scorer.truths.keys() - predictions.keys())
    if missing and not allow_missing:
        raise ValueError(
            f"{path}: {len(missing)} of {len(scorer.truths)} images have no prediction: image "
            f"{', '.join(missing[:5])}; with --allow-missing they count as images where nothing was found"
        )
    return predictions


def submit(
    path: Path, scorer: DatasetScorer, predictions: Mapping[str, PredictedGraph], *, kaggle: bool
) -> None:
    """Write predictions as a submission to the challenge."""
    if scorer.task != "sgdet":
        raise ValueError(f"--submission: the challenge takes predictions of sgdet, not of {scorer.task}")
    sizes = image_sizes(DatasetCatalog.get(scorer.dataset_name))
    class_labels, predicate_labels = submission_labels(scorer.dataset_name)
    write_submission(
        path, predictions, sizes, class_labels=class_labels, predicate_labels=predicate_labels, kaggle=kaggle
    )
    print(f"Submission of {len(sizes)} images in {path}")


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        The exit status.
    """
    args = parse_arguments(arguments)
    for module in args.modules:
        import_data_sets(module)
    saved = load(args.predictions, args.dataset)
    if args.task is not None and parse_task(args.task) != parse_task(saved.task):
        raise ValueError(f"--task {args.task}: {args.predictions} holds predictions of {saved.task}")
    scorer = DatasetScorer(
        saved.dataset_name,
        saved.task,
        choose_protocols(args),
        confusion_subset=args.confusion_subset,
        allow_missing=args.allow_missing,
        train_dataset=args.train_dataset,
        image_labels=args.image_labels,
    )
    predictions = prepare(scorer, saved, args.predictions, allow_missing=args.allow_missing)
    if args.submission:
        submit(args.submission, scorer, predictions, kaggle=args.kaggle)
        return 0
    output = args.output or args.predictions.with_name(f"{args.predictions.stem}_scored")
    if not scorer.score(predictions, output):
        raise ValueError(f"data set '{saved.dataset_name}' has no annotated relationship to score against")
    print(f"Results in {output}")
    return 0


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    try:
        sys.exit(main(sys.argv[1:]))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
