"""Which label triplets of a data set its training split lacks."""

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from numpy.typing import NDArray

from .arrays import check_vocabulary, dataset_arrays


def zero_shot_triplets(dataset_name: str) -> NDArray[np.int64]:
    """Label triplets that are annotated in a data set, but never in the one that models are trained on.

    The first call reads both data sets, and keeps the triplets as a list in the metadata `zero_shot_triplets`. Where that
    is there already, nothing is read.

    Args:
        dataset_name: a registered data set whose metadata names its training split as `train_dataset`.

    Returns:
        (Z, 3) rows (subject class, object class, predicate), each once, rising.

    Raises:
        KeyError: a data set is not registered.
        FileNotFoundError: a data set is not there.
        ValueError: the metadata name no training split, or the two have different names of classes or predicates; an
            annotation is broken.
    """
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("zero_shot_triplets") is None:
        train_dataset = metadata.get("train_dataset")
        if train_dataset is None:
            raise ValueError(
                f"The metadata of data set {dataset_name!r} name no training split. Give train_dataset where it is "
                f"registered, or MetadataCatalog.get({dataset_name!r}).set(train_dataset=...)."
            )
        (things, predicates), annotated = _label_triplets(dataset_name)
        names, seen = _label_triplets(train_dataset)
        if names != (things, predicates):
            raise ValueError(
                f"{train_dataset!r} is no training split of {dataset_name!r}: the names of its classes or predicates "
                "differ. Register the two with the same lists."
            )
        unseen = np.setdiff1d(annotated, seen)
        rows = np.unravel_index(unseen, (len(things), len(things), len(predicates)))
        metadata.set(zero_shot_triplets=np.stack(rows, axis=1).tolist())
    return np.array(metadata.zero_shot_triplets, dtype=np.int64).reshape(-1, 3)


def _label_triplets(dataset_name: str) -> tuple[tuple[list[str], list[str]], NDArray[np.int64]]:
    """Names of classes and predicates, and (R,) a number for the labels of each relationship."""
    dataset_dicts = DatasetCatalog.get(dataset_name)  # first: a loader may learn the names from its file
    metadata = MetadataCatalog.get(dataset_name)
    things, predicates = list(metadata.thing_classes), list(metadata.predicate_classes)
    arrays = dataset_arrays(dataset_dicts)
    check_vocabulary(arrays, dataset_dicts, len(things), len(predicates))
    subject, object, predicate = arrays.relations.T
    labels = (arrays.classes[subject], arrays.classes[object], predicate)
    return (things, predicates), np.ravel_multi_index(labels, (len(things), len(things), len(predicates)))
