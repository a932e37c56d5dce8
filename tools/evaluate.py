#!/usr/bin/env python
"""Score predictions that were saved, under any protocol: no model is run.

python tools/evaluate.py --predictions output/x/inference/vrd_test/sgdet/relation_predictions.npz \\
    --protocol motifs vrd2016
python tools/evaluate.py --predictions submission.csv --dataset my_openimages_test --import my_data.py

Takes the file that evaluation writes, one that save_predictions wrote for another model, or a submission to the
OpenImages challenge. Prints the tables and writes the files that evaluation writes. With --submission it writes the
predictions as a submission instead.
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
    PROTOCOLS,
    DatasetScorer,
    EvaluationProtocol,
    PredictedGraph,
    load_predictions,
    openimages,
)
from reldn_d2.evaluation.io.predictions import SavedPredictions
from reldn_d2.evaluation.io.submission import (
    image_sizes,
    read_submission,
    submission_labels,
    write_submission,
)
from reldn_d2.evaluation.protocols.protocol import parse_task
from reldn_d2.evaluation.protocols.recall import ALL_PREDICATES, PUBLISHED_PREDICATES_PER_PAIR
from reldn_d2.evaluation.scoring import make_protocols

# Options that change nothing unless one of these protocols is chosen.
_SETTINGS = {
    "predicates_per_pair": {"reldn"},
    "left_out": {"openimages", "reldn_openimages"},
    "image_labels": {"openimages"},
}
# Options that a submission has no use for.
_OF_SCORES = ("protocol", "output", "confusion_subset", "train_dataset", *_SETTINGS)
_logger = logging.getLogger("reldn_d2.evaluate")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--predictions", type=Path, required=True, help="an .npz of evaluation, or a .csv submission")
    add("--dataset", help="registered data set (default: the one that the .npz names)")
    add("--task", help="what the model was given, to be checked: the .npz says it, a submission is SGDET")
    names = f"of {', '.join(PROTOCOLS)}\n(default: motifs and reldn; openimages for a submission)"
    add("--protocol", nargs="+", choices=[*PROTOCOLS], metavar="NAME", help=names)
    add(
        "--output",
        type=Path,
        help="folder for the results (default: beside the predictions, their name and _scored)",
    )
    add("--confusion-subset", action="store_true", help="also score images with a confusable case alone")
    add("--allow-missing", action="store_true", help="in an image without prediction nothing was found")
    add("--predicates-per-pair", type=int, nargs="+", metavar="K", help="the k's of reldn")
    add(
        "--left-out",
        nargs="+",
        metavar="PREDICATE",
        help="of the starred numbers of both openimages protocols",
    )
    add("--image-labels", type=Path, metavar="FILE.csv", help="verified image labels, for openimages")
    add("--train-dataset", help="training split, for zero-shot recall (default: the one that metadata names)")
    registers = "module or .py file that registers data sets of your own"
    add("--import", action="append", default=[], dest="modules", metavar="MODULE", help=registers)
    add("--submission", type=Path, metavar="FILE.csv", help="write a submission instead of scores")
    add("--kaggle", action="store_true", help="write it for the Kaggle server")
    args = parser.parse_args(arguments)
    if args.kaggle and not args.submission:
        parser.error("--kaggle is a format of --submission FILE.csv")
    if args.submission and is_submission(args.predictions):
        parser.error("--predictions is a submission already: give an .npz")
    for option in _OF_SCORES if args.submission else ():
        if getattr(args, option):
            parser.error(f"--{option.replace('_', '-')} is for scores, and --submission writes none")
    return args


def is_submission(path: Path) -> bool:
    """Whether predictions are a submission to the challenge, not a file of `save_predictions`."""
    return path.suffix.lower() == ".csv"


def load(path: Path, dataset_name: str | None) -> SavedPredictions:
    """Read predictions in either format, for a data set that is registered."""
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
    return SavedPredictions(dataset_name, "SGDET", graphs)


def _check_registered(name: str) -> None:
    if name not in DatasetCatalog:
        raise ValueError(
            f"data set '{name}' is not registered: correct --dataset, or --import what registers it"
        )


def choose_protocols(args: argparse.Namespace) -> list[EvaluationProtocol[Any]]:
    """The protocols that the command line names. `openimages` counts all rows of a submission."""
    submission = is_submission(args.predictions)
    names = args.protocol or (["openimages"] if submission else ["motifs", "reldn"])
    for option, users in _SETTINGS.items():
        if getattr(args, option) and not users & {*names}:
            raise ValueError(
                f"--{option.replace('_', '-')} is for --protocol {' or '.join(sorted(users))}: leave it out"
            )
    protocols = make_protocols(
        names,
        predicates_per_pair=args.predicates_per_pair or PUBLISHED_PREDICATES_PER_PAIR,
        left_out=args.left_out or (),
    )
    if submission:
        all_rows = openimages(
            args.left_out or (), predicates_per_pair=ALL_PREDICATES, list_length=ALL_PREDICATES
        )
        protocols = [all_rows if protocol.name == all_rows.name else protocol for protocol in protocols]
    return protocols


def prepare(
    scorer: DatasetScorer, saved: SavedPredictions, path: Path, *, allow_missing: bool
) -> dict[str, PredictedGraph]:
    """Predictions as the scorer wants them; errors name the file."""
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
    if scorer.task != "SGDET":
        raise ValueError(f"--submission: the challenge takes predictions of SGDET, not of {scorer.task}")
    sizes = image_sizes(DatasetCatalog.get(scorer.dataset_name))
    class_labels, predicate_labels = submission_labels(scorer.dataset_name)
    write_submission(
        path, predictions, sizes, class_labels=class_labels, predicate_labels=predicate_labels, kaggle=kaggle
    )
    print(f"Submission of {len(sizes)} images in {path}")


def main(arguments: Sequence[str]) -> int:
    """Run the command line; the exit status is returned."""
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
