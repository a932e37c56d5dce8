"""The prediction file: raw predictions of a split in one .npz file.

It holds arrays only, so loading it can't run code, and their digest `sha256` (see `utils.array_files`).
Types, shapes and offsets are checked when it is read, and every number of an image before it is scored.
Version 2 holds N images. Image i has the rows offsets[i]:offsets[i + 1] of each table:

    format_version, dataset_name, task           scalars; the task in lower case, in older files in upper case
    image_id                     (N,)            text
    entity_offsets               (N + 1,)        boxes (E, 4), classes (E,), entity_scores (E,)
    triplet_offsets              (N + 1,)        subject, object, predicate, score, rank_in_pair (T,)

The rest may be missing, and so may entity_scores (all are 1) and rank_in_pair (made as `graph_from_entities`
does; then triplets may be repeated). Of a table, all arrays are there or none:

    class_names, predicate_names (C,), (P,)      text: the vocabulary
    has_repeats                  (N,)            `PredictedGraph.has_repeats`
    has_annotated_pairs          (N,)            whether there are pair answers
    annotated_offsets            (N + 1,)        annotated_subject, annotated_object, annotated_score (A,),
                                                 predicate_probs (A, P)
    has_named_triplets           (N,)            whether there are triplet answers
    named_offsets                (N + 1,)        named_subject, named_object, named_predicate, named_score,
                                                 named_detected (Q,)

The columns are the attributes of the classes in `graphs`. Subjects and objects are rows of the entities of
their own image, from 0: of the predicted entities, and in the last table of the annotated entities.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from reldn_d2.renamed import present_dataset_name
from reldn_d2.structures.vocabulary import Vocabulary
from reldn_d2.utils.array_files import read_arrays, write_arrays

from ..graphs import PairAnswers, PredictedGraph, RankedTriplets, TripletAnswers, parse_task
from ..triplet_graphs import count_repeats, graph_from_entities, repeats_note
from .tables import (
    INTEGERS,
    REAL_NUMBERS,
    TRUTH_VALUES,
    check_image_ids,
    check_table,
    check_text,
    check_type,
    split_table,
    table_arrays,
    vocabulary_arrays,
    vocabulary_of,
)

FORMAT_VERSION = 2
_TABLES = {
    "entity": ["boxes", "classes", "entity_scores"],
    "triplet": [field.name for field in fields(RankedTriplets)],
    "annotated": ["annotated_subject", "annotated_object", "annotated_score", "predicate_probs"],
    "named": [f"named_{field.name}" for field in fields(TripletAnswers)],
}
_NAMES = ["dataset_name", "task", "image_id", "has_annotated_pairs", "has_named_triplets", "has_repeats"]
_NAMES += [name for table, columns in _TABLES.items() for name in (f"{table}_offsets", *columns)]
# Arrays that a file may lack. Those of a group are all there or all missing.
_OPTIONAL = [
    ["entity_scores"],
    ["rank_in_pair"],
    ["has_repeats"],
    ["has_annotated_pairs", "annotated_offsets", *_TABLES["annotated"]],
    ["has_named_triplets", "named_offsets", *_TABLES["named"]],
]
_REQUIRED = [name for name in _NAMES if not any(name in group for group in _OPTIONAL)]
# Axes of the columns that are tables themselves.
_AXES = {"boxes": 2, "predicate_probs": 2}
# Columns of real numbers and of truth values. All others are integers.
_REAL = {"boxes", "entity_scores", "score", "annotated_score", "predicate_probs", "named_score"}
_TRUTH_VALUES = {"has_repeats", "has_annotated_pairs", "has_named_triplets", "named_detected"}
_REMEDY = "run the evaluation again, or correct the program that wrote the file"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedPredictions:
    """The contents of a prediction file.

    Attributes:
        dataset_name: name of the data set.
        task: "sgdet", "sgcls" or "prdcls".
        predictions: image id -> prediction.
        notes: see `DatasetScorer.score`.
        vocabulary: the names of the classes and predicates; None if the file does not have them.
    """

    dataset_name: str
    task: str
    predictions: dict[str, PredictedGraph]
    notes: Sequence[str] = ()
    vocabulary: Vocabulary | None = None


def save_predictions(
    path: str | os.PathLike[str],
    predictions: Mapping[str, PredictedGraph],
    *,
    dataset_name: str,
    task: str,
    num_predicates: int,
    vocabulary: Vocabulary | None = None,
) -> None:
    """Write the file in one step: a reader finds the old file or the complete new one.

    Images are sorted by their id as text, so the file does not depend on the order of the predictions.

    Args:
        path: file to write; its folder must exist.
        predictions: image id -> prediction.
        dataset_name: name of the data set.
        task: "sgdet", "sgcls" or "prdcls", in lower or upper case.
        num_predicates: number P of predicates.
        vocabulary: names of the classes and predicates, so that the predictions are never scored on a data
            set of others.
    """
    image_ids = sorted(predictions)
    graphs = [predictions[image_id] for image_id in image_ids]
    nothing = np.zeros(0, dtype=np.int32)
    no_scores = np.zeros(0, dtype=np.float32)
    no_pairs = PairAnswers(nothing, nothing, no_scores, np.zeros((0, num_predicates), dtype=np.float32))
    no_triplets = TripletAnswers(nothing, nothing, nothing, no_scores, np.zeros(0, dtype=np.bool_))
    arrays: dict[str, npt.NDArray[Any]] = {
        "format_version": np.array(FORMAT_VERSION),
        "dataset_name": np.array(dataset_name),
        "task": np.array(task.lower()),
        "image_id": np.array(image_ids, dtype=np.str_),
        "has_annotated_pairs": np.array([x.pair_answers is not None for x in graphs], dtype=np.bool_),
        "has_named_triplets": np.array([x.triplet_answers is not None for x in graphs], dtype=np.bool_),
    }
    if any(graph.has_repeats for graph in graphs):
        arrays["has_repeats"] = np.array([graph.has_repeats for graph in graphs], dtype=np.bool_)
    if vocabulary is not None:
        arrays |= vocabulary_arrays(vocabulary)
    # An additional empty image, because np.concatenate needs at least one array.
    graphs.append(PredictedGraph.empty())
    rows = {
        "entity": [[graph.boxes, graph.classes, graph.scores] for graph in graphs],
        "triplet": [list(vars(graph.relations).values()) for graph in graphs],
        "annotated": [list(vars(graph.pair_answers or no_pairs).values()) for graph in graphs],
        "named": [list(vars(graph.triplet_answers or no_triplets).values()) for graph in graphs],
    }
    for table, columns in _TABLES.items():
        parts = dict(zip(columns, zip(*rows[table], strict=True), strict=True))
        arrays |= table_arrays(table, parts)
    write_arrays(path, arrays)


def load_predictions(path: str | os.PathLike[str]) -> SavedPredictions:
    """Read a file of `save_predictions`, or of another program, and log its notes. See `read_predictions`."""
    saved = read_predictions(path)
    for note in saved.notes:
        _logger.warning("%s: %s", path, note)
    return saved


def read_predictions(
    path: str | os.PathLike[str], chosen: Callable[[npt.NDArray[np.str_]], slice] | None = None
) -> SavedPredictions:
    """Read a file of `save_predictions`, or of another program that wrote the arrays of this module.

    The old name of a built-in data set becomes its present name, unless a project has registered it. Without
    rank_in_pair, triplets are sorted by score and get their ranks, and a triplet may be there several times.

    Args:
        path: the file.
        chosen: takes the ids of its N images, (N,), and says which consecutive ones are wanted; None: all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a complete prediction file of this version, or was changed.
    """
    arrays = read_arrays(path, _REQUIRED, what="prediction file", remedy=_REMEDY, version=FORMAT_VERSION)
    ranked = "rank_in_pair" in arrays
    _add_missing(arrays, path)
    _check_columns(arrays, path)
    images = slice(None) if chosen is None else chosen(arrays["image_id"])
    tables = {table: split_table(arrays, table, columns, images) for table, columns in _TABLES.items()}
    has_pairs, has_triplets, has_repeats = (
        arrays[f"has_{name}"][images] for name in ("annotated_pairs", "named_triplets", "repeats")
    )
    predictions: dict[str, PredictedGraph] = {}
    for i, image_id in enumerate(arrays["image_id"][images].tolist()):
        if image_id in predictions:
            raise ValueError(f"{path}: image {image_id} is in the file twice; {_REMEDY}")
        boxes, classes, scores = tables["entity"][i]
        graph = PredictedGraph(
            boxes,
            classes,
            scores,
            RankedTriplets(*tables["triplet"][i]),
            PairAnswers(*tables["annotated"][i]) if has_pairs[i] else None,
            TripletAnswers(*tables["named"][i]) if has_triplets[i] else None,
            has_repeats=bool(has_repeats[i]),
        )
        try:
            predictions[image_id] = graph if ranked else _ranked(graph)
        except ValueError as error:
            raise ValueError(f"{path}: image {image_id}: {error}; correct it") from error
    dataset_name = present_dataset_name(str(arrays["dataset_name"]))
    task = str(arrays["task"]).lower()
    note = repeats_note(*count_repeats(predictions.values()))
    notes = [note] if note else []
    return SavedPredictions(dataset_name, task, predictions, notes, vocabulary_of(arrays, path, _REMEDY))


def _ranked(graph: PredictedGraph) -> PredictedGraph:
    """The prediction with the ranks that the file lacks."""
    triplets = graph.relations
    ranked = graph_from_entities(
        graph.boxes, graph.classes, triplets.subject, triplets.object, triplets.predicate, triplets.score
    )
    return replace(graph, relations=ranked.relations, has_repeats=ranked.has_repeats)


def _add_missing(arrays: dict[str, npt.NDArray[Any]], path: str | os.PathLike[str]) -> None:
    """Adds the optional arrays that the file lacks: scores and ranks of 1, and tables without rows."""
    num_images = arrays["image_id"].size
    rows = {"entity_scores": arrays["classes"].size, "rank_in_pair": arrays["score"].size}
    for group in _OPTIONAL:
        missing = [name for name in group if name not in arrays]
        if missing and len(missing) < len(group):
            others = ", ".join(name for name in group if name in arrays)
            raise ValueError(f"{path}: it has {others}, but lacks the array '{missing[0]}'; {_REMEDY}")
        for name in missing:
            if name.endswith("_offsets"):
                arrays[name] = np.zeros(num_images + 1, dtype=np.int64)
            elif name.startswith("has_"):
                arrays[name] = np.zeros(num_images, dtype=np.bool_)
            elif name in rows:
                arrays[name] = np.ones(rows[name], dtype=np.float64 if name in _REAL else np.int64)
            else:
                arrays[name] = np.zeros((0,) * _AXES.get(name, 1))


def _check_columns(arrays: Mapping[str, npt.NDArray[Any]], path: str | os.PathLike[str]) -> None:
    """Check types, and that every table has as many rows as its offsets say."""
    for name in ("dataset_name", "task"):
        check_text(arrays, name, path, _REMEDY)
    try:
        parse_task(str(arrays["task"]))
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {_REMEDY}") from error
    num_images = check_image_ids(arrays, path, _REMEDY)
    for name in ("has_annotated_pairs", "has_named_triplets", "has_repeats"):
        if arrays[name].shape != (num_images,):
            raise ValueError(
                f"{path}: '{name}' must have shape {(num_images,)}, not {arrays[name].shape}; {_REMEDY}"
            )
    for table, columns in _TABLES.items():
        check_table(arrays, table, columns, path, _REMEDY)
    for name in (name for name in _NAMES if name not in ("dataset_name", "task", "image_id")):
        kind = REAL_NUMBERS if name in _REAL else INTEGERS
        if name in _TRUTH_VALUES:
            kind = TRUTH_VALUES
        check_type(arrays, name, kind, _AXES.get(name, 1), path, _REMEDY)
