"""Folders of annotation or prediction files: what is in them, and which files belong together.

Only the ids of the images and what the files have in common is read here.
"""

import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reldn_d2.renamed import present_dataset_name
from reldn_d2.structures.vocabulary import KINDS, Vocabulary, first_difference
from reldn_d2.utils.array_files import read_some_arrays
from reldn_d2.utils.io import digest, file_digest

from ..graphs import Task, parse_task
from ..io.tables import VOCABULARY, check_image_ids, check_text, vocabulary_of

_PATTERN = "*.npz"
_COMMON = ("dataset_name", "task", "evaluation_note", *VOCABULARY)
_NAMED = 5  # images that a message names
_Ids = npt.NDArray[np.str_]


@dataclass(frozen=True)
class GraphFile:
    """A file of annotations or predictions.

    Attributes:
        path: the file.
        count: number of images.
        first, last: ids of its first and its last image.
        digest: what tells whether the content was changed.
    """

    path: Path
    count: int
    first: str
    last: str
    digest: str


@dataclass(frozen=True)
class GraphFolder:
    """The files of a folder that have images, in the order of their ids.

    Attributes:
        path: the folder.
        files: the files.
        dataset_name: name of the data set.
        vocabulary: names of classes and predicates; None if the files do not have them.
        task: task of the predictions; empty for annotations.
        evaluation_note: see `AnnotatedSet`; empty for predictions.
    """

    path: Path
    files: tuple[GraphFile, ...]
    dataset_name: str
    vocabulary: Vocabulary | None
    task: str
    evaluation_note: str

    @property
    def num_images(self) -> int:
        """Number of images in all files."""
        return sum(file.count for file in self.files)

    def digest(self) -> str:
        """The first digits of a digest of all contents. How the images are divided into files counts."""
        return digest(file.digest for file in self.files)[:16]


@dataclass(frozen=True)
class Part:
    """The images of an annotation file, and the prediction files that may have predictions for them.

    Attributes:
        number: number of the part, from 0.
        annotations: the annotation file.
        predictions: the prediction files.
        first, stop: the predictions with these ids belong to the part; `stop` does not. None: no limit.
        num_predicted: number of images with a prediction.
    """

    number: int
    annotations: Path
    predictions: tuple[Path, ...]
    first: str | None
    stop: str | None
    num_predicted: int = 0

    def rows(self, ids: _Ids) -> slice:
        """The rows of the part among sorted ids."""
        start = 0 if self.first is None else int(np.searchsorted(ids, self.first))
        return slice(start, len(ids) if self.stop is None else int(np.searchsorted(ids, self.stop)))


@dataclass(frozen=True)
class EvaluatedFolders:
    """The folders of an evaluation, which are of one data set.

    Attributes:
        annotated, predicted: annotations and predictions.
        trained: annotations of the training split; None if it is not known.
        vocabulary: names of classes and predicates.
        task: task of the predictions.
    """

    annotated: GraphFolder
    predicted: GraphFolder
    trained: GraphFolder | None
    vocabulary: Vocabulary
    task: Task

    def identity(self) -> dict[str, str]:
        """What an evaluation depends on, in words."""
        return {
            "task": self.task,
            "annotations (sha256)": self.annotated.digest(),
            "predictions (sha256)": self.predicted.digest(),
            "training annotations (sha256)": "none" if self.trained is None else self.trained.digest(),
        }


def read_folders(
    predictions: str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    train_annotations: str | os.PathLike[str] | None,
    task: str | None,
) -> EvaluatedFolders:
    """Read what is said of the images of the folders, and check that they are of one data set.

    Args:
        predictions, annotations, train_annotations: the folders, see `evaluate_folders`.
        task: the task that the predictions must be of; None: that of their files.

    Raises:
        FileNotFoundError: see `read_folder`.
        ValueError: see `read_folder`; or the folders are of different data sets or vocabularies, the
            predictions are of another task, or no image is annotated.
    """
    annotated = read_folder(Path(annotations), "annotation")
    predicted = read_folder(Path(predictions), "prediction")
    trained = None if train_annotations is None else read_folder(Path(train_annotations), "annotation")
    vocabulary = annotated.vocabulary
    assert vocabulary is not None  # annotation files must have it
    if not annotated.files:
        raise ValueError(f"{annotated.path}: there is no image in the annotation files")
    if predicted.dataset_name != annotated.dataset_name:
        raise ValueError(
            f"{predicted.path} has predictions for {predicted.dataset_name!r}, and {annotated.path} has the "
            f"annotations of {annotated.dataset_name!r}: give folders of one data set"
        )
    if predicted.vocabulary not in (None, vocabulary):
        difference = _difference_of_names(predicted.vocabulary, vocabulary, str(annotated.path))
        raise ValueError(f"{predicted.path}: {difference}")
    if trained is not None and trained.vocabulary != vocabulary:
        difference = _difference_of_names(trained.vocabulary, vocabulary, str(annotated.path))
        raise ValueError(f"{trained.path} is no training split of the evaluated data: {difference}")
    return EvaluatedFolders(annotated, predicted, trained, vocabulary, _task(predicted, task))


def _task(predicted: GraphFolder, wanted: str | None) -> Task:
    try:
        task = parse_task(predicted.task)
    except ValueError as error:
        raise ValueError(f"{predicted.path}: {error}; {_remedy('prediction')}") from error
    if wanted is not None and parse_task(wanted) != task:
        raise ValueError(f"--task {wanted}: {predicted.path} holds predictions of {task}")
    return task


def read_folder(path: Path, what: str) -> GraphFolder:
    """Read what is said of the images of a folder, but not the graphs.

    Args:
        path: folder of files of `save_annotations` or `save_predictions`, with any names that end with .npz,
            each with images in the rising order of their ids as text. No id is in two files, and the ids of
            a file are all below or all above those of another one.
        what: "annotation" or "prediction".

    Raises:
        FileNotFoundError: there is no such folder, or it has no such file.
        ValueError: a file is not complete, ids do not rise or are there twice, or files are of different data
            sets, tasks or vocabularies. The message names the files and the first image or name.
    """
    paths = sorted(path.glob(_PATTERN)) if path.is_dir() else []
    if not paths:
        problem = f"has no {what} file ({_PATTERN})" if path.is_dir() else "is no folder"
        raise FileNotFoundError(f"{path} {problem}: give the folder of the {what} files")
    found: list[GraphFile] = []
    first: _InCommon | None = None
    for file in paths:
        arrays, saved = read_some_arrays(
            file, (*_COMMON, "image_id"), what=f"{what} file", remedy=_remedy(what)
        )
        common = _in_common(arrays, file, what)
        first = first or common
        _refuse_difference(first, common)
        ids = _rising_ids(arrays, file, what)
        if len(ids):
            found.append(GraphFile(file, len(ids), str(ids[0]), str(ids[-1]), saved or file_digest(file)))
    assert first is not None  # there is a file
    files = sorted(found, key=lambda file: file.first)
    for one, other in pairwise(files):
        if other.first <= one.last:
            raise ValueError(
                f"{one.path} and {other.path} both have images from {other.first} to "
                f"{min(one.last, other.last)}: the ids of a file must all be below or all above those of "
                f"another one; {_remedy(what)}"
            )
    name, task, note = (first.texts[key] for key in ("dataset_name", "task", "evaluation_note"))
    return GraphFolder(path, tuple(files), name, first.vocabulary, task, note)


def _remedy(what: str) -> str:
    return f"write the {what} files again"


@dataclass(frozen=True)
class _InCommon:
    """What a file must have in common with the others of its folder.

    Attributes:
        file: the file.
        texts: "dataset_name", "task" and "evaluation_note"; empty where the file has none.
        vocabulary: names of classes and predicates; None if the file does not have them.
    """

    file: Path
    texts: dict[str, str]
    vocabulary: Vocabulary | None


def _in_common(arrays: dict[str, npt.NDArray[Any]], file: Path, what: str) -> _InCommon:
    needed = ["dataset_name", "image_id", *(["task"] if what == "prediction" else VOCABULARY)]
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ValueError(f"{file}: no {what} file (it lacks the array '{missing[0]}'); {_remedy(what)}")
    texts = {}
    for name in ("dataset_name", "task", "evaluation_note"):
        if name in arrays:
            check_text(arrays, name, file, _remedy(what))
        texts[name] = str(arrays.get(name, ""))
    # As files of earlier releases are read.
    texts |= {"dataset_name": present_dataset_name(texts["dataset_name"]), "task": texts["task"].lower()}
    return _InCommon(file, texts, vocabulary_of(arrays, file, _remedy(what)))


def _refuse_difference(first: _InCommon, other: _InCommon) -> None:
    """Refuse a file of another data set, task or vocabulary than the first file of the folder."""
    for name, text in first.texts.items():
        if other.texts[name] != text:
            raise ValueError(
                f"{other.file}: its {name} is {other.texts[name]!r}, and that of {first.file} is {text!r}: "
                "put only the files of one evaluation into a folder"
            )
    if other.vocabulary != first.vocabulary:
        difference = _difference_of_names(other.vocabulary, first.vocabulary, str(first.file))
        raise ValueError(f"{other.file}: {difference}")


def _difference_of_names(found: Vocabulary | None, expected: Vocabulary | None, source: str) -> str:
    """In words, where two different vocabularies differ, and what helps."""
    if found is None or expected is None:
        return f"it and {source} differ: only one of them has the names of the classes; write both with them"
    kind = next(kind for kind in KINDS if found.names(kind) != expected.names(kind))
    own, other = found.names(kind), expected.names(kind)
    place = first_difference(own, other)
    names = [repr(x[place]) if place < len(x) else "missing" for x in (own, other)]
    return (
        f"its {kind} are others than those of {source}: number {place} (from 0) is {names[0]} here and "
        f"{names[1]} there. Give files of one vocabulary"
    )


def _rising_ids(arrays: dict[str, npt.NDArray[Any]], file: Path, what: str) -> _Ids:
    """The ids of the images, checked."""
    check_image_ids(arrays, file, _remedy(what))
    ids: _Ids = arrays["image_id"]
    wrong = np.flatnonzero(ids[1:] <= ids[:-1])
    if len(wrong):
        before, after = map(str, ids[wrong[0] : wrong[0] + 2])
        problem = "is there twice" if before == after else f"comes after image {before}"
        raise ValueError(
            f"{file}: image {after} {problem}: images must have different ids, in the rising order of text; "
            f"{_remedy(what)}"
        )
    return ids


def join(annotations: GraphFolder, predictions: GraphFolder, *, allow_missing: bool) -> list[Part]:
    """Find the prediction files of every annotation file, and check that they have the same images.

    Args:
        annotations, predictions: results of `read_folder`.
        allow_missing: whether annotated images may lack a prediction.

    Returns:
        A part for each annotation file, in the order of ids.

    Raises:
        ValueError: a prediction is of an image that is not annotated, or an image has no prediction and that
            is not allowed. The message names the first images.
    """
    firsts, lasts = ([getattr(file, end) for file in predictions.files] for end in ("first", "last"))
    limits = [None, *(file.first for file in annotations.files[1:]), None]
    parts = []
    for number, file in enumerate(annotations.files):
        first, stop = limits[number : number + 2]
        start = 0 if first is None else bisect_left(lasts, first)
        end = len(firsts) if stop is None else bisect_left(firsts, stop)
        chosen = tuple(other.path for other in predictions.files[start:end])
        parts.append(Part(number, file.path, chosen, first, stop))
    return _with_checked_ids(parts, annotations, predictions, allow_missing=allow_missing)


def _with_checked_ids(
    parts: Sequence[Part], annotations: GraphFolder, predictions: GraphFolder, *, allow_missing: bool
) -> list[Part]:
    """Compare the ids of both folders, and count those of each part. Errors are those of `join`."""
    read = lru_cache(maxsize=2)(_ids_of)  # neighbours may share a prediction file
    counted, missing, count = list[Part](), list[str](), 0
    for part in parts:
        annotated = _ids_of(part.annotations)
        lacking = annotated
        for path in part.predictions:
            ids = read(path)
            given = ids[part.rows(ids)]
            unknown = given[~np.isin(given, annotated)]
            if len(unknown):
                raise ValueError(
                    f"{path}: image {unknown[0]}: the annotations in {annotations.path} have no image with "
                    "this image_id; give the annotations that the predictions are for"
                )
            lacking = lacking[~np.isin(lacking, given)]
        counted.append(replace(part, num_predicted=len(annotated) - len(lacking)))
        count += len(lacking)
        missing += lacking[: _NAMED - len(missing)].tolist()
    if count and not allow_missing:
        raise ValueError(
            f"{predictions.path}: no prediction for {count} of {annotations.num_images} images: image "
            f"{', '.join(missing)}; with --allow-missing they count as images where nothing was found"
        )
    return counted


def _ids_of(path: Path) -> _Ids:
    arrays, _ = read_some_arrays(path, ("image_id",), what="file", remedy="start again")
    ids: _Ids = arrays["image_id"]
    return ids
