"""Raw predictions of a split in one .npz file: arrays only, so that loading it cannot run code.

Version 1 holds, for N images of which image i owns rows offsets[i]:offsets[i + 1] of each table:

    format_version, dataset_name, task           scalars
    image_id                     (N,)            text
    entity_offsets               (N + 1,)        boxes (E, 4), classes (E,), entity_scores (E,)
    triplet_offsets              (N + 1,)        subject, object, predicate, score, rank_in_pair (T,)
    has_annotated_pairs          (N,)            whether the model was given annotated pairs
    annotated_offsets            (N + 1,)        annotated_subject, annotated_object, annotated_score (A,),
                                                 predicate_probs (A, P)

Subjects and objects are entity rows of their own image, from 0.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from reldn_d2.files import replace_when_complete

from .graphs import AnnotatedPairs, PredictedGraph, RankedTriplets

FORMAT_VERSION = 1
_TRIPLET_FIELDS = [field.name for field in fields(RankedTriplets)]


@dataclass(frozen=True)
class SavedPredictions:
    """Contents of a prediction file.

    Attributes:
        dataset_name, task: what was evaluated.
        predictions: image id -> prediction.
    """

    dataset_name: str
    task: str
    predictions: dict[str, PredictedGraph]


def save_predictions(
    path: str | os.PathLike[str],
    predictions: Mapping[str, PredictedGraph],
    *,
    dataset_name: str,
    task: str,
    num_predicates: int,
) -> None:
    """Write the file in one step: a reader sees the old one or the whole new one.

    Args:
        path: file to write; its folder exists.
        predictions: image id -> prediction.
        dataset_name, task: what is being evaluated.
        num_predicates: P.
    """
    graphs = list(predictions.values())
    no_pairs = _no_pairs(num_predicates)
    pairs = [graph.annotated or no_pairs for graph in graphs]
    arrays: dict[str, npt.NDArray[Any]] = {
        "format_version": np.array(FORMAT_VERSION),
        "dataset_name": np.array(dataset_name),
        "task": np.array(task),
        "image_id": np.array(list(predictions), dtype=np.str_),
        "has_annotated_pairs": np.array([graph.annotated is not None for graph in graphs], dtype=np.bool_),
        "entity_offsets": _offsets(len(graph.boxes) for graph in graphs),
        "triplet_offsets": _offsets(len(graph.relations) for graph in graphs),
        "annotated_offsets": _offsets(len(pair.score) for pair in pairs),
    }
    nothing = PredictedGraph.empty()
    graphs.append(nothing)  # np.concatenate wants at least one array
    pairs.append(no_pairs)
    arrays["boxes"] = np.concatenate([graph.boxes for graph in graphs])
    arrays["classes"] = np.concatenate([graph.classes for graph in graphs])
    arrays["entity_scores"] = np.concatenate([graph.scores for graph in graphs])
    for name in _TRIPLET_FIELDS:
        arrays[name] = np.concatenate([getattr(graph.relations, name) for graph in graphs])
    for name in ("subject", "object", "score"):
        arrays[f"annotated_{name}"] = np.concatenate([getattr(pair, name) for pair in pairs])
    arrays["predicate_probs"] = np.concatenate([pair.predicate_probs for pair in pairs])
    with replace_when_complete(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_predictions(path: str | os.PathLike[str]) -> SavedPredictions:
    """Read a file that `save_predictions` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a prediction file of this version.
    """
    try:
        with np.load(Path(path), allow_pickle=False) as file:
            arrays = dict(file)
    except (BadZipFile, TypeError) as error:
        raise ValueError(f"{path}: not a complete prediction file; run the evaluation again") from error
    version = int(arrays.get("format_version", -1))
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: format version {version}, not {FORMAT_VERSION}; run the evaluation again")
    entities = _rows(arrays, "entity_offsets", ["boxes", "classes", "entity_scores"])
    triplets = _rows(arrays, "triplet_offsets", _TRIPLET_FIELDS)
    pairs = _rows(
        arrays,
        "annotated_offsets",
        ["annotated_subject", "annotated_object", "annotated_score", "predicate_probs"],
    )
    predictions = {}
    for i, image_id in enumerate(arrays["image_id"]):
        boxes, classes, scores = entities[i]
        annotated = AnnotatedPairs(*pairs[i]) if arrays["has_annotated_pairs"][i] else None
        predictions[str(image_id)] = PredictedGraph(
            boxes, classes, scores, RankedTriplets(*triplets[i]), annotated
        )
    return SavedPredictions(str(arrays["dataset_name"]), str(arrays["task"]), predictions)


def _no_pairs(num_predicates: int) -> AnnotatedPairs:
    nothing = PredictedGraph.empty().relations
    probs = np.zeros((0, num_predicates), dtype=np.float32)
    return AnnotatedPairs(nothing.subject, nothing.object, nothing.score, probs)


def _offsets(lengths: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *lengths], dtype=np.int64)


def _rows(
    arrays: Mapping[str, npt.NDArray[Any]], offsets: str, names: Sequence[str]
) -> list[list[npt.NDArray[Any]]]:
    """For every image its rows of the named tables."""
    starts = arrays[offsets]
    tables = [np.split(arrays[name], starts[1:-1]) for name in names] if len(starts) > 1 else []
    return [list(parts) for parts in zip(*tables, strict=True)]
