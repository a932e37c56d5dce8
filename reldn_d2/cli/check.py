"""`reldn check`: shows the contents of data sets, and their problems."""

import json
import traceback
from argparse import Namespace
from collections.abc import Collection, Sequence
from textwrap import shorten
from typing import Any, Literal

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

from reldn_d2.data import register_coco_relations
from reldn_d2.data.checking.checks import DatasetCheck, check_dataset, check_names, check_pictures
from reldn_d2.data.checking.pictures import picture_notes, shared_pictures
from reldn_d2.data.checking.problems import (
    images_with_errors,
    problem_of_data_set,
    refused_records,
    sort_problems,
)
from reldn_d2.data.checking.unchecked_arrays import unchecked_arrays
from reldn_d2.data.statistics import zero_shot_triplets
from reldn_d2.engine import check_registered
from reldn_d2.evaluation.protocols.confusion import confusion_frequency
from reldn_d2.structures.vocabulary import KINDS, class_names
from reldn_d2.utils.io import atomic_write
from reldn_d2.utils.plain_text import say
from reldn_d2.utils.progress import progress
from reldn_d2.utils.refusals import Group, collected
from reldn_d2.visualization import Report

from .checking.page import add_to_page
from .checking.report import DatasetReport, ZeroShot, as_data, as_text, ground_truth
from .common import ERROR, FINISHED, PROBLEMS, prepare

# Keys of the metadata that say where a data set comes from.
SOURCES = ("annotation_file", "image_root")


class NotLoadedError(Exception):
    """A data set can't be loaded. The message says why."""


def load(name: str) -> tuple[list[dict[str, Any]], Any]:
    """Dataset dicts and metadata of a registered data set.

    Raises:
        NotLoadedError: the name is not registered, the loader fails, or the metadata has no class names.
    """
    try:
        check_registered(name)
    except ValueError as error:
        raise NotLoadedError(str(error)) from error
    try:
        dataset_dicts = DatasetCatalog.get(name)
    except (OSError, ValueError) as error:
        raise NotLoadedError(f"{name} can't be loaded: {error}") from error
    # A user's own loader may raise anything, and its message alone is often not enough.
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}, line {place.lineno}"
        raise NotLoadedError(f"{name} can't be loaded: {where}: {type(error).__name__}: {error}") from error
    if not isinstance(dataset_dicts, list):
        raise NotLoadedError(
            f"{name}: its loader returns a {type(dataset_dicts).__name__}, not a list of dicts"
        )
    metadata = MetadataCatalog.get(name)
    for key in KINDS:
        if metadata.get(key) is None and key == "predicate_classes" and not any_relations(dataset_dicts):
            continue  # a data set for a detector alone
        if metadata.get(key) is None:
            raise NotLoadedError(f"{name} has no {key} in its metadata: give the names when you register it")
        try:
            class_names(metadata.get(key), key, name)
        except ValueError as error:
            raise NotLoadedError(str(error)) from error
    return dataset_dicts, metadata


def any_relations(dataset_dicts: Sequence[Any]) -> bool:
    """Whether a dict has the key "relations"."""
    return any(isinstance(image, dict) and "relations" in image for image in dataset_dicts)


def check(
    name: str, images: Literal["decode", "header", "skip"], seen: dict[str, Sequence[str]] | None = None
) -> DatasetReport:
    """Load and check a data set.

    Args:
        name: name of a registered data set.
        images: how much of the image files to read: all ("decode"), headers ("header") or nothing ("skip").
        seen: data set -> its picture files, for those whose pictures are compared with the ones here. This
            data set is added, and its training split before. None: no others.

    Raises:
        NotLoadedError: the data set can't be loaded.
    """
    with collected() as refused:
        try:
            dataset_dicts, metadata = load(name)
        except NotLoadedError as error:
            raise NotLoadedError(f"{error}{summary(refused.values())}") from error
    things, predicates = [*metadata.thing_classes], [*metadata.get("predicate_classes", ())]
    number = None if metadata.get("predicate_classes") is None else len(predicates)
    found = check_dataset(dataset_dicts, len(things), number, metadata.get("expected_counts"))
    pictures = (
        [] if images == "skip" else [*check_pictures(found.arrays, images), *picture_notes(found.arrays)]
    )
    seen = {} if seen is None else seen
    add_training_split(name, seen)
    for other, files in seen.items():
        pictures += shared_pictures(found.arrays, other, files, read=images != "skip")
    seen[name] = found.arrays.file_names
    # The counts below need no image files. So an image counts if its annotations have no errors.
    faulty = images_with_errors(found.problems)
    usable = [image for image in range(len(dataset_dicts)) if image not in faulty]
    images_in_turn = progress(usable, "images counted")
    confusion = confusion_frequency(ground_truth(found.arrays, image) for image in images_in_turn)
    return DatasetReport(
        name=name,
        sources={key: str(metadata.get(key)) for key in SOURCES if metadata.get(key) is not None},
        thing_classes=things,
        predicate_classes=predicates,
        check=found,
        problems=sort_problems(
            [
                *refused_records(refused.values()),
                *found.problems,
                *check_names(things, predicates),
                problem_of_data_set(
                    "no_images", [] if dataset_dicts else ["its loader returns an empty list"]
                ),
                *pictures,
            ]
        ),
        usable=usable,
        confusion=confusion,
        zero_shot=zero_shot(name, found),
    )


def summary(refused: Collection[Group]) -> str:
    """A sentence on the records that were refused before an error; empty if there are none."""
    kinds = (f"{group.kind}: {group.count:,}, first {group.first[0].where}" for group in refused)
    return f" Refused before that: {'; '.join(kinds)}." if refused else ""


def add_training_split(name: str, seen: dict[str, Sequence[str]]) -> None:
    """Add the picture files of the training split of a data set, if it names one that can be loaded."""
    train = MetadataCatalog.get(name).get("train_dataset")
    if train is None or train == name or train in seen:
        return
    try:
        dataset_dicts, _ = load(train)
    except NotLoadedError:
        return  # `zero_shot` says why
    seen[train] = unchecked_arrays(dataset_dicts).file_names


def zero_shot(name: str, found: DatasetCheck) -> ZeroShot | str | None:
    """Count the relationships whose three labels never occur together in the training split.

    Args:
        name: name of the data set.
        found: result of the check.

    Returns:
        The counts; or a text that says why nothing was counted; or None if the data set names no training
        split.
    """
    metadata = MetadataCatalog.get(name)
    known = any(metadata.get(key) is not None for key in ("train_dataset", "zero_shot_triplets"))
    if not known:
        return None
    # Errors without an image are about the official counts, not about annotations, and do not matter here.
    if images_with_errors(found.problems):
        return "annotations have errors"
    try:
        triplets = zero_shot_triplets(name)
    except (KeyError, OSError, ValueError) as error:
        # The message about an unregistered name lists all registered names.
        return shorten(str(error), 400, placeholder=" ...")
    arrays = found.arrays
    labels = np.column_stack([arrays.classes[arrays.subject_object], arrays.relations[:, 2]])
    unseen = {tuple(triplet) for triplet in triplets.tolist()}
    count = sum(tuple(label) in unseen for label in labels.tolist())
    return ZeroShot(count, len(triplets))


def run(args: Namespace) -> int:
    """Checks the data sets, one after the other. Returns the exit status."""
    # Of damaged classes in the files of --data, too, all are named when the data sets are loaded.
    with collected() as refused:
        try:
            own = prepare(args)
        except ValueError as error:
            if not refused:
                raise
            raise ValueError(f"{error}{summary(refused.values())}") from error
    names = [*args.dataset, *(own.names.values() if own else ())]
    if args.annotations is not None:
        names.append(str(args.annotations))
        register_coco_relations(
            names[-1], {}, args.annotations, args.image_root, outside_root=args.outside_root
        )
    seen: dict[str, Sequence[str]] = {}
    status, data, page = FINISHED, [], Report(f"Data sets: {', '.join(names)}")
    for name in names:
        try:
            report = check(name, args.images, seen)
        except NotLoadedError as error:
            say(f"error: {error}\n")
            data.append({"name": name, "error": str(error)})
            page.heading(name).paragraph(str(error))
            status = ERROR
            continue
        say(as_text(report), end="\n\n")
        data.append(as_data(report))
        if args.html:
            add_to_page(page, report, args.samples)
        if report.has_errors:
            status = max(status, PROBLEMS)
    if args.output:
        with atomic_write(args.output) as stream:
            stream.write(json.dumps({"data_sets": data}, indent=1).encode())
    if args.html:
        page.write(args.html)
    return status
