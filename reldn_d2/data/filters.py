"""What of a data set training looks at."""

import logging

import numpy as np

from .dataset_dicts import DatasetDict, relation_rows

logger = logging.getLogger(__name__)


def prepare_training_relations(dataset_dicts: list[DatasetDict], dataset_name: str) -> list[DatasetDict]:
    """Drop what no loss can learn from, and log how much that was.

    Dropped are, in this order: relationships of an entity with itself, repeats of a (subject, object,
    predicate) row of the same image (the first stays), and images that are left without any relationship.
    Entities stay. The input is not modified: the images returned are new dicts that share everything
    but `"relations"`, (R, 3) int64.

    Raises:
        ValueError: when no image has a relationship, or when relationships do not fit the annotations.
    """
    kept = []
    self_relations = repeats = relations = 0
    for dataset_dict in dataset_dicts:
        rows = relation_rows(dataset_dict)
        proper = rows[rows[:, 0] != rows[:, 1]]
        _, first = np.unique(proper, axis=0, return_index=True)
        distinct = proper[np.sort(first)]
        self_relations += len(rows) - len(proper)
        repeats += len(proper) - len(distinct)
        relations += len(distinct)
        if len(distinct):
            kept.append({**dataset_dict, "relations": distinct})
    if not kept:
        raise ValueError(
            f"Data set {dataset_name!r} has no relationship to train on: {len(dataset_dicts)} images were "
            "read. Check the 'relations' of its annotation file."
        )
    logger.info(
        "Training relationships of %s: kept %d in %d images; dropped %d of an entity with itself, %d repeats "
        "and %d images without relationships.",
        dataset_name, relations, len(kept), self_relations, repeats, len(dataset_dicts) - len(kept),
    )  # fmt: skip
    return kept
