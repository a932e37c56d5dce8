"""Scores saved predictions under any protocol. No model is run.

The predictions are a file that an evaluation wrote, a file that `save_predictions` wrote for another model, a
list of scored triplets, or a submission to the OpenImages challenge.
"""

import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reldn_d2.data import read_image_sizes, without_pictures
from reldn_d2.data.checking.units import shares, smaller_copy
from reldn_d2.data.fit_boxes import refuse_far_out
from reldn_d2.data.without_pictures import KnownSizes
from reldn_d2.engine import check_registered
from reldn_d2.evaluation import (
    ALL_PREDICATES,
    DatasetScorer,
    EvaluationProtocol,
    PredictedGraph,
    SavedPredictions,
    load_predictions,
    load_submission,
    make_protocols,
    read_triplet_list,
    submission_labels,
    write_submission,
)
from reldn_d2.evaluation.graphs import parse_task
from reldn_d2.evaluation.io.submission import check_sizes
from reldn_d2.evaluation.io.triplet_lists import is_triplet_list
from reldn_d2.evaluation.protocols.openimages import OpenImagesProtocol
from reldn_d2.evaluation.protocols.registry import protocols_with
from reldn_d2.structures import Vocabulary
from reldn_d2.structures.vocabulary import first_difference
from reldn_d2.utils.counted import counted
from reldn_d2.utils.inner_paths import refuse_outside_links
from reldn_d2.utils.plain_text import say

from .common import FINISHED

# Setting of a protocol -> its option.
_SETTINGS = {"predicates_per_pair": "--predicates-per-pair", "excluded_predicates": "--excluded-predicates"}
logger = logging.getLogger(__name__)

Kind = Literal["arrays", "submission", "triplets"]


def kind_of(path: Path) -> Kind:
    """The kind of a file of predictions: arrays (.npz), a submission, or a list of triplets."""
    if path.is_dir():
        raise ValueError(
            f"--predictions: no file {path}, but a folder: give the folder of its annotations, too "
            "(--annotations FOLDER; `reldn convert annotations` makes it), or one file"
        )
    if not path.is_file():
        raise FileNotFoundError(f"--predictions: no file {path}")
    if path.suffix.lower() == ".gz":
        raise ValueError(f"{path}: compressed predictions are not read; unpack the file (gunzip -k {path})")
    if path.suffix.lower() != ".csv":
        return "arrays"
    return "triplets" if is_triplet_list(path) else "submission"


def load(path: Path, kind: Kind, dataset_name: str | None) -> SavedPredictions:
    """Read predictions that are no list of triplets, and check that their data set is registered.

    Those of a submission are read by `read_submitted`, which needs the sizes of the images.
    """
    if path.suffix.lower() == ".json":
        raise ValueError(
            f"{path}: the graphs of `reldn predict` can't be scored. Evaluate the model on a data set (reldn "
            "evaluate --weights ... --dataset ...): this also saves an .npz file"
        )
    if kind == "arrays":
        saved = load_predictions(path)
        check_registered(dataset_name or saved.dataset_name)
        if dataset_name in (None, saved.dataset_name):
            return saved
        logger.warning("%s was made for %s and is scored on %s", path, saved.dataset_name, dataset_name)
        return replace(saved, dataset_name=dataset_name)
    if dataset_name is None:
        raise ValueError(f"{path}: a submission does not say which data set it is for: give --dataset")
    check_registered(dataset_name)
    return SavedPredictions(dataset_name, "sgdet", {})


def read_submitted(path: Path, scorer: DatasetScorer) -> SavedPredictions:
    """Read a submission for the data set of a scorer."""
    check_sizes(scorer.sizes)
    class_labels, predicate_labels = submission_labels(scorer.dataset_name)
    found = load_submission(path, scorer.sizes, class_labels=class_labels, predicate_labels=predicate_labels)
    return SavedPredictions(scorer.dataset_name, scorer.task, found.predictions, found.notes)


def load_with_task(args: Namespace, kind: Kind) -> tuple[DatasetScorer, SavedPredictions]:
    """Read predictions that are no list of triplets, and make their scorer.

    Raises:
        ValueError: they are of another task or vocabulary, or an option is for lists of triplets.
    """
    path = args.predictions
    if args.merge_repeats:
        raise ValueError(f"--merge-repeats is for a list of triplets, and {path} is none: leave it out")
    saved = load(path, kind, args.dataset[0] if args.dataset else None)
    if any(parse_task(task) != parse_task(saved.task) for task in args.task):
        raise ValueError(f"--task {' '.join(args.task)}: {path} holds predictions of {saved.task}")
    scorer = make_scorer(args, kind, saved.dataset_name, saved.task)
    if kind == "submission":
        saved = read_submitted(path, scorer)
    if saved.vocabulary is not None:
        check_vocabulary(saved.vocabulary, scorer, path)
    return scorer, saved


def check_vocabulary(given: Vocabulary, scorer: DatasetScorer, path: Path) -> None:
    """Check that predictions have the classes and predicates of the data set.

    Raises:
        ValueError: they have others. The message has the first name that differs.
    """
    for kind in scorer.vocabulary.differing_kinds(given):
        own, other = scorer.vocabulary.names(kind), given.names(kind)
        place = first_difference(own, other)
        names = [repr(x[place]) if place < len(x) else "missing" for x in (other, own)]
        raise ValueError(
            f"{path}: its {len(other)} {kind} are not the {len(own)} of data set '{scorer.dataset_name}': "
            f"number {place} (from 0) is {names[0]} in the file and {names[1]} in the data set. Score it on "
            "the data set that it was made for (--dataset)"
        )


def load_list(args: Namespace) -> tuple[DatasetScorer, SavedPredictions]:
    """Read a list of triplets, and make its scorer.

    Raises:
        ValueError: a protocol asks for scores of triplets that need not be in the list; or see
            `read_triplet_list`.
    """
    path = args.predictions
    if not args.dataset:
        raise ValueError(f"{path}: a list of triplets does not say which data set it is for: give --dataset")
    if len(args.task) > 1:
        raise ValueError(f"--task {' '.join(args.task)}: a list of triplets is of one task")
    scorer = make_scorer(args, "triplets", args.dataset[0], *args.task or ["sgdet"])
    asking = scorer.asking_protocols()
    if asking:
        raise ValueError(
            f"{path}: in {scorer.task}, --protocol {' '.join(asking)} compares scores of given pairs or "
            "triplets, which a list need not have. Leave it out, or save the predictions with these scores "
            "as an .npz file (reldn_d2.evaluation.save_predictions; PredictedGraph has pair_answers and "
            "triplet_answers)"
        )
    found = read_triplet_list(
        path, scorer.truths, scorer.task, scorer.vocabulary, merge_repeats=args.merge_repeats
    )
    return scorer, SavedPredictions(scorer.dataset_name, scorer.task, found.predictions, found.notes)


def make_scorer(args: Namespace, kind: Kind, dataset_name: str, task: str) -> DatasetScorer:
    """Make the scorer of a data set, whose pictures may be missing, with the settings of the command line."""
    check_registered(dataset_name)
    protocols = choose_protocols(args, kind, task)
    given = read_image_sizes(args.image_sizes) if args.image_sizes else {}
    with without_pictures(given, shares=kind == "submission") as sizes:
        scorer = DatasetScorer(
            dataset_name,
            task,
            protocols,
            confusion_subset=args.confusion_subset,
            allow_missing=args.allow_missing,
            train_dataset=args.train_dataset,
            image_labels=args.image_labels,
        )
    check_sizes_used(args.image_sizes, sizes, scorer, protocols)
    return scorer


def choose_protocols(args: Namespace, kind: Kind, task: str) -> list[EvaluationProtocol[Any]]:
    """Make the protocols that the command line names. `openimages` counts all rows of a CSV file."""
    usual = ["motifs", "reldn"]
    if kind == "submission":
        usual = ["openimages"]
    elif kind == "triplets" and parse_task(task) != "sgdet":
        usual = ["motifs"]  # reldn needs scores of annotated pairs
    names = args.protocol or usual
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
    if kind == "arrays":
        return protocols
    return [
        replace(protocol, predicates_per_pair=ALL_PREDICATES, list_length=ALL_PREDICATES)
        if isinstance(protocol, OpenImagesProtocol)
        else protocol
        for protocol in protocols
    ]


def check_sizes_used(
    file: Path | None, sizes: KnownSizes, scorer: DatasetScorer, protocols: Sequence[EvaluationProtocol[Any]]
) -> None:
    """Check that a file of sizes was of use, and that no protocol needs sizes that are not known.

    Args:
        file: the file; None if there is none.
        sizes: the sizes that the loader of the data set had.
        scorer: the scorer of the data set.
        protocols: its protocols.

    Raises:
        ValueError: no size of the file was used, or a protocol counts whole pixels of unknown sizes.
    """
    if file is not None and not sizes.used:
        first = next(iter(sorted(scorer.truths)), "none")
        raise ValueError(
            f"--image-sizes {file}: no size was used. Either {scorer.dataset_name} says the sizes of its "
            f"images itself, or it has none of these images; its first one is {first}. Leave the option out, "
            "or give the file of this data set"
        )
    # A protocol of another project may count pixels.
    in_pixels = [x.name for x in protocols if getattr(x, "offset", 1.0)]
    if sizes.framed and in_pixels:
        images = counted(sizes.framed, "image", "images")
        raise ValueError(
            f"--protocol {' '.join(in_pixels)} counts whole pixels, and there is neither a picture nor a "
            f"known size for {images} of {scorer.dataset_name}: give --image-sizes FILE, or leave the "
            "protocol out"
        )


def prepare(
    scorer: DatasetScorer, graphs: Mapping[str, PredictedGraph], path: Path, *, allow_missing: bool
) -> dict[str, PredictedGraph]:
    """Check and rank the predictions (see `DatasetScorer.prepare`); errors name the file."""
    try:
        predictions = {i: scorer.prepare(i, graph) for i, graph in graphs.items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    missing = sorted(scorer.truths.keys() - predictions.keys())
    if missing and not allow_missing:
        raise ValueError(
            f"{path}: no prediction for {len(missing)} of {len(scorer.truths)} images: image "
            f"{', '.join(missing[:5])}; with --allow-missing they count as images where nothing was found"
        )
    return predictions


def check_boxes(
    source: str,
    kind: Kind,
    sizes_of: Mapping[str, tuple[int, int]],
    predictions: Mapping[str, PredictedGraph],
    *,
    is_sample: bool = False,
) -> list[str]:
    """Checks that predicted boxes are in pixels of their images, where the data set has their sizes.

    Boxes of a submission may stick out: the official tool takes them as they are, and the reader counts them.

    Args:
        source: the file of the predictions, for messages.
        kind: see `kind_of`.
        sizes_of: see `DatasetScorer.sizes`.
        predictions: image id -> prediction.
        is_sample: whether these are few of many images, so that a single odd one may have many of the boxes.
            Then boxes that stick out are a warning.

    Returns:
        Warnings that the boxes may be pixels of smaller copies.

    Raises:
        ValueError: all boxes seem to be shares of their pictures, or many stick far out of them.
    """
    known = [(i, sizes_of[i]) for i in sorted(predictions) if all(sizes_of[i])]
    sizes = np.array([size[::-1] for _, size in known], dtype=np.int64).reshape(-1, 2)
    boxes = [np.asarray(predictions[i].boxes, dtype=np.float64) for i, _ in known]
    image = np.repeat(np.arange(len(known)), [len(of_image) for of_image in boxes])
    of_all = np.concatenate([np.zeros((0, 4)), *boxes])
    found = shares(of_all, sizes, image)
    if kind == "submission":
        if found:
            raise ValueError(f"{source}: {found[0]}. Divide pixels by width and height only once")
        return []
    if found:
        raise ValueError(f"{source}: {found[0]}. Multiply them by width and height")
    try:
        refuse_far_out(of_all, sizes[image], source, lambda row: f"image {known[image[row]][0]}")
    except ValueError as error:
        if not is_sample:
            raise
        return [str(error)]
    return [f"{source}: {sentence}" for sentence in smaller_copy(of_all, sizes, image)]


def submit(
    path: Path, scorer: DatasetScorer, predictions: Mapping[str, PredictedGraph], *, kaggle: bool
) -> None:
    """Write predictions as a submission to the challenge."""
    if scorer.task != "sgdet":
        raise ValueError(f"--submission: the challenge takes predictions of sgdet, not of {scorer.task}")
    check_sizes(scorer.sizes)
    class_labels, predicate_labels = submission_labels(scorer.dataset_name)
    write_submission(
        path,
        predictions,
        scorer.sizes,
        class_labels=class_labels,
        predicate_labels=predicate_labels,
        kaggle=kaggle,
    )
    say(f"Submission of {counted(len(scorer.sizes), 'image', 'images')} in {path}")


def score(args: Namespace) -> int:
    """Scores saved predictions, or writes them as a submission. Returns the exit status."""
    path = args.predictions
    kind = kind_of(path)
    scorer, saved = load_list(args) if kind == "triplets" else load_with_task(args, kind)
    predictions = prepare(scorer, saved.predictions, path, allow_missing=args.allow_missing)
    if scorer.task == "sgdet":  # else they are those of the annotation, which is checked
        for warning in check_boxes(str(path), kind, scorer.sizes, predictions):
            logger.warning("%s", warning)
    if args.submission:
        submit(args.submission, scorer, predictions, kaggle=args.kaggle)
        return FINISHED
    output = output_folder(args)
    # The training split is loaded for its labels alone.
    with without_pictures(shares=True):
        results = scorer.score(predictions, output, notes=saved.notes)
    if not results:
        raise ValueError(f"data set '{saved.dataset_name}' has no annotated relationship to score against")
    say(f"Results in {output}")
    return FINISHED


def output_folder(args: Namespace) -> Path:
    """The folder of the results: --output, or one beside the predictions."""
    path: Path = args.predictions
    if args.output is not None:
        return Path(args.output)
    output = path.with_name(f"{path.stem}_scored")
    # the folder may come from anybody
    refuse_outside_links(output.parent, [output.name], "delete it, or choose a folder (--output FOLDER)")
    return output
