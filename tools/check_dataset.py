#!/usr/bin/env python
"""Check data sets before training: what is in them, and what is wrong with them.

python tools/check_dataset.py vrd_train vrd_test --html output/vrd.html
python tools/check_dataset.py --json party/train.json --image-root party/images
python tools/check_dataset.py my_train --import my_data.py --images header

Checks data sets that are registered, or a COCO-relations file. Exit status: 0 nothing is wrong, 1 a data set has errors
(notes are none), 2 one can't be loaded, or wrong usage.
"""

import argparse
import json
import logging
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import numpy as np
from dataset_page import add_to_page
from dataset_report import DatasetReport, ZeroShot, as_data, as_text, ground_truth
from detectron2.data import DatasetCatalog, MetadataCatalog
from tqdm import tqdm

from reldn_d2.data import register_coco_relations
from reldn_d2.data.checking.checks import DatasetCheck, check_dataset, check_pictures
from reldn_d2.data.checking.problems import images_with_errors, sort_problems
from reldn_d2.data.statistics import zero_shot_triplets
from reldn_d2.engine import import_data_sets
from reldn_d2.evaluation.protocols.confusion import confusion_frequency
from reldn_d2.utils.io import atomic_write
from reldn_d2.visualization import Report

SOUND, FAULTY, NOT_LOADED = 0, 1, 2
# Metadata that say where a data set comes from.
SOURCES = ("annotation_file", "image_root")


class NotLoadedError(Exception):
    """A data set can't be loaded; the message says why."""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="registered data sets")
    registers = "module or .py file that registers data sets of your own"
    add("--import", action="append", default=[], dest="modules", metavar="MODULE", help=registers)
    add("--json", type=Path, metavar="FILE.json", help="a COCO-relations file")
    add("--image-root", type=Path, metavar="FOLDER", help="the folder of its pictures")
    reading = "read the pictures, only their headers, or none (default: decode)"
    add("--images", choices=["decode", "header", "skip"], default="decode", help=reading)
    add("--output", type=Path, metavar="FILE.json", help="write all numbers there")
    add("--html", type=Path, metavar="FILE.html", help="write a page with drawn samples there")
    add("--samples", type=int, default=12, metavar="N", help="drawn for each data set (default: 12)")
    args = parser.parse_args(arguments)
    if not args.names and args.json is None:
        parser.error("name a data set, or give --json FILE.json --image-root FOLDER")
    if (args.json is None) != (args.image_root is None):
        parser.error("--json and --image-root belong together")
    if args.samples < 0:
        parser.error("--samples must not be negative")
    return args


def load(name: str) -> tuple[list[dict[str, Any]], Any]:
    """Dataset dicts and metadata of a registered data set.

    Raises:
        NotLoadedError: no such name, what the loader raises, or metadata without class names.
    """
    if name not in DatasetCatalog:
        similar = get_close_matches(name, DatasetCatalog.list(), n=3)
        hint = f"did you mean {' or '.join(similar)}? Else " if similar else ""
        raise NotLoadedError(f"no data set {name!r} is registered: {hint}--import what registers it")
    try:
        dataset_dicts = DatasetCatalog.get(name)
    except (OSError, ValueError) as error:
        raise NotLoadedError(f"{name} can't be loaded: {error}") from error
    # A loader of somebody's own may raise anything; its message alone seldom says enough.
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}, line {place.lineno}"
        raise NotLoadedError(f"{name} can't be loaded: {where}: {type(error).__name__}: {error}") from error
    if not isinstance(dataset_dicts, list):
        raise NotLoadedError(
            f"{name}: its loader returns a {type(dataset_dicts).__name__}, not a list of dicts"
        )
    metadata = MetadataCatalog.get(name)
    for key in ("thing_classes", "predicate_classes"):
        if metadata.get(key) is None:
            raise NotLoadedError(f"{name} has no {key} in its metadata: give the names when registering it")
    return dataset_dicts, metadata


def check(name: str, images: Literal["decode", "header", "skip"]) -> DatasetReport:
    """Load and check a data set.

    Args:
        name: registered.
        images: "decode", "header" or "skip".

    Raises:
        NotLoadedError: it can't be loaded.
    """
    dataset_dicts, metadata = load(name)
    things, predicates = [*metadata.thing_classes], [*metadata.predicate_classes]
    found = check_dataset(dataset_dicts, len(things), len(predicates), metadata.get("expected_counts"))
    pictures = [] if images == "skip" else check_pictures(found.arrays, images)
    # Nothing below looks at pictures: images whose annotations alone are sound count.
    faulty = images_with_errors(found.problems)
    usable = [image for image in range(len(dataset_dicts)) if image not in faulty]
    # disable=None: a bar on a terminal, nothing in a log file
    bar = tqdm(usable, "confusable cases", leave=False, disable=None)
    confusion = confusion_frequency(ground_truth(found.arrays, image) for image in bar)
    return DatasetReport(
        name=name,
        sources={key: str(metadata.get(key)) for key in SOURCES if metadata.get(key) is not None},
        thing_classes=things,
        predicate_classes=predicates,
        check=found,
        problems=sort_problems([*found.problems, *pictures]),
        usable=usable,
        confusion=confusion,
        zero_shot=zero_shot(name, found),
    )


def zero_shot(name: str, found: DatasetCheck) -> ZeroShot | str | None:
    """Count the relationships whose labels never occur in the training split.

    Returns:
        The numbers; a text that says why there are none; or None for a data set that names no training split.
    """
    metadata = MetadataCatalog.get(name)
    known = any(metadata.get(key) is not None for key in ("train_dataset", "zero_shot_triplets"))
    if not known:
        return None
    # An error without an image is one of the official numbers, and none of an annotation.
    if images_with_errors(found.problems):
        return "annotations have errors"
    try:
        triplets = zero_shot_triplets(name)
    except (KeyError, OSError, ValueError) as error:
        # that of an unregistered name lists all others
        return shorten(str(error), 400, placeholder=" ...")
    arrays = found.arrays
    labels = np.column_stack([arrays.classes[arrays.subject_object], arrays.relations[:, 2]])
    unseen = {tuple(triplet) for triplet in triplets.tolist()}
    count = sum(tuple(label) in unseen for label in labels.tolist())
    return ZeroShot(count, len(triplets))


def main(arguments: Sequence[str]) -> int:
    """Run the command line; the exit status is returned."""
    args = parse_arguments(arguments)
    for module in args.modules:
        import_data_sets(module)
    names = [*args.names]
    if args.json is not None:
        names.append(str(args.json))
        register_coco_relations(names[-1], {}, args.json, args.image_root)
    status, data, page = SOUND, [], Report(f"Data sets: {', '.join(names)}")
    for name in names:
        try:
            report = check(name, args.images)
        except NotLoadedError as error:
            print(f"error: {error}\n", flush=True)
            data.append({"name": name, "error": str(error)})
            page.heading(name).paragraph(str(error))
            status = NOT_LOADED
            continue
        print(as_text(report), end="\n\n", flush=True)
        data.append(as_data(report))
        if args.html:
            add_to_page(page, report, args.samples)
        if report.has_errors:
            status = max(status, FAULTY)
    if args.output:
        with atomic_write(args.output) as stream:
            stream.write(json.dumps({"data_sets": data}, indent=1).encode())
    if args.html:
        page.write(args.html)
    return status


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    try:
        sys.exit(main(sys.argv[1:]))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(NOT_LOADED)
