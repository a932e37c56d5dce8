"""Registered data sets and the detections that belong to them."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from detectron2.data import DatasetCatalog

from reldn_d2.data import load_detections_into_dataset

from .vocabularies import vocabulary_of


def load_registered(names: Sequence[str], detection_files: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Dataset dicts of registered data sets, one after the other.

    Args:
        names: of data sets.
        detection_files: of precomputed detections, one per data set, or none.

    Raises:
        ValueError: another number of files than of data sets, or detections that do not fit a data set.
    """
    check_detection_files(detection_files, names)
    dataset_dicts: list[dict[str, Any]] = []
    for name, file in zip_longest(names, detection_files):
        loaded = DatasetCatalog.get(name)
        if file is not None:
            loaded = load_detections_into_dataset(loaded, file, vocabulary_of(name).thing_classes)
        dataset_dicts += loaded
    return dataset_dicts


def check_detection_files(files: Sequence[str], names: Sequence[str]) -> None:
    """
    Raises:
        ValueError: there are files, but not one for each data set.
    """
    if files and len(files) != len(names):
        raise ValueError(
            f"{len(files)} detection files for {len(names)} data sets ({', '.join(names)}): give one each in "
            "DATASETS.DETECTION_FILES_TRAIN and _TEST, or none"
        )
