"""The annotation file: the annotations of some images in one .npz file, for evaluations without a data set.

It holds arrays only, so loading it can't run code, and their digest `sha256` (see `utils.array_files`).
Version 1 holds N images. Image i has the rows offsets[i]:offsets[i + 1] of each table:

    format_version, dataset_name     scalars
    class_names, predicate_names     (C,), (P,) text: the vocabulary
    image_id                         (N,) text, ascending
    entity_offsets                   (N + 1,)     boxes (G, 4), classes (G,)
    relation_offsets                 (N + 1,)     relations (R, 3)

The rest may be missing:

    evaluation_note                  text: what a reader of the numbers should know about the data set
    sizes                            (N, 2) int, height and width of the images in pixels; 0: not known
    verified_offsets                 (N + 1,)     verified_classes (V,)

The columns are the attributes of `GroundTruthGraph`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reldn_d2.renamed import present_dataset_name
from reldn_d2.structures.vocabulary import Vocabulary
from reldn_d2.utils.array_files import read_arrays, write_arrays

from ..checks import check_ground_truth
from ..graphs import GroundTruthGraph
from .tables import (
    INTEGERS,
    REAL_NUMBERS,
    VOCABULARY,
    check_image_ids,
    check_table,
    check_text,
    check_type,
    split_table,
    table_arrays,
    vocabulary_arrays,
    vocabulary_of,
)

FORMAT_VERSION = 1
_TABLES = {"entity": ["boxes", "classes"], "relation": ["relations"], "verified": ["verified_classes"]}
_AXES = {"boxes": 2, "relations": 2, "sizes": 2}
_REQUIRED = (
    *("dataset_name", "image_id", *VOCABULARY),
    *("entity_offsets", "boxes", "classes", "relation_offsets", "relations"),
)
_REMEDY = "write the annotation files again (`reldn convert annotations`, or AnnotationShardWriter)"


@dataclass(frozen=True)
class AnnotatedSet:
    """What the annotation files of a data set have in common.

    Attributes:
        dataset_name: name of the data set.
        vocabulary: names of its classes and predicates.
        evaluation_note: what a reader of the numbers should know about the data set; may be empty.
    """

    dataset_name: str
    vocabulary: Vocabulary
    evaluation_note: str = ""


@dataclass(frozen=True)
class SavedAnnotations:
    """The contents of an annotation file.

    Attributes:
        about: what the files of the data set have in common.
        truths: image id -> annotation.
        sizes: image id -> (height, width) in pixels; 0 where it is not known.
    """

    about: AnnotatedSet
    truths: dict[str, GroundTruthGraph]
    sizes: dict[str, tuple[int, int]]


def save_annotations(
    path: str | os.PathLike[str],
    truths: Mapping[str, GroundTruthGraph],
    about: AnnotatedSet,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Write the file in one step: a reader finds the old file or the complete new one.

    Images are sorted by their id as text, so the file does not depend on the order of the annotations.

    Args:
        path: file to write. Missing folders are made.
        truths: image id -> annotation.
        about: name and vocabulary of the data set.
        sizes: image id -> (height, width) in pixels as far as they are known, for checks of predicted boxes.

    Raises:
        ValueError: an annotation has wrong shapes, or a class or row out of range. The message names the
            image.
        OSError: the file can't be written.
    """
    image_ids = sorted(truths)
    graphs = [truths[image_id] for image_id in image_ids]
    num_classes, num_predicates = (len(about.vocabulary.names(kind)) for kind in VOCABULARY.values())
    for image_id, graph in zip(image_ids, graphs, strict=True):
        check_ground_truth(graph, num_classes, num_predicates, f"image {image_id}")
    # An additional empty image, because np.concatenate needs at least one array.
    graphs.append(_no_annotation())
    arrays: dict[str, npt.NDArray[Any]] = {
        "format_version": np.array(FORMAT_VERSION),
        "dataset_name": np.array(about.dataset_name),
        "evaluation_note": np.array(about.evaluation_note),
        "image_id": np.array(image_ids, dtype=np.str_),
        **vocabulary_arrays(about.vocabulary),
    }
    for table, columns in _TABLES.items():
        arrays |= table_arrays(table, {name: [getattr(graph, name) for graph in graphs] for name in columns})
    known = sizes or {}
    arrays["sizes"] = np.array([known.get(i, (0, 0)) for i in image_ids], dtype=np.int64).reshape(-1, 2)
    write_arrays(path, arrays)


def load_annotations(path: str | os.PathLike[str]) -> SavedAnnotations:
    """Read a file of `save_annotations`, or of another program that wrote the arrays of this module.

    The old name of a built-in data set becomes its present name, unless a project has registered it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a complete annotation file of this version, was changed, or has an
            annotation with a class or row out of range. The message names the file and the image.
    """
    arrays = read_arrays(path, _REQUIRED, what="annotation file", remedy=_REMEDY, version=FORMAT_VERSION)
    _add_missing(arrays)
    _check_columns(arrays, path)
    vocabulary = vocabulary_of(arrays, path, _REMEDY)
    assert vocabulary is not None  # its arrays are required
    about = AnnotatedSet(
        present_dataset_name(str(arrays["dataset_name"])), vocabulary, str(arrays["evaluation_note"])
    )
    image_ids = arrays["image_id"].tolist()
    tables = [split_table(arrays, table, columns) for table, columns in _TABLES.items()]
    truths: dict[str, GroundTruthGraph] = {}
    sizes_of_vocabulary = len(vocabulary.thing_classes), len(vocabulary.predicate_classes)
    for image_id, entities, relations, verified in zip(image_ids, *tables, strict=True):
        if image_id in truths:
            raise ValueError(f"{path}: image {image_id} is in the file twice; {_REMEDY}")
        truth = GroundTruthGraph(*entities, *relations, *verified)
        try:
            check_ground_truth(truth, *sizes_of_vocabulary, f"image {image_id}")
        except ValueError as error:
            raise ValueError(f"{path}: {error}; {_REMEDY}") from error
        truths[image_id] = truth
    sizes = map(tuple, arrays["sizes"].tolist())
    return SavedAnnotations(about, truths, dict(zip(image_ids, sizes, strict=True)))


def _no_annotation() -> GroundTruthGraph:
    nothing = np.zeros(0, dtype=np.int64)
    return GroundTruthGraph(np.zeros((0, 4), dtype=np.float32), nothing, nothing.reshape(0, 3))


def _add_missing(arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Adds the optional arrays that the file lacks."""
    num_images = arrays["image_id"].size
    missing = {
        "evaluation_note": np.array(""),
        "sizes": np.zeros((num_images, 2), dtype=np.int64),
        "verified_offsets": np.zeros(num_images + 1, dtype=np.int64),
        "verified_classes": np.zeros(0, dtype=np.int64),
    }
    arrays.update({name: array for name, array in missing.items() if name not in arrays})


def _check_columns(arrays: Mapping[str, npt.NDArray[Any]], path: str | os.PathLike[str]) -> None:
    for name in ("dataset_name", "evaluation_note"):
        check_text(arrays, name, path, _REMEDY)
    num_images = check_image_ids(arrays, path, _REMEDY)
    for table, columns in _TABLES.items():
        check_table(arrays, table, columns, path, _REMEDY)
    for name in ("sizes", *(name for columns in _TABLES.values() for name in columns)):
        kind = REAL_NUMBERS if name == "boxes" else INTEGERS
        check_type(arrays, name, kind, _AXES.get(name, 1), path, _REMEDY)
    if arrays["sizes"].shape != (num_images, 2):
        raise ValueError(
            f"{path}: 'sizes' must have shape {(num_images, 2)}, not {arrays['sizes'].shape}; {_REMEDY}"
        )
